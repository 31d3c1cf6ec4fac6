"""Download the data set, or take it from a local file."""

from nnpipe.data.download import SOURCES, download
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    files = iter(snakemake.input.files)
    sources = [name if name in SOURCES else next(files) for name in snakemake.params.sources]
    parts = {part: next(files) for part in snakemake.params.parts}
    download(sources, snakemake.output.manifest, parts=parts)
