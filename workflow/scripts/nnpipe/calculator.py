"""Trained models as ASE calculators."""

import copy
from pathlib import Path

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from .batch import single
from .checkpoint import load_model
from .device import pick_device
from .errors import InputError
from .geometry import check_elements
from .neighbours import neighbours
from .potential import Potential, energy_forces, energy_forces_virial

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class NeuralCalculator(Calculator):
    """Energy (eV), forces (eV/Å) and stress (eV/Å^3) of a potential, open and periodic alike."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        potential: Potential,
        elements: list[int],
        dtype: str = "float32",
        device: str = "auto",
    ) -> None:
        super().__init__()
        self.device, self.dtype = pick_device(device), DTYPES[dtype]
        self.potential = copy.deepcopy(potential).to(self.device).requires_grad_(False)
        self.potential.model.to(self.dtype)  # references and sums stay in float64
        self.elements = elements

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] = implemented_properties,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill `results`; see ase.calculators.calculator.Calculator.

        Raises InputError for an element that the model was not trained on.
        """
        super().calculate(atoms, properties, system_changes)
        system = self.atoms
        assert isinstance(system, Atoms)
        check_elements(system.numbers, self.elements)
        pos, cell = system.positions, system.cell.array
        counts, index, shift = neighbours(pos, self.potential.cutoff, cell, system.pbc)
        batch = single(system.numbers, pos, counts, index, shift @ cell)
        batch = batch.to(self.device, self.dtype)
        if "stress" in properties:
            energy, forces, virial = energy_forces_virial(self.potential, batch)
            stress = virial[0].double().cpu().numpy() / system.get_volume()
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)
        else:
            energy, forces = energy_forces(self.potential, batch)
        self.results["energy"] = self.results["free_energy"] = energy.item()
        self.results["forces"] = forces.double().cpu().numpy()


def load_calculator(
    path: str | Path, dtype: str = "float32", device: str = "auto"
) -> NeuralCalculator:
    """The calculator of the model in folder `path` (results/models/gnn, say).

    dtype: float32, or float64 for tight relaxations and finite differences.
    Raises InputError if there is no model, or if it predicts no energy.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is none of {', '.join(DTYPES)}")
    potential, info = load_model(path)
    if info.target != "energy":
        raise InputError(
            f"{path}: predicts {info.target}, which atoms do not move on; take a model of energy"
        )
    return NeuralCalculator(potential, info.elements, dtype, device)
