"""Dynamics of 8 replicas of ethanol at 300 K in one batch.

pip install "torch-sim-atomistic<0.4"
python example.py
"""

from pathlib import Path

import torch_sim as ts
from ase.build import molecule

from nnpipe import load_calculator
from nnpipe.export.torch_sim import TorchSimModel

FOLDER = Path(__file__).parent / "model"
MODEL = TorchSimModel(load_calculator(FOLDER, compiled=True), compute_stress=False)

if __name__ == "__main__":
    ethanol = molecule("CH3CH2OH", cell=[20.0] * 3)
    final = ts.integrate(
        system=[ethanol] * 8,
        model=MODEL,
        integrator=ts.nvt_langevin,
        n_steps=2000,
        temperature=300,
        timestep=0.0005,  # ps
    )
    temperatures = ts.quantities.calc_temperature(
        masses=final.masses, momenta=final.momenta, system_idx=final.system_idx
    )
    for energy, temperature in zip(final.energy, temperatures, strict=True):
        print(f"potential energy {energy:.3f} eV, temperature {temperature:.0f} K")
