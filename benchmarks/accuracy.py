"""Learning curve and ablations of AtomGNN, and what time of labels and training buys.

    python benchmarks/accuracy.py curve                 # 500 to 10,000 molecules, three seeds
    python benchmarks/accuracy.py ablations --epochs 8  # one change at a time, one seed
    python benchmarks/accuracy.py ablations --draw      # only the figure, from the records
    python benchmarks/accuracy.py minutes               # fewer labels, fewer and more epochs

`curve` trains `gnn` and then, from its weights, `gnn_u0` on minima only for four times as many
epochs. Epochs and distorted geometries per molecule are proportional to the inverse square root of
the number of molecules; `--epochs` (24) and `--geometries` (2) are the values at 10,000.
`ablations` trains `gnn` for `--epochs` on 10,000 or `--molecules` molecules. `minutes` trains `gnn`
for each of EPOCHS with the labels of each of LABELLED molecules. Values are recorded in
benchmarks/results; figures are written to docs/figures.
"""

import argparse

import pandas as pd
import yaml
from default_run import force_errors
from matplotlib.figure import Figure
from records import numbers, record
from variant import OUT, ROOT, run_variant

from nnpipe.analysis.accuracy import accuracy
from nnpipe.analysis.plots import logarithmic, panels
from nnpipe.analysis.style import model_styles, save_light_and_dark, styled
from nnpipe.config import hyperparameters_of, training_of
from nnpipe.models.checkpoint import read_info
from nnpipe.models.names import readable_name

FIGURES = ROOT / "docs/figures"
SIZES = (500, 1000, 5000, 10_000)
SEEDS = (0, 1, 2)
U0_EPOCHS = 4  # relative to the epochs of gnn
CHANGES = {
    "reference": {},
    "one layer": {"hyperparameters": {"layers": 1}},
    "three layers": {"hyperparameters": {"layers": 3}},
    "at most three bodies": {"hyperparameters": {"bodies": 3}},
    "at most two bodies": {"hyperparameters": {"bodies": 2}},
    "no vectors between layers": {"hyperparameters": {"vectors": 0}},
    "two bodies, no vectors": {"hyperparameters": {"bodies": 2, "vectors": 0}},
    "half the channels": {"hyperparameters": {"channels": 8}},
    "half the radial functions": {"hyperparameters": {"radial": 4}},
    "half the mixed features": {"hyperparameters": {"mixed": 32}},
    "cutoff 5 Å": {"hyperparameters": {"cutoff": 5.0}},
    "no average of the weights": {"training": {"ema_decay": 0.0}},
    "half the batch": {"training": {"batch_atoms": 300, "batch_pairs": 10_000}},
    "half the learning rate": {"training": {"learning_rate": 1.5e-3}},
    "squared force errors": {  # with the same curvature at zero
        "training": {"force_huber_delta": 10.0, "force_weight": 50.0},
        "late": {"force_weight": 5.0},
    },
    "no final stage": {"late": None},
    "no minima passes": {"training": {"minima_passes": 0}, "late": None},
    "energies of minima only": {"use_labels": False},
}
LABELLED, EPOCHS = (2500, 10_000), (4, 8, 16)  # of minutes
NAMED = {f"gnn_{n}" if n else "gnn": change for n, change in enumerate(CHANGES.values())}


def stages(epochs: int, late: dict | None) -> list[dict]:
    """Return the stages of a training; the last is the last stage of gnn in config.yaml with the
    settings of `late`, or is left out if `late` is None.
    """
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    first, last = training_of(config, "gnn")["stages"]
    if late is None:
        return [first | {"epochs": epochs}]
    return [first | {"epochs": epochs - last["epochs"]}, last | late]


def measured(folder: str, model: str, target: str) -> list[dict[str, object]]:
    """Return the records of a model in the workflow of `folder`: test errors and training cost."""
    results = OUT / folder / "results"
    info = read_info(results / "models" / model)
    table = accuracy(model, info, pd.read_csv(results / f"predictions/{model}.csv"))
    test = table.set_index("split").loc["test"]
    n = f"{test['n_test']:,} test molecules"
    errors = {f"{target}, MAE": test["mae"], f"{target}, RMSE": test["rmse"]}
    return [
        {"quantity": "parameters", "value": info.parameters},
        {"quantity": "training time", "value": info.train_seconds / 60, "unit": "min"},
        *(
            {"quantity": name, "value": 1000 * value, "unit": "meV", "n": n}
            for name, value in errors.items()
        ),
    ]


