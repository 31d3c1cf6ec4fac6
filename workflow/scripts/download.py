"""Fetch QM9."""

from nnpipe.data.download import download
from nnpipe.runtime.job import job

with job(snakemake.log[0]):
    download(snakemake.params.sources, snakemake.output.manifest)
