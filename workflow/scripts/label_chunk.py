"""Distort a part of the training and validation molecules and label every geometry."""

import numpy as np

from nnpipe.data.molecules import read_molecules
from nnpipe.data.splits import read_split
from nnpipe.labelling.chunks import write_chunk
from nnpipe.labelling.methods import method
from nnpipe.labelling.settings import Settings
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    settings = dict(snakemake.params.settings)
    molecules, header = read_molecules(snakemake.input.molecules)
    parts = read_split(snakemake.input.split, molecules.index)
    number = settings.pop("molecules") or len(molecules)
    rows = np.concatenate([parts["train"][:number], parts["validation"][:number]])
    name, chunks = settings.pop("method"), settings.pop("chunks")
    write_chunk(
        molecules,
        rows[int(snakemake.wildcards.chunk) :: chunks],
        method(name, snakemake.input.parameters),
        Settings(**settings),
        snakemake.output.chunk,
        {"molecules": header["digest"], "method": name},
    )
