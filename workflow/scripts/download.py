"""Fetch QM9."""

from nnpipe.download import download
from nnpipe.logs import logged

with logged(snakemake.log[0]):
    download(snakemake.params.sources, snakemake.params.folder, snakemake.output.manifest)
