"""Fit the correction of the labels; DFT labels need no correction."""

from nnpipe.data.molecules import read_molecules
from nnpipe.data.splits import evenly, read_split
from nnpipe.labelling.correction import write_correction
from nnpipe.labelling.methods import method
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    molecules, _ = read_molecules(snakemake.input.molecules)
    rows = read_split(snakemake.input.split, molecules.index)["train"]
    name = snakemake.params.method
    number = 0 if name == "dft" else snakemake.params.molecules
    write_correction(
        molecules,
        evenly(rows, number),  # chosen molecules are the first ones of the split
        method(name, snakemake.input.parameters),
        snakemake.output.correction,
        snakemake.input.delta,
    )
