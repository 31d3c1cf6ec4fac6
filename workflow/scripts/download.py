"""Fetch QM9."""

from nnpipe.download import download
from nnpipe.script import script

with script(snakemake.log[0]):
    download(snakemake.params.sources, snakemake.output.manifest)
