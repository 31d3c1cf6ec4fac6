"""How time, memory and disk of every rule grow with the number of training molecules.

    python benchmarks/scale.py                       # 1,000 to 128,831: hours
    python benchmarks/scale.py --molecules 1000 3000

Runs the workflow up to its predictions in results/benchmarks/scale, one epoch a training, and reads
what Snakemake measured. The table and the figure go to results/benchmarks/scale.csv and .png; sizes
measured before stay in them.
"""

import argparse

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from variant import OUT, add, run

from nnpipe.analysis.cost import cost
from nnpipe.analysis.plots import panels, save

SIZES = (1000, 3000, 10_000, 30_000, 128_831)
CHUNK = 1250  # molecules whose geometries are labelled in one job
MADE = {
    "label_chunk": "data/labels/*.safetensors",
    "merge_labels": "data/labels.safetensors",
    "convert_molecules": "data/qm9.safetensors",
    "find_neighbours": "data/neighbours.safetensors",
    "predict": "predictions/*.csv",
    "split_molecules": "data/split.csv",
    "train": "models/*/*",
}
PANELS = {
    "seconds": "time of all its jobs (s)",
    "peak_memory_mb": "memory of its largest job (MiB)",
    "disk_mb": "what it leaves on disk (MB)",
}


def measure(molecules: int, cores: int) -> pd.DataFrame:
    """A row for every rule."""
    models = ("gnn", "gnn_u0", "mlp")
    change = {
        "split": {"train": molecules, "validation": 1000, "test": 1000},
        "labels": {"chunks": -(-molecules // CHUNK)},
        "models": {model: {"training": {"stages": [{"epochs": 1}]}} for model in models},
    }
    targets = [f"results/predictions/{model}.csv" for model in models]
    folder = run("scale", change, targets, cores)
    chunks = {str(number) for number in range(-(-molecules // CHUNK))}
    jobs = cost(sorted(folder.glob("results/benchmarks/*/*.tsv")))
    jobs = jobs[(jobs["rule"] != "label_chunk") | jobs["job"].isin(chunks)]
    jobs.loc[jobs["seconds"] < 1, "peak_memory_mb"] = float("nan")  # Snakemake looks too seldom
    each = jobs.groupby("rule").agg({"seconds": "sum", "peak_memory_mb": "max"})
    for rule, pattern in MADE.items():
        files = [path for path in folder.glob(f"results/{pattern}") if path.is_file()]
        if rule == "label_chunk":
            files = [path for path in files if path.stem in chunks]
        each.loc[rule, "disk_mb"] = sum(path.stat().st_size for path in files) / 1e6
    return each.reset_index().assign(molecules=molecules)


def figure(table: pd.DataFrame) -> Figure:
    """What every rule costs against the number of training molecules, with the slopes of the last
    three sizes.
    """
    drawn, (axes,) = panels(len(PANELS), width=5, height=4.5)
    colours = {rule: f"C{number}" for number, rule in enumerate(table["rule"].unique())}
    for axis, (column, label) in zip(axes, PANELS.items(), strict=True):
        found = dict(iter(table.dropna(subset=column).groupby("rule")))
        for rule in sorted(found, key=lambda rule: -found[rule][column].iloc[-1]):
            x, y = found[rule]["molecules"], found[rule][column]
            slope = np.polyfit(np.log(x[-3:]), np.log(y[-3:]), 1)[0]
            name = f"{rule}  $n^{{{round(slope, 1) + 0.0}}}$"  # no minus zero
            axis.loglog(x, y, "o-", markersize=3, color=colours[rule], label=name)
        axis.set_xlabel("training molecules, n")
        axis.set_ylabel(label)
        axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return drawn


def main() -> None:
    """Run the sizes, smallest first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--molecules", type=int, nargs="+", default=SIZES)
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    for molecules in sorted(options.molecules):
        rows = measure(molecules, options.cores)
        table = add(rows, OUT / "scale.csv", ("molecules", "rule"))
        if len(table["molecules"].unique()) > 1:
            save(figure(table), OUT / "scale.png")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