def curve(options: argparse.Namespace) -> None:
    """Record the errors for each number of molecules and each seed."""
    for size in options.molecules or SIZES:
        factor = (10_000 / size) ** 0.5
        epochs, geometries = round(options.epochs * factor), round(options.geometries * factor)
        for seed in options.seeds:
            change = {
                "split": {"train": size, "seed": seed},
                "labels": {"geometries": geometries},
                "training": {"seed": seed},
                "models": {
                    "gnn": {"training": {"stages": stages(epochs, {})}},
                    "gnn_u0": {"training": {"stages": stages(U0_EPOCHS * epochs, None)}},
                },
            }
            models = {"gnn": "energy", "gnn_u0": "U0"}
            targets = [f"results/predictions/{model}.csv" for model in models]
            run_variant("curve", change, targets, options.cores)
            about = {
                "case": f"{size:,} molecules, {geometries} geometries, seed {seed}",
                "data": f"{size:,} training molecules of QM9, {geometries} distorted geometries"
                " per molecule",
            }
            for model, target in models.items():
                rows = measured("curve", model, target)
                table = target.lower()
                record("learning_curve", table, rows, model=model, split=seed, seed=seed, **about)
    save_light_and_dark(figure_of_curve, FIGURES / "curve.svg")


def ablations(options: argparse.Namespace) -> None:
    """Record the errors for each change; a change of the data leaves the other trainings valid."""
    plain = yaml.safe_load((ROOT / "config.yaml").read_text())
    base = {
        "architecture": "gnn",
        "target": "energy",
        "hyperparameters": hyperparameters_of(plain, "gnn"),
        "training": training_of(plain, "gnn"),
    }
    # the table of forces needs an mlp
    models = {"mlp": {"training": {"stages": [{"epochs": 1}]}}}
    for name, new in NAMED.items():
        kinds = {key: base[key] | new.get(key, {}) for key in ("hyperparameters", "training")}
        kinds["training"]["stages"] = stages(options.epochs, new.get("late", {}))
        models[name] = base | {key: new[key] for key in new if key != "late"} | kinds
    names = [f"results/predictions/{model}.csv" for model in NAMED]
    size = (options.molecules or SIZES[-1:])[0]
    overlay = {"models": models, "split": {"train": size}, "resources": {"threads": 1}}
    run_variant("ablations", overlay, [*names, "results/tables/forces.csv"], options.cores)
    forces = pd.read_csv(OUT / "ablations/results/tables/forces.csv")
    forces = forces[forces["reference"] == "QM9, 500 K"].set_index("model")
    data = f"{size:,} training molecules of QM9, {options.epochs} epochs"
    for model, change in zip(NAMED, CHANGES, strict=True):
        force = {
            "quantity": "forces at 500 K, MAE", "value": forces["mae_mev_per_a"][model],
            "unit": "meV/Å", "n": f"{forces['n_frames'][model]} geometries at 500 K",
            "note": "Reference: B3LYP/6-31G(2df,p), PySCF",
        }  # fmt: skip
        rows = [*measured("ablations", model, "energy"), force]
        about = {"model": "gnn", "case": change, "data": data, "split": 0, "seed": 0}
        record("ablations", "changes", rows, **about)
    save_light_and_dark(figure_of_ablations, FIGURES / "ablations.svg")


def minutes(options: argparse.Namespace) -> None:
    """Record times and errors of trainings with more and with fewer labels and epochs."""
    for labelled in LABELLED:
        for epochs in EPOCHS:
            change = {
                "labels": {"molecules": labelled},
                "models": {
                    "gnn": {"training": {"stages": stages(epochs, {})}},
                    # the table of forces needs an mlp
                    "mlp": {"training": {"stages": [{"epochs": 1}]}},
                },
            }
            targets = ["results/predictions/gnn.csv", "results/tables/forces.csv"]
            results = run_variant("minutes", change, targets, options.cores) / "results"
            times = [
                pd.read_csv(path, sep="\t")["s"].sum()
                for path in results.glob("benchmarks/label_*/*.tsv")
            ]
            forces = pd.read_csv(results / "tables/forces.csv")
            rows = [
                {"quantity": "time of all label jobs", "value": sum(times) / 60, "unit": "min"},
                *measured("minutes", "gnn", "energy"),
                *force_errors(forces[forces["model"] == "gnn"]),
            ]
            case = f"labels of {labelled:,} molecules, {epochs} epochs"
            about = {"model": "gnn", "case": case, "split": 0, "seed": 0}
            record("minutes", "gnn", rows, data="10,000 training molecules of QM9", **about)
    save_light_and_dark(figure_of_minutes, FIGURES / "minutes.svg")


