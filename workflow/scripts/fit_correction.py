"""Fit the correction of the labels; DFT labels need no correction."""

import numpy as np

from nnpipe.data.molecules import read_molecules
from nnpipe.data.splits import read_split
from nnpipe.labelling.correction import write_correction
from nnpipe.labelling.methods import method
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    molecules, _ = read_molecules(snakemake.input.molecules)
    rows = read_split(snakemake.input.split, molecules.index)["train"]
    name = snakemake.params.method
    number = 0 if name == "dft" else min(snakemake.params.molecules, len(rows))
    # evenly, as chosen molecules are the first ones of the split
    some = rows[np.linspace(0, len(rows) - 1, number).astype(int)]
    write_correction(
        molecules,
        some,
        method(name, snakemake.input.parameters),
        snakemake.output.correction,
        snakemake.input.delta,
    )
