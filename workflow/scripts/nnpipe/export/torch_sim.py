"""A potential as a model of torch-sim: dynamics of many systems in one batch, each in its cell."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch_sim as ts
from torch import Tensor
from torch_sim.models.interface import ModelInterface

from ..data.molecules import row_ends
from ..graphs.batch import Batch, batch_from_pairs
from ..graphs.compile import CompiledFunction
from ..models.potential import energy_forces, energy_forces_virial
from ..simulation.calculator import NeuralCalculator, load_calculator
from ..structures.checks import check_supported_elements
from ..structures.neighbours import neighbours
from .folder import copy_model_files, copy_template


def export(model: str | Path, folder: Path) -> list[Path]:
    """Write an example and the folder model; return the paths.

    Raises InputError if the model is missing or damaged.
    """
    calculator = load_calculator(model, device="cpu")
    example = copy_template("torch_sim_example.py", folder / "example.py")
    return [example, *copy_model_files(calculator, folder / "model")]


class TorchSimModel(ModelInterface):
    """The potential of a calculator: energies eV, forces eV/Å and stress eV/Å^3.

    `dtype` is the precision of positions and results; the network has the precision of the
    calculator. Neighbours are found again when an atom has moved by half of the skin, or when a
    cell has changed.
    """

    def __init__(
        self,
        calculator: NeuralCalculator,
        dtype: torch.dtype = torch.float64,
        compute_stress: bool = True,
    ) -> None:
        super().__init__()
        self.calculator = calculator
        self._device, self._dtype = calculator.device, dtype
        self._compute_forces, self._compute_stress = True, compute_stress
        function = energy_forces_virial if compute_stress else energy_forces
        self.evaluate: Any = partial(_detached, function, calculator.potential)
        if calculator.parameters["compiled"]:
            self.evaluate = CompiledFunction(self.evaluate)
        self.skin = calculator.lists.skin
        self.batch: Batch | None = None
        self.listed: tuple[Tensor, ...] = ()  # what the neighbours were found for, positions last

    def forward(self, state: ts.SimState | dict[str, Any], **_: Any) -> dict[str, Tensor]:
        """Return energy (B,), forces (N, 3) and, if wanted, stress (B, 3, 3).

        The stress of a system without a cell is nan.

        Raises InputError for an element that the model was not trained on, and for atoms of an open
        system that are too far apart.
        """
        if not isinstance(state, ts.SimState):
            state = ts.SimState(**state, masses=torch.ones_like(state["positions"][:, 0]))
        batch = self._with_neighbours(state)
        energy, forces, *virial = self.evaluate(batch)
        results = {"energy": energy.to(self._dtype), "forces": forces.to(self._dtype)}
        if virial:
            volume = torch.linalg.det(state.cell).abs()[:, None, None]
            stress = virial[0].to(self._dtype) / volume
            results["stress"] = torch.where(volume > 0, stress, torch.nan)
        return results

    def _with_neighbours(self, state: ts.SimState) -> Batch:
        system_idx, pos = state.system_idx, state.positions
        pbc = torch.as_tensor(state.pbc).expand(3)
        now = (state.atomic_numbers, system_idx, state.cell, pbc, pos)
        sizes = torch.bincount(system_idx)
        first = (sizes.cumsum(0) - sizes)[system_idx]
        if not self.batch or not self._complete(now):
            self.batch = self._find_neighbours(state, pbc.cpu().numpy())
            self.listed = tuple(part.clone() for part in now)
        origins = self.listed[-1][first]  # positions near zero, where single precision is best
        return self.batch.with_positions((pos - origins).to(self.calculator.dtype))

    def _complete(self, now: tuple[Tensor, ...]) -> bool:
        """Return whether the last neighbours serve these numbers, systems, cells and positions."""
        if not all(map(torch.equal, now[:-1], self.listed[:-1])):
            return False
        moved = (now[-1] - self.listed[-1]).square().sum(1).max()
        return bool(moved < (self.skin / 2) ** 2)

    def _find_neighbours(self, state: ts.SimState, pbc: np.ndarray) -> Batch:
        z, pos = state.atomic_numbers.cpu().numpy(), state.positions.double().cpu().numpy()
        check_supported_elements(z, self.calculator.elements)
        cells = state.row_vector_cell.double().cpu().numpy()
        system_idx = state.system_idx.cpu().numpy()
        ends = row_ends(np.bincount(system_idx))
        counts, indices, offsets = [], [], []
        for cell, (start, end) in zip(cells, pairwise(ends), strict=True):
            reach = self.calculator.potential.cutoff + self.skin
            count, index, shift = neighbours(pos[start:end], reach, cell, pbc)
            counts.append(count)
            indices.append(index + start)
            offsets.append(shift @ cell)
        count, index, offset = map(np.concatenate, (counts, indices, offsets))
        batch = batch_from_pairs(z, pos, count, index, offset, system_idx)
        return batch.to(self.calculator.device, self.calculator.dtype)


def _detached(function: Any, potential: Any, batch: Batch) -> tuple[Tensor, ...]:
    return tuple(part.detach() for part in function(potential, batch))
