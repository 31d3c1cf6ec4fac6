"""Record the values of a finished run of the preset full_cpu, whose gnn ships.

    snakemake --cores 2 --configfile workflow/presets/full_cpu.yaml && python benchmarks/full_qm9.py

A path of other results may follow; their commit is the commit of the checkout that they lie in.
"""

import json
import sys
from pathlib import Path

import pandas as pd
from default_run import dynamics, energies, revision, surface
from records import machine, record

COMMAND = "snakemake --cores 2 --configfile workflow/presets/full_cpu.yaml"
MODELS = ("gnn", "shipped", "labels", "GFN2-xTB")


def cost(gnn: dict, jobs: pd.DataFrame) -> list[dict[str, object]]:
    """Return the time of the labels and of the training."""
    labels = jobs.loc[jobs["rule"].str.startswith("label"), "seconds"].sum()
    epochs = sum(stage["epochs"] for stage in gnn["settings"]["stages"])
    training = {
        "quantity": "training time", "value": f"{gnn['train_seconds'] / 60:.0f}",
        "note": f"{epochs} epochs, {gnn['device']}",
    }  # fmt: skip
    about = {"model": "gnn", "n": f"{gnn['n_geometries']:,} labelled geometries", "unit": "min"}
    return [
        about | {"quantity": "time of all label jobs", "value": f"{labels / 60:.0f}"},
        about | training,
    ]


def main(results: str = "results") -> None:
    """Read the tables of a run and record the values of the gnn that ships and the one before."""
    names = ("accuracy", "frequencies", "forces", "md", "cost")
    tables = {name: pd.read_csv(Path(results) / f"tables/{name}.csv") for name in names}
    jobs = tables.pop("cost")
    for name, table in tables.items():
        tables[name] = table[table["model"].isin(MODELS)].replace({"shipped": "gnn, before"})
    gnn = json.loads((Path(results) / "models/gnn/model.json").read_text())
    if gnn["n_train"] != 110_000:
        raise SystemExit(f"{results}: not the results of the preset full_cpu")
    common = {
        "data": "110,000 training molecules of QM9", "split": 0, "seed": 0, "command": COMMAND,
        "note": "PyTorch 2.13, CPU build", "commit": revision(results), "machine": machine(),
    }  # fmt: skip
    record("full_qm9", "energies", energies(tables["accuracy"]), **common)
    record("full_qm9", "surface", surface(tables["frequencies"], tables["forces"]), **common)
    record("full_qm9", "dynamics", dynamics(tables["md"]), **common)
    record("full_qm9", "cost", cost(gnn, jobs), **common)


if __name__ == "__main__":
    main(*sys.argv[1:])
