"""What AtomGNN's accuracy comes from, one command a table.

    python benchmarks/accuracy.py curve                 # 500 to 10,000 molecules, three seeds
    python benchmarks/accuracy.py ablations --epochs 8  # one thing changed at a time, one seed

The curve trains `gnn` and, from it, `gnn_u0` in four times as many passes, which see minima alone
and so are cheap. Passes and labelled geometries of a molecule grow as one over the root of the
number of molecules, from `--epochs` (24) and `--geometries` (2) at 10,000. The ablations train
`gnn` in `--epochs` on 10,000 or `--molecules 1000`. Tables and figures go to results/benchmarks;
rows of other sizes, seeds and `--epochs` of the ablations stay in the tables.
"""

import argparse
from collections.abc import Iterator

import pandas as pd
import yaml
from matplotlib.figure import Figure
from variant import OUT, ROOT, add, run

from nnpipe.analysis.accuracy import accuracy
from nnpipe.analysis.plots import logarithmic, panels, save
from nnpipe.config import hyperparameters_of, training_of
from nnpipe.models.checkpoint import read_info

SIZES = (500, 1000, 5000, 10_000)
SEEDS = (0, 1, 2)
U0_PASSES = 4  # times those of gnn
CHANGES = {
    "as it is": {},
    "one layer": {"hyperparameters": {"layers": 1}},
    "three layers": {"hyperparameters": {"layers": 3}},
    "three bodies a round": {"hyperparameters": {"bodies": 3}},
    "two bodies a round": {"hyperparameters": {"bodies": 2}},
    "no vectors between rounds": {"hyperparameters": {"vectors": 0}},
    "two bodies, no vectors": {"hyperparameters": {"bodies": 2, "vectors": 0}},
    "half the channels": {"hyperparameters": {"channels": 8}},
    "half the radial functions": {"hyperparameters": {"radial": 4}},
    "half the mixed features": {"hyperparameters": {"mixed": 32}},
    "cutoff 5 Å": {"hyperparameters": {"cutoff": 5.0}},
    "no average of the weights": {"training": {"ema_decay": 0.0}},
    "half the batch": {"training": {"batch_atoms": 300, "batch_pairs": 10_000}},
    "half the learning rate": {"training": {"learning_rate": 1.5e-3}},
    "squared errors of forces": {  # of the same curvature
        "training": {"force_huber_delta": 10.0, "force_weight": 50.0},
        "late": {"force_weight": 5.0},
    },
    "no late epochs": {"late": None},
    "no passes over minima": {"training": {"minima_passes": 0}, "late": None},
    "energies of minima alone": {"use_labels": False},
}
NAMED = {f"gnn_{n}" if n else "gnn": change for n, change in enumerate(CHANGES.values())}


