"""Write the starting structure of a molecule, or refuse the molecule."""

import numpy as np
from ase.io import write

from nnpipe.data.molecules import read_molecules
from nnpipe.data.sources import QM9_ELEMENTS
from nnpipe.errors import InputError
from nnpipe.runtime.files import atomic
from nnpipe.runtime.job import job
from nnpipe.structures.checks import check_supported, check_timestep
from nnpipe.structures.load import load_structure

with job(snakemake.log[0], snakemake.threads):
    try:
        structure = snakemake.input.files or snakemake.params.structure  # a file or SMILES
        atoms = load_structure(str(structure), snakemake.params.seed)
        own = [np.unique(read_molecules(path)[0].z) for path in snakemake.input.molecules]
        check_supported(atoms, own[0].tolist() if own else QM9_ELEMENTS)
        check_timestep(atoms.numbers, snakemake.params.timestep_fs)
    except InputError as error:
        raise InputError(f"molecules.{snakemake.wildcards.molecule}: {error}") from error
    with atomic(snakemake.output.structure) as path:
        write(path, atoms, format="extxyz")
