"""Make a molecule's starting geometry, or refuse it."""

from ase.io import write

from nnpipe.errors import InputError
from nnpipe.geometry import check_elements, check_timestep, load_geometry
from nnpipe.script import script
from nnpipe.store import atomic

with script(snakemake.log[0]):
    try:
        atoms = load_geometry(snakemake.params.structure, snakemake.params.seed)
        check_elements(atoms.numbers, snakemake.params.elements)
        check_timestep(atoms.numbers, snakemake.params.timestep_fs)
    except InputError as error:
        raise InputError(f"molecules.{snakemake.wildcards.molecule}: {error}") from error
    with atomic(snakemake.output.structure) as path:
        write(path, atoms, format="extxyz")
