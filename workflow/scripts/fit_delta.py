"""Train the network of the teacher on what DFT has beyond the refitted tight binding."""

from pathlib import Path

from ase.io import read

from nnpipe.data.molecules import read_molecules
from nnpipe.data.splits import evenly, read_split
from nnpipe.labelling.delta_training import MINIMA, NEAR_MINIMA, train_delta
from nnpipe.labelling.methods import method
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    molecules, _ = read_molecules(snakemake.input.molecules)
    rows = read_split(snakemake.input.split, molecules.index)["train"]
    train_delta(
        read(snakemake.input.frames, ":"),
        molecules,
        rows[:MINIMA],
        evenly(rows, NEAR_MINIMA),
        method("teacher", snakemake.input.parameters),
        Path(snakemake.output.delta).parent,
        snakemake.params.work,
    )
