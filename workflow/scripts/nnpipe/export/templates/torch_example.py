"""Energy, forces and stress of a structure with model.pt2: no nnpipe is needed.

    pip install torch ase
    python example.py structure.xyz

model.json states the units, the elements and the layout of inputs and outputs.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.io import read
from ase.neighborlist import neighbor_list

HERE = Path(__file__).parent
ABOUT = json.loads((HERE / "model.json").read_text())
if ABOUT["compiled"]:
    PROGRAM = torch._inductor.aoti_load_package(str(HERE / "model.pt2"))
else:
    PROGRAM = torch.export.load(HERE / "model.pt2").module()


def evaluate(atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    """Return energy (eV), forces (N, 3) eV/Å and virial (3, 3) eV, volume times stress."""
    if unknown := set(atoms.numbers.tolist()) - set(ABOUT["model"]["elements"]):
        raise ValueError(f"the model was not trained on the elements {sorted(unknown)}")
    i, j, shift, distance = neighbor_list("ijSd", atoms, ABOUT["cutoff"])
    order = np.lexsort((distance, i))  # by centre, nearest first
    counts = np.bincount(i, minlength=len(atoms))
    slots = np.arange(max(counts.max(), 2)) < counts[:, None]
    table, shifts = np.full(slots.shape, -1), np.zeros((*slots.shape, 3), int)
    table[slots], shifts[slots] = j[order], shift[order]
    arrays = atoms.numbers.astype(int), atoms.positions, atoms.cell.array, table, shifts
    energy, forces, virial = PROGRAM(*(torch.tensor(array) for array in arrays))
    return energy.item(), forces.numpy(), virial.numpy()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("give a structure file: python example.py structure.xyz")
    structure = read(sys.argv[1], 0)
    energy, forces, virial = evaluate(structure)
    print(f"energy {energy:.6f} eV")
    for symbol, force in zip(structure.symbols, forces, strict=True):
        print(symbol, "force", *(f"{component:.6f}" for component in force), "eV/Å")
    if structure.pbc.all():
        print("stress", *(f"{one:.6f}" for one in (virial / structure.get_volume()).flat), "eV/Å^3")