def stages(epochs: int, late: dict | None) -> list[dict]:
    """Stages of a training: the last one that of gnn in config.yaml with `late`, or none."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    first, last = training_of(config, "gnn")["stages"]
    if late is None:
        return [first | {"epochs": epochs}]
    return [first | {"epochs": epochs - last["epochs"]}, last | late]


def errors(folder: str, model: str) -> dict[str, float]:
    """Errors (meV) on the test molecules that the workflow in `folder` predicted, and the cost."""
    results = OUT / folder / "results"
    predictions = pd.read_csv(results / f"predictions/{model}.csv")
    info = read_info(results / "models" / model)
    test = accuracy(model, info, predictions).set_index("split").loc["test"]
    cost = {"parameters": info.parameters, "train_seconds": info.train_seconds}
    return cost | {"mae_mev": 1000 * test["mae"], "rmse_mev": 1000 * test["rmse"]}


def curve(options: argparse.Namespace) -> Iterator[dict]:
    """A row for every size, seed and model."""
    for size in options.molecules or SIZES:
        more = (10_000 / size) ** 0.5
        epochs, geometries = round(options.epochs * more), round(options.geometries * more)
        for seed in options.seeds:
            models = {"gnn": epochs, "gnn_u0": U0_PASSES * epochs}
            change = {
                "split": {"train": size, "seed": seed},
                "labels": {"geometries": geometries},
                "training": {"seed": seed},
                "models": {
                    "gnn": {"training": {"stages": stages(epochs, {})}},
                    "gnn_u0": {"training": {"stages": stages(U0_PASSES * epochs, None)}},
                },
            }
            targets = [f"results/predictions/{model}.csv" for model in models]
            run("curve", change, targets, options.cores)
            for model, passes in models.items():
                about = {"model": model, "molecules": size, "seed": seed, "epochs": passes}
                yield about | {"geometries": geometries} | errors("curve", model)


def ablations(options: argparse.Namespace) -> Iterator[dict]:
    """A row for every change. A change of what is trained on leaves the rest as it is."""
    plain = yaml.safe_load((ROOT / "config.yaml").read_text())
    base = {
        "architecture": "gnn",
        "target": "energy",
        "hyperparameters": hyperparameters_of(plain, "gnn"),
        "training": training_of(plain, "gnn"),
    }
    models = {"mlp": {"training": {"stages": [{"epochs": 1}]}}}  # the table of forces wants it, too
    for name, new in NAMED.items():
        kinds = {key: base[key] | new.get(key, {}) for key in ("hyperparameters", "training")}
        kinds["training"]["stages"] = stages(options.epochs, new.get("late", {}))
        models[name] = base | {key: new[key] for key in new if key != "late"} | kinds
    names = [f"results/predictions/{model}.csv" for model in NAMED]
    forces = ["results/tables/forces.csv"]
    size = (options.molecules or SIZES[-1:])[0]
    overlay = {"models": models, "split": {"train": size}, "resources": {"threads": 1}}
    run("ablations", overlay, names + forces, options.cores)
    table = pd.read_csv(OUT / "ablations/results/tables/forces.csv")
    table = table[table["reference"] != "aspirin"].set_index("model")["mae_mev_per_a"]
    for model, change in zip(NAMED, CHANGES, strict=True):
        found = {"force_mae_mev_per_a": table[model]}
        about = {"change": change, "molecules": size, "epochs": options.epochs}
        yield about | errors("ablations", model) | found


def figure_of_curve(table: pd.DataFrame) -> Figure:
    """Error against the number of training molecules; a dot a seed, lines through the means."""
    drawn, ((axis,),) = panels(width=5, height=4)
    for model, rows in table.groupby("model"):
        (line,) = axis.semilogx(rows.groupby("molecules")["mae_mev"].mean(), label=model)
        axis.plot(rows["molecules"], rows["mae_mev"], ".", color=line.get_color())
    logarithmic(axis)
    sizes = table["molecules"].unique()
    axis.set_xticks([], minor=True)
    axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axis.set_xlabel("training molecules")
    axis.set_ylabel("MAE on test molecules (meV)")
    axis.legend(frameon=False)
    return drawn


def figure_of_ablations(table: pd.DataFrame) -> Figure:
    """Both errors of every change as multiples of those of the model as it is."""
    columns = {"mae_mev": "energy", "force_mae_mev_per_a": "forces"}
    table = table.set_index("change")[list(columns)].sort_values("mae_mev", ascending=False)
    drawn, ((axis,),) = panels(width=6.5, height=0.27 * len(table) + 0.8)
    table = table / table.loc["as it is"]
    for (column, what), marker in zip(columns.items(), "os", strict=True):
        axis.semilogx(table[column], table.index, marker, label=what)
    ticks = [ratio for ratio in (0.8, 1, 1.2, 1.5, 2, 3, 5, 10) if ratio < table.max(axis=None)]
    axis.set_xticks([], minor=True)
    axis.set_xticks(ticks, [f"{ratio:g}" for ratio in ticks])
    axis.set_xlabel("MAE on test molecules, relative to that of the model as it is")
    axis.grid(axis="y", linewidth=0.3)
    axis.legend(frameon=False)
    return drawn


def main() -> None:
    """Make one table, a row at a time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=("curve", "ablations"))
    parser.add_argument("--molecules", type=int, nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--geometries", type=int, default=2)
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    keys = {"curve": ("model", "molecules", "seed"), "ablations": ("change", "molecules", "epochs")}
    for row in {"curve": curve, "ablations": ablations}[options.table](options):
        table = add(pd.DataFrame([row]), OUT / f"{options.table}.csv", keys[options.table])
    if options.table == "curve":
        drawn = figure_of_curve(table)
    else:
        same = (table["molecules"] == row["molecules"]) & (table["epochs"] == row["epochs"])
        drawn = figure_of_ablations(table[same])
    save(drawn, OUT / f"{options.table}.png")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