@styled
def figure_of_minutes() -> Figure:
    """Draw the recorded errors of forces and energies against the time of the training."""
    drawn, (axes,) = panels(2, width=3.3, height=3.0)
    found = {case: row for (_, case), row in numbers("minutes", "gnn").items()}
    shown = ("forces at 500 K, MAE", "energy, MAE")
    for axis, quantity, unit in zip(axes, shown, ("meV/Å", "meV"), strict=True):
        for labelled, marker in zip(LABELLED, ("s--", "o-"), strict=True):
            rows = [row for case, row in found.items() if f" {labelled:,} " in case]
            times = [row["training time"] for row in rows]
            label = f"labels of {labelled:,} molecules"
            axis.plot(times, [row[quantity] for row in rows], marker, label=label)
        axis.set_xlabel("training time (min)")
        axis.set_ylabel(f"{quantity} ({unit})")
        axis.set_ylim(bottom=0)
    axes[0].legend()
    return drawn


@styled
def figure_of_curve() -> Figure:
    """Draw the recorded MAE against the number of training molecules, with lines through means."""
    drawn, ((axis,),) = panels(width=5, height=3.6)
    sizes: set[int] = set()
    styles = model_styles(["gnn", "gnn_u0"])
    for table, target, model in (("energy", "energy", "gnn"), ("u0", "U0", "gnn_u0")):
        found = numbers("learning_curve", table)
        points = pd.DataFrame(
            [
                (int(case.split()[0].replace(",", "")), row[f"{target}, MAE"])
                for (_, case), row in found.items()
            ],
            columns=["size", "mae"],
        )
        if len(points):
            line = styles[model]
            label = f"{readable_name(model)} ({target})"
            axis.semilogx(points.groupby("size")["mae"].mean(), label=label, **line)
            axis.plot(points["size"], points["mae"], **line | {"linestyle": "", "markersize": 3})
            sizes |= set(points["size"])
    logarithmic(axis)
    axis.set_xticks([], minor=True)
    axis.set_xticks(sorted(sizes), [f"{size:,}" for size in sorted(sizes)])
    axis.set_xlabel("training molecules")
    axis.set_ylabel("MAE on test molecules (meV)")
    axis.legend()
    return drawn


@styled
def figure_of_ablations() -> Figure:
    """Draw the recorded MAE of energies and forces of each change, relative to the reference."""
    columns = {"energy, MAE": "energy", "forces at 500 K, MAE": "forces"}
    rows = {change: row for (_, change), row in numbers("ablations", "changes").items()}
    table = pd.DataFrame(rows).T[list(columns)].sort_values("energy, MAE", ascending=False)
    drawn, ((axis,),) = panels(width=6, height=0.25 * len(table) + 0.8)
    table = table / table.loc["reference"]
    for (column, what), marker in zip(columns.items(), "os", strict=True):
        axis.semilogx(table[column], table.index, marker, label=what)
    ticks = [ratio for ratio in (0.8, 1, 1.2, 1.5, 2, 3, 5, 10) if ratio < table.max(axis=None)]
    axis.set_xticks([], minor=True)
    axis.set_xticks(ticks, [f"{ratio:g}" for ratio in ticks])
    axis.set_xlabel("MAE on test molecules, relative to the reference")
    axis.grid(axis="y")
    axis.legend()
    return drawn


TABLES = {
    "curve": (curve, figure_of_curve),
    "ablations": (ablations, figure_of_ablations),
    "minutes": (minutes, figure_of_minutes),
}


def main() -> None:
    """Make one table and its figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--molecules", type=int, nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--geometries", type=int, default=2)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--draw", action="store_true", help="draw the figure from the records only")
    options = parser.parse_args()
    measure, figure = TABLES[options.table]
    if options.draw:
        save_light_and_dark(figure, FIGURES / f"{options.table}.svg")
    else:
        measure(options)


if __name__ == "__main__":
    main()
