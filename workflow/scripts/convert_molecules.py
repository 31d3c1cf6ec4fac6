"""Convert the data set to one table of molecules."""

from nnpipe.data.extxyz import convert_extxyz
from nnpipe.data.qm9 import convert_qm9
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    manifest, molecules = snakemake.input.manifest, snakemake.output.molecules
    if snakemake.params.extxyz:
        convert_extxyz(manifest, molecules, **snakemake.params.extxyz)
    else:
        convert_qm9(manifest, molecules)
