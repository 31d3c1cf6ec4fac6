"""Merge the labels of all chunks and put them on QM9's potential energy surface."""

from nnpipe.data.molecules import read_molecules
from nnpipe.labelling.correction import read_correction
from nnpipe.labelling.table import write_labels
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    molecules, header = read_molecules(snakemake.input.molecules)
    method = snakemake.params.method
    write_labels(
        snakemake.input.chunks,
        molecules,
        read_correction(snakemake.input.correction) if method != "dft" else None,
        snakemake.params.cutoff,
        snakemake.output.labels,
        {"molecules": header["digest"], "method": method},
        snakemake.input.tiny,
        snakemake.input.frames,
        snakemake.input.delta,
        snakemake.input.fragments,
    )
