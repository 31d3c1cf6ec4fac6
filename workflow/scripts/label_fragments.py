"""Label distorted geometries of molecules that QM9 lacks, from their SMILES."""

from nnpipe.data.molecules import read_molecules
from nnpipe.data.sources import QM9_ELEMENTS
from nnpipe.data.splits import read_split
from nnpipe.labelling.fragments import write_fragments
from nnpipe.labelling.methods import method
from nnpipe.labelling.settings import Settings
from nnpipe.runtime.job import job
from nnpipe.structures.smiles import read_smiles

with job(snakemake.log[0], snakemake.threads):
    molecules, header = read_molecules(snakemake.input.molecules)
    parts = read_split(snakemake.input.split, molecules.index)
    write_fragments(
        read_smiles(snakemake.input.fragments, QM9_ELEMENTS),
        [molecules.smiles[row] for part in ("validation", "test") for row in parts[part]],
        method("teacher", snakemake.input.parameters),
        Settings(**snakemake.params.settings),
        snakemake.output.fragments,
        {"molecules": header["digest"], "method": "teacher"},
    )
