"""Write the starting structure of a molecule, or refuse the molecule."""

import numpy as np
from ase.io import write

from nnpipe.data.molecules import read_molecules
from nnpipe.data.sources import QM9_ELEMENTS
from nnpipe.errors import InputError
from nnpipe.runtime.files import atomic
from nnpipe.runtime.job import job
from nnpipe.structures.checks import check_timestep, fixed_atoms, starts_with_velocities
from nnpipe.structures.load import load_start

with job(snakemake.log[0], snakemake.threads):
    try:
        structure = snakemake.input.files or snakemake.params.structure  # a file or SMILES
        elements, closed_shells = QM9_ELEMENTS, True
        for path in snakemake.input.molecules:
            own = read_molecules(path)[0]
            elements = np.unique(own.z).tolist()
            closed_shells = not (np.add.reduceat(own.z.astype(int), own.ptr[:-1]) % 2).any()
        atoms = load_start(str(structure), elements, closed_shells, snakemake.params.seed)
        check_timestep(atoms.numbers, snakemake.params.timestep_fs)
        fixed_atoms(atoms)
        starts_with_velocities(atoms, *snakemake.params.velocities)
    except InputError as error:
        raise InputError(f"molecules.{snakemake.wildcards.molecule}: {error}") from error
    with atomic(snakemake.output.structure) as path:
        write(path, atoms, format="extxyz")
