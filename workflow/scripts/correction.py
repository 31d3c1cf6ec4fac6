"""Fit what the labelling method's curvature lacks."""

from nnpipe.labels import write_correction
from nnpipe.molecules import read_molecules
from nnpipe.qm import method
from nnpipe.script import script
from nnpipe.splits import read_split

with script(snakemake.log[0]):
    molecules, _ = read_molecules(snakemake.input.molecules)
    rows = read_split(snakemake.input.split, molecules.index)["train"]
    cheap = method("xtb") if snakemake.params.method == "xtb" else None
    some = rows[: snakemake.params.molecules]
    write_correction(molecules, some, cheap, snakemake.output.correction)
