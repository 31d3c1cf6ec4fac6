"""Fit the correction of GFN2-xTB labels; DFT labels need no correction."""

from nnpipe.data.molecules import read_molecules
from nnpipe.data.splits import read_split
from nnpipe.labelling.correction import write_correction
from nnpipe.labelling.methods import gfn2
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    molecules, _ = read_molecules(snakemake.input.molecules)
    rows = read_split(snakemake.input.split, molecules.index)["train"]
    number = snakemake.params.molecules if snakemake.params.method == "xtb" else 0
    write_correction(molecules, rows[:number], gfn2, snakemake.output.correction)
