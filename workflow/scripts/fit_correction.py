"""Fit what GFN2-xTB's curvature lacks; labels of QM9's own method lack nothing."""

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
