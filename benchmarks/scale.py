"""Time, memory and disk of every rule against the number of training molecules.

    python benchmarks/scale.py                       # 1,000 to 128,831: hours
    python benchmarks/scale.py --molecules 1000 3000
    python benchmarks/scale.py --draw                # only the figure, from the records

Runs the workflow up to its predictions in results/benchmarks/scale, with one epoch per training,
and records the measurements of Snakemake in benchmarks/results/scale.csv, table `rules`. The figure
is docs/figures/growth-light.svg and -dark.svg.
"""

import argparse
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from records import numbers, record
from variant import ROOT, run_variant

from nnpipe.analysis.cost import cost
from nnpipe.analysis.plots import panels
from nnpipe.analysis.style import save_light_and_dark, styled

SIZES = (1000, 3000, 10_000, 30_000, 128_831)
MOLECULES_PER_CHUNK = 1250  # as in the default run
OUTPUTS = {
    "label_chunk": "data/labels/*.safetensors",
    "merge_labels": "data/labels.safetensors",
    "convert_molecules": "data/qm9.safetensors",
    "find_neighbours": "data/neighbours.safetensors",
    "predict": "predictions/*.csv",
    "split_molecules": "data/split.csv",
    "train": "models/*/*",
}
QUANTITIES = {  # column of the cost table: quantity and its unit
    "seconds": ("time of all jobs", "s"),
    "peak_memory_mb": ("peak memory of the largest job", "MiB"),
    "disk_mb": ("disk space of the output", "MB"),
}


def measure(molecules: int, cores: int) -> pd.DataFrame:
    """Return one row per rule: seconds, peak_memory_mb and disk_mb."""
    models = ("gnn", "gnn_u0", "mlp")
    change = {
        "split": {"train": molecules, "validation": 1000, "test": 1000},
        "labels": {"chunks": -(-molecules // MOLECULES_PER_CHUNK)},
        "models": {model: {"training": {"stages": [{"epochs": 1}]}} for model in models},
    }
    targets = [f"results/predictions/{model}.csv" for model in models]
    folder = run_variant("scale", change, targets, cores)
    chunks = {str(number) for number in range(-(-molecules // MOLECULES_PER_CHUNK))}
    jobs = cost(sorted(folder.glob("results/benchmarks/*/*.tsv")))
    jobs = jobs[(jobs["rule"] != "label_chunk") | jobs["job"].isin(chunks)]
    jobs.loc[jobs["seconds"] < 1, "peak_memory_mb"] = float("nan")  # Snakemake samples too rarely
    each = jobs.groupby("rule").agg({"seconds": "sum", "peak_memory_mb": "max"})
    for rule, pattern in OUTPUTS.items():
        files = [path for path in folder.glob(f"results/{pattern}") if path.is_file()]
        if rule == "label_chunk":
            files = [path for path in files if path.stem in chunks]
        each.loc[rule, "disk_mb"] = sum(path.stat().st_size for path in files) / 1e6
    return each


@styled
def figure() -> Figure:
    """Draw the recorded cost of each rule, with the power of n fitted to the last three sizes."""
    found = [
        {"rule": rule, "n": int(case.replace(",", ""))} | row
        for (rule, case), row in numbers("scale", "rules").items()
    ]
    table = pd.DataFrame(found).sort_values("n")
    drawn, axes = panels(1, len(QUANTITIES), width=5.5, height=2.6)
    looks = zip(cycle(f"C{number}" for number in range(6)), cycle("os^Dv"), strict=False)
    names = sorted(set(table["rule"]))
    styles = {
        name: {"color": colour, "marker": marker}
        for name, (colour, marker) in zip(names, looks, strict=False)
    }
    for axis, (quantity, unit) in zip(axes[:, 0], QUANTITIES.values(), strict=True):
        rules = dict(iter(table.dropna(subset=quantity).groupby("rule")))
        for rule in sorted(rules, key=lambda rule: -rules[rule][quantity].iloc[-1]):
            x, y = rules[rule]["n"], rules[rule][quantity]
            slope = np.polyfit(np.log(x[-3:]), np.log(y[-3:]), 1)[0]
            name = f"{rule}  $n^{{{round(slope, 1) + 0.0}}}$"  # no minus zero
            axis.loglog(x, y, label=name, **styles[rule])
        low, high = axis.get_ylim()
        # a range below two decades has too few powers of ten for ticks
        subs = (1.0,) if high / low > 100 else (1.0, 2.0, 5.0)
        axis.yaxis.set_major_locator(LogLocator(subs=subs))
        for ticks in (axis.xaxis, axis.yaxis):
            ticks.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            ticks.set_minor_formatter(NullFormatter())
        axis.set_xlabel("training molecules, n")
        axis.set_ylabel(f"{quantity} ({unit})")
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return drawn


def main() -> None:
    """Run the sizes, smallest first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--molecules", type=int, nargs="+", default=SIZES)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--draw", action="store_true", help="draw the figure from the records only")
    options = parser.parse_args()
    for molecules in [] if options.draw else sorted(options.molecules):
        rows = [
            {"model": rule, "quantity": quantity, "value": row[column], "unit": unit}
            for rule, row in measure(molecules, options.cores).iterrows()
            for column, (quantity, unit) in QUANTITIES.items()
            if np.isfinite(row[column])
        ]
        data = f"{molecules:,} training molecules of QM9, one epoch per model"
        record("scale", "rules", rows, case=f"{molecules:,}", data=data, split=0, seed=0)
    save_light_and_dark(figure, ROOT / "docs/figures/growth.svg")


if __name__ == "__main__":
    main()
