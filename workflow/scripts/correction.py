"""Fit what GFN2-xTB's curvature lacks; labels of QM9's own method lack nothing."""

from nnpipe.correction import write_correction
from nnpipe.molecules import read_molecules
from nnpipe.qm import gfn2
from nnpipe.script import script
from nnpipe.splits import read_split

with script(snakemake.log[0]):
    molecules, _ = read_molecules(snakemake.input.molecules)
    rows = read_split(snakemake.input.split, molecules.index)["train"]
    number = snakemake.params.molecules if snakemake.params.method == "xtb" else 0
    write_correction(molecules, rows[:number], gfn2, snakemake.output.correction)
