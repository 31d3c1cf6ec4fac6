"""Distort a share of the training molecules and label every geometry."""

from nnpipe.distort import Distortions
from nnpipe.labels import write_chunk
from nnpipe.molecules import read_molecules
from nnpipe.qm import method
from nnpipe.script import script
from nnpipe.splits import read_split

with script(snakemake.log[0]):
    settings = dict(snakemake.params.settings)
    molecules, header = read_molecules(snakemake.input.molecules)
    rows = read_split(snakemake.input.split, molecules.index)["train"]
    name, number, seed, chunks = map(settings.pop, ("method", "geometries", "seed", "chunks"))
    write_chunk(
        molecules,
        rows[int(snakemake.wildcards.chunk) :: chunks],
        method(name),
        number,
        Distortions(**settings),
        seed,
        snakemake.output.chunk,
        {"molecules": header["digest"], "method": name},
    )
