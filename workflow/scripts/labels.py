"""Put the labels of all chunks on QM9's surface."""

from nnpipe.correction import read_correction
from nnpipe.molecules import read_molecules
from nnpipe.script import script
from nnpipe.surface import write_labels

with script(snakemake.log[0]):
    molecules, header = read_molecules(snakemake.input.molecules)
    method = snakemake.params.method
    write_labels(
        snakemake.input.chunks,
        molecules,
        read_correction(snakemake.input.correction) if method == "xtb" else None,
        snakemake.params.cutoff,
        snakemake.output.labels,
        {"molecules": header["digest"], "method": method},
    )
