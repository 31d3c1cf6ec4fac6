"""A potential as a program of PyTorch that runs without nnpipe.

The program computes energy, forces and virial, gradients included, of one system of any size. Its
inputs are five tensors: atomic numbers, positions, cell, and a table of neighbours with the lattice
shift of each, see INPUTS.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from .. import __version__
from ..graphs.batch import Batch
from ..models.potential import Potential, energy_forces_virial
from ..simulation.calculator import NeuralCalculator, load_calculator
from ..structures.neighbours import neighbours
from ..structures.smiles import from_smiles
from .folder import copy_template

INPUTS = {
    "numbers": "(N,) int64, atomic numbers of at least two atoms",
    "positions": "(N, 3) float64, Å",
    "cell": "(3, 3) float64, Å, lattice vectors in rows; zeros for an open system",
    "neighbours": "(N, K) int64, atoms within the cutoff, nearest first, then -1",
    "shifts": "(N, K, 3) int64, lattice translation of each neighbour: the vector to it is"
    " positions[j] + shift @ cell - positions[i]",
}
OUTPUTS = {
    "energy": "() float64, eV",
    "forces": "(N, 3) float64, eV/Å",
    "virial": "(3, 3) float64, eV: derivative with respect to the strain, volume times stress",
}
MAX_SHIFT = 32  # a lattice shift is smaller, so that a pair has a key of 64 bits
TRACED = "CCO"  # any molecule serves: sizes are symbols of the program


def export(model: str | Path, folder: Path) -> list[Path]:
    """Write model.pt2, which torch.export.load reads, model.json and an example; return the paths.

    Raises InputError if the model is missing or damaged.
    """
    calculator = load_calculator(model, device="cpu")
    torch.export.save(exported_program(calculator), folder / "model.pt2")
    describe(calculator, folder / "model.json")
    copy_template("torch_example.py", folder / "example.py")
    return [folder / name for name in ("model.pt2", "model.json", "example.py")]


def exported_program(calculator: NeuralCalculator) -> torch.export.ExportedProgram:
    """Return the program of a calculator on the CPU, in the calculator's dtype."""
    import torch.fx.experimental._config as symbolic  # takes long to import
    from torch.fx.experimental.proxy_tensor import make_fx

    inputs = make_inputs(from_smiles(TRACED), calculator.potential.cutoff)
    function = _of_tensors(calculator.potential, calculator.dtype)
    with symbolic.patch(use_duck_shape=False):  # type: ignore[attr-defined]  # one symbol per size
        trace = make_fx(function, tracing_mode="symbolic", _allow_non_fake_inputs=True)
        graph = trace(*inputs)
    auto = torch.export.Dim.AUTO
    rows, table = {0: auto}, {0: auto, 1: auto}
    return torch.export.export(graph, inputs, dynamic_shapes=(rows, rows, None, table, table))


def make_inputs(atoms: Atoms, cutoff: float) -> tuple[Tensor, ...]:
    """Return the inputs of the program for one system: see INPUTS. `cutoff` in Å."""
    counts, index, shift = neighbours(atoms.positions, cutoff, atoms.cell.array, atoms.pbc)
    slots = np.arange(max(counts.max(), 2)) < counts[:, None]  # one neighbour is a size of its own
    table, shifts = np.full(slots.shape, -1), np.zeros((*slots.shape, 3), int)
    table[slots], shifts[slots] = index, shift
    arrays = atoms.numbers.astype(int), atoms.positions, atoms.cell.array, table, shifts
    return tuple(torch.tensor(array) for array in arrays)


def describe(calculator: NeuralCalculator, path: Path, compiled: bool = False) -> None:
    """Write what a user of the program must know, as JSON."""
    given = Path(calculator.parameters["model"]) / "model.json"
    info = json.loads(given.read_text())
    kept = ("architecture", "elements", "weights_sha256", "n_train", "data")
    content: dict[str, Any] = {
        "inputs": INPUTS,
        "outputs": OUTPUTS,
        "cutoff": calculator.potential.cutoff,
        "cutoff_unit": "Å",
        "compiled": compiled,
        "dtype": calculator.parameters["dtype"],
        "torch": torch.__version__,
        "nnpipe": __version__,
        "licence": "MIT",
        "model": {key: info[key] for key in kept},
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _of_tensors(potential: Potential, dtype: torch.dtype) -> Callable[..., tuple[Tensor, ...]]:
    def evaluate(z: Tensor, pos: Tensor, cell: Tensor, table: Tensor, shifts: Tensor) -> tuple:
        mask, here = table >= 0, torch.arange(table.shape[0])[:, None]
        batch = Batch(
            z=z,
            pos=(pos - pos[:1]).to(dtype),  # near zero, where single precision is best
            system_idx=torch.zeros_like(z),
            n_systems=1,
            neighbours=torch.where(mask, table, here),
            neighbour_mask=mask,
            reverse_idx=reverse_places(table, shifts),
            shift_vectors=(shifts.to(cell.dtype) @ cell).to(dtype),
        )
        with torch.enable_grad():
            energy, forces, virial = energy_forces_virial(potential, batch)
        return energy[0].detach(), forces.detach().double(), virial[0].detach().double()

    return evaluate


def reverse_places(table: Tensor, shifts: Tensor) -> Tensor:
    """Return the slot (K, N), of N * K, of each pair seen from the neighbour, or -1.

    table (N, K), -1 in an empty slot, and shifts (N, K, 3) as in INPUTS. The pairs (i, j) and
    (j, i) are sorted in the same order by one integer each.
    """
    atoms = table.shape[0]  # len() would be a constant of a traced program
    here = torch.arange(atoms)[:, None].expand_as(table)

    def order(i: Tensor, j: Tensor, shift: Tensor) -> Tensor:
        key = i * atoms + j
        for axis in shift.unbind(-1):
            key = key * (2 * MAX_SHIFT) + axis + MAX_SHIFT
        return torch.where(table < 0, torch.iinfo(torch.int64).max, key).flatten().argsort()

    forward, backward = order(here, table, shifts), order(table, here, -shifts)
    reverse = torch.zeros_like(forward).scatter(0, forward, backward).view_as(table)
    return torch.where(table < 0, -1, reverse).t().contiguous()
