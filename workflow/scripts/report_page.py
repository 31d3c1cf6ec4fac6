"""Write the page of a run."""

from dataclasses import fields
from pathlib import Path

from nnpipe.report.gather import Files, gather
from nnpipe.report.page import page
from nnpipe.report.provenance import provenance
from nnpipe.runtime.files import atomic
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    paths = {field.name: list(snakemake.input.get(field.name, [])) for field in fields(Files)}
    files, params = Files(**paths), snakemake.params
    results = gather(
        files, params.config, params.structures, params.limits, params.own_data, params.delta
    )
    with atomic(snakemake.output.page) as path:
        path.write_text(
            page(results, provenance(files), Path(snakemake.output.page).parent), "utf-8"
        )
