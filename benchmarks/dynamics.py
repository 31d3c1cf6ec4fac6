"""Long dynamics of a trained model, one command per study.

    python benchmarks/dynamics.py seeds         # aspirin, 500 K, 0.5 fs, 100 ps, five seeds
    python benchmarks/dynamics.py molecules     # 100 test molecules, 20 larger ones, 300 K, 50 ps
    python benchmarks/dynamics.py conservation  # aspirin, NVE from 300 K, 50 ps, two timesteps

The workflow must have run. `--model mlp` takes another model and `--length-ps 5` another length.
`--part 1/4` runs every fourth system, with other velocities and other thermostat noise than the
other parts. Summaries and trajectories are written to results/benchmarks. Values are recorded in
benchmarks/results/dynamics.csv, tables `long` and `conservation`.
"""

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms
from ase.io import read
from records import record, trained

from nnpipe import load_calculator
from nnpipe.analysis.frequencies import held_out
from nnpipe.data.molecules import read_molecules
from nnpipe.runtime.device import use_threads
from nnpipe.runtime.files import write_csv
from nnpipe.simulation.md import write_trajectory
from nnpipe.simulation.settings import Settings
from nnpipe.structures.smiles import from_smiles

ROOT = Path(__file__).parents[1]
LARGER = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "ibuprofen": "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "naproxen": "CC(c1ccc2cc(OC)ccc2c1)C(=O)O",
    "lidocaine": "CCN(CC)CC(=O)Nc1c(C)cccc1C",
    "benzocaine": "CCOC(=O)c1ccc(N)cc1",
    "nicotine": "CN1CCCC1c1cccnc1",
    "melatonin": "CC(=O)NCCc1c[nH]c2ccc(OC)cc12",
    "dopamine": "NCCc1ccc(O)c(O)c1",
    "adrenaline": "CNCC(O)c1ccc(O)c(O)c1",
    "glucose": "OCC1OC(O)C(O)C(O)C1O",
    "vanillin": "COc1cc(C=O)ccc1O",
    "menthol": "CC(C)C1CCC(C)CC1O",
    "camphor": "CC1(C)C2CCC1(C)C(=O)C2",
    "flurbiprofen": "CC(C(=O)O)c1ccc(c(F)c1)-c1ccccc1",
    "phenacetin": "CCOc1ccc(NC(C)=O)cc1",
    "tryptophan": "NC(Cc1c[nH]c2ccccc12)C(=O)O",
    "estradiol": "CC12CCC3c4ccc(O)cc4CCC3C1CCC2O",
    "testosterone": "CC12CCC3C(CCC4=CC(=O)CCC34C)C1CCC2O",
}


def seeds(settings: Settings) -> tuple[list[Atoms], list[str], list[Settings]]:
    """Return five replicas of aspirin."""
    return [from_smiles(LARGER["aspirin"])] * 5, ["aspirin"] * 5, [settings]


def molecules(settings: Settings) -> tuple[list[Atoms], list[str], list[Settings]]:
    """Return test molecules of QM9 and larger molecules."""
    table, _ = read_molecules(ROOT / "results/data/qm9.safetensors")
    systems, names = [], []
    for row in held_out(table, ROOT / "results/data/split.csv", 100):
        index, z, pos = table.geometry(row)
        systems.append(Atoms(z, pos))
        names.append(f"qm9_{index}")
    return [*systems, *map(from_smiles, LARGER.values())], [*names, *LARGER], [settings]


def conservation(settings: Settings) -> tuple[list[Atoms], list[str], list[Settings]]:
    """Return aspirin without a thermostat, and settings with two timesteps."""
    halves = [replace(settings, timestep_fs=settings.timestep_fs / n, frame_fs=2.0) for n in (1, 2)]
    return [from_smiles(LARGER["aspirin"])], ["aspirin"], halves


STUDIES = {
    "seeds": (
        seeds,
        Settings(temperature_k=500.0, length_ps=100.0, frame_fs=100.0),
        "replicas of aspirin",
    ),
    "molecules": (
        molecules,
        Settings(temperature_k=300.0, length_ps=50.0, frame_fs=100.0),
        "molecules",
    ),
    "conservation": (
        conservation,
        Settings(ensemble="nve", temperature_k=300.0, length_ps=50.0),
        "aspirin",
    ),
}


def main() -> None:
    """Run one study and record it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--model", default="gnn")
    parser.add_argument("--length-ps", type=float)
    parser.add_argument("--timestep-fs", type=float)
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    use_threads(options.threads)
    study, settings, _ = STUDIES[options.study]
    changes = {key: getattr(options, key) for key in ("length_ps", "timestep_fs")}
    settings = replace(settings, **{key: value for key, value in changes.items() if value})
    systems, names, runs = study(settings)
    part, parts = map(int, options.part.split("/"))
    systems, names = systems[part - 1 :: parts], names[part - 1 :: parts]
    runs = [replace(run, seed=run.seed + 1000 * (part - 1)) for run in runs]
    suffix = f"_{part}_of_{parts}" if parts > 1 else ""
    dtype = "float64" if options.study == "conservation" else "float32"
    rows, folder = [], ROOT / "results/models" / options.model
    for number, run in enumerate(runs):
        stem = ROOT / f"results/benchmarks/{options.study}_{options.model}{suffix}"
        calculator = load_calculator(folder, dtype, compiled=True)
        trajectory = stem.with_name(f"{stem.name}_{number}.xyz")
        trajectory.parent.mkdir(parents=True, exist_ok=True)
        summaries = write_trajectory(systems, calculator, run, trajectory, options.model, names)
        rows += map(asdict, summaries)
        if options.study == "conservation":
            total = [frame.info["total_energy"] for frame in read(trajectory, ":")]
            error = np.array(total) - total[0]  # of the integrator: falls as the timestep squared
            rows[-1]["energy_error_mev"] = 1000 * float(np.sqrt(np.mean(error**2)))
    table = pd.DataFrame(rows)
    write_csv(table, stem.with_suffix(".csv"))
    name, data = trained(folder)
    about = {"model": name, "seed": runs[0].seed, "note": f"{data}. Every step is checked"}
    if options.study == "conservation":
        for row in rows:
            values = {
                "drift of the total energy": ("drift_mev_per_atom_per_ps", "meV/atom/ps"),
                "95 % interval of the drift, half width": (
                    "drift_ci95_mev_per_atom_per_ps",
                    "meV/atom/ps",
                ),
                "RMS fluctuation of the total energy": ("energy_error_mev", "meV"),
            }
            found = [
                {"quantity": name, "value": row[column], "unit": unit}
                for name, (column, unit) in values.items()
            ]
            about |= {"data": "aspirin", "n": f"{row['length_ps']:g} ps, NVE from 300 K, float64"}
            record("dynamics", "conservation", found, case=f"{row['timestep_fs']:g} fs", **about)
        return
    complete = f"{(table['ended'] == 'complete').sum()} of {len(table)}"
    found = [
        {"quantity": "complete runs", "value": complete},
        {"quantity": "runs that lost a hydrogen", "value": int(table["hydrogen_lost"].sum())},
        {
            "quantity": "largest bond deviation",
            "value": table["max_bond_deviation_a"].max(),
            "unit": "Å",
        },
    ]
    run, what = runs[0], STUDIES[options.study][2]
    about |= {"data": what, "n": f"steps of {run.timestep_fs:g} fs"}
    case = f"{len(table)} {what}, {run.temperature_k:g} K, {run.length_ps:g} ps"
    record("dynamics", "long", found, case=case, **about)


if __name__ == "__main__":
    main()
