"""Driver of i-PI: forces of a model of nnpipe.

i-pi-driver-py -u -a nnpipe -m custom -P driver.py -o model,start.xyz
"""

import numpy as np
from ase import Atoms
from ase.io import read
from ipi.pes.dummy import Dummy_driver
from ipi.utils.units import unit_to_internal, unit_to_user

from nnpipe import load_calculator

__DRIVER_NAME__ = "nnpipe"
__DRIVER_CLASS__ = "Driver"

Result = tuple[float, np.ndarray, np.ndarray, str]  # atomic units


class Driver(Dummy_driver):
    """A model, and the elements of `template`, a file that ASE reads.

    `periodic`: the cell of i-PI is a lattice. `compiled`: several times faster, after half a minute
    of compilation.
    """

    def __init__(
        self, model: str, template: str, periodic: bool = False, compiled: bool = True, **_: object
    ) -> None:
        self.numbers = read(template, 0, format="xyz").numbers
        self.calculator = load_calculator(model, compiled=compiled)
        self.periodic = periodic
        super().__init__()

    def compute(self, cell: np.ndarray, pos: np.ndarray) -> Result | list[Result]:
        """Return energy, forces, virial and nothing else, of one structure or of a list."""
        if not isinstance(cell, list):
            return self.compute_all([cell], [pos])[0]
        return self.compute_all(cell, pos)

    def compute_all(self, cells: list[np.ndarray], positions: list[np.ndarray]) -> list[Result]:
        """Return the results of all structures: in one batch, if they are not periodic."""
        places = [unit_to_user("length", "angstrom", place.reshape(-1, 3)) for place in positions]
        if self.periodic:
            return [self.of_crystal(*pair) for pair in zip(cells, places, strict=True)]
        beads = Atoms(np.tile(self.numbers, len(places)), np.concatenate(places))
        beads.set_array("system", np.repeat(np.arange(len(places)), len(self.numbers)))
        beads.calc = self.calculator
        forces = beads.get_forces().reshape(len(places), -1, 3)
        energies = self.calculator.results["system_energies"]
        none = np.zeros((3, 3))
        return [in_atomic_units(*one, none) for one in zip(energies, forces, strict=True)]

    def of_crystal(self, cell: np.ndarray, place: np.ndarray) -> Result:
        """Return the results of one periodic structure; `cell` has lattice vectors in columns."""
        atoms = Atoms(
            self.numbers, place, cell=unit_to_user("length", "angstrom", cell.T), pbc=True
        )
        atoms.calc = self.calculator
        stress = atoms.get_stress(voigt=False)
        virial = -stress * atoms.get_volume()
        return in_atomic_units(atoms.get_potential_energy(), atoms.get_forces(), virial)


def in_atomic_units(energy: float, forces: np.ndarray, virial: np.ndarray) -> Result:
    """Return energy (eV), forces (eV/Å) and virial (eV) in the units of i-PI."""
    return (
        float(unit_to_internal("energy", "electronvolt", energy)),
        np.array(unit_to_internal("force", "ev/ang", forces)),
        np.array(unit_to_internal("energy", "electronvolt", virial.T)),
        "",
    )
