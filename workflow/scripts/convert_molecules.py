"""Read the data set into one table."""

from nnpipe.data import extxyz, qm9
from nnpipe.runtime.job import job

with job(snakemake.log[0]):
    manifest, molecules = snakemake.input.manifest, snakemake.output.molecules
    if snakemake.params.extxyz:
        extxyz.convert(manifest, molecules, **snakemake.params.extxyz)
    else:
        qm9.convert(manifest, molecules)
