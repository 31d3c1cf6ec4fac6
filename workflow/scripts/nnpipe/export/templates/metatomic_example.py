"""Energy, forces and stress of a structure with model.pt in ASE: no nnpipe is needed.

pip install metatomic-torch metatomic-ase ase
python example.py structure.xyz
"""

import sys
from pathlib import Path

from ase.io import read
from metatomic_ase import MetatomicCalculator

if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("give a structure file: python example.py structure.xyz")
    structure = read(sys.argv[1])
    structure.calc = MetatomicCalculator(Path(__file__).parent / "model.pt")
    print(f"energy {structure.get_potential_energy():.6f} eV")
    for symbol, force in zip(structure.symbols, structure.get_forces(), strict=True):
        print(symbol, "force", *(f"{component:.6f}" for component in force), "eV/Å")
    if structure.pbc.all():
        print("stress", *(f"{one:.6f}" for one in structure.get_stress(voigt=False).flat), "eV/Å^3")
