"""Held-out errors of refitted tight binding against the number of frames, parameters and the prior.

    python benchmarks/teacher.py               # about half an hour on two cores

The rules `convert_molecules` and `split_molecules` must have run. Derivatives are computed once, at
the parameters of resources/teacher/tight_binding.toml; each case then starts there and iterates
with them, without the frames that it holds out. Frames of a molecule are held out together, and
molecules that QM9 lacks are left out. `frames` takes the first molecules of
resources/dft_frames.xyz and measures on resources/forces.xyz; `parameters` and `prior` measure on
the frames of four folds of molecules. Errors are of anchored forces, the labels without correction
and network (teacher_network.py), and of plain ones. Values are recorded in
benchmarks/results/teacher.csv and drawn in docs/figures/teacher-light.svg and -dark.svg.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # of each process: tblite is slower on several

from collections.abc import Collection
from pathlib import Path

import numpy as np
from ase.io import read
from matplotlib.figure import Figure
from records import numbers, record

from nnpipe.analysis.plots import panels
from nnpipe.analysis.style import save_light_and_dark, styled
from nnpipe.data.molecules import read_molecules
from nnpipe.labelling.refit import (
    PRIOR,
    Parameter,
    Refit,
    anchored_rows,
    evaluator,
    free_parameters,
    geometries,
    s22x5,
    start,
    steps_of,
)
from nnpipe.labelling.tight_binding import read_parameters
from nnpipe.runtime.job import available_cores

ROOT = Path(__file__).parents[1]
FRAMES, TESTS = ROOT / "resources/dft_frames.xyz", ROOT / "resources/forces.xyz"
NUMBERS, FOLDS, TRIALS = (25, 50, 100, 200), 4, 6
PRIORS = (0.1, 1.0, 10.0, 100.0)
FIXED = 1e9  # prior of a parameter that keeps the value of GFN2-xTB
ANCHORED, PLAIN = "anchored forces, MAE", "plain forces, MAE"
Errors, Prior = dict[str, float], float | np.ndarray


def errors(refit: Refit, values: list[np.ndarray | None], places: Collection[int]) -> Errors:
    """Return the MAE (meV/Å) of anchored and of plain forces of geometries."""
    anchored, plain = [], []
    for n in places:
        geometry, here = refit.geometries[n], values[n]
        there = None if geometry.minimum is None else values[geometry.minimum]
        if here is None or there is None or geometry.forces is None:
            continue
        known = geometry.forces.ravel()
        plain.append(here[0, 1:] - known)
        anchored.append(anchored_rows(here[:1], there[:1], refit.matrices[n])[0, 1:] - known)
    both = {ANCHORED: anchored, PLAIN: plain}
    return {name: 1000 * float(np.abs(np.concatenate(v)).mean()) for name, v in both.items()}


def kinds(free: tuple[Parameter, ...]) -> dict[str, np.ndarray]:
    """Return which parameters (P,) are free, for growing sets of them."""
    paths = [parameter.path for parameter in free]
    pairs = np.array(["kpair" in path for path in paths])
    of_elements = np.array([path[0] == "element" for path in paths])
    core = of_elements & np.array(
        [path[2:3] != ("mprad",) and path[2:3] != ("mpvcn",) for path in paths]
    )
    return {
        "of all elements together": ~of_elements & ~pairs,
        "of the Hamiltonian, repulsion and charges of elements": core,
        "of elements": of_elements,
        "of elements and of all together": ~pairs,
        "all": np.ones(len(free), bool),
    }


@styled
def figure() -> Figure:
    """Draw the recorded errors against frames, parameters and prior."""
    drawn, (axes,) = panels(3, width=3.3, height=3.0)
    about = {
        "frames": ("molecules with frames in the fit", "linear"),
        "parameters": ("free parameters", "linear"),
        "prior": ("weight of the prior at GFN2-xTB", "log"),
    }
    for axis, (table, (what, scale)) in zip(axes, about.items(), strict=True):
        recorded = numbers("teacher", table).items()
        found = {float(case.split()[0]): row for (_, case), row in recorded}
        for quantity, marker in ((ANCHORED, "o-"), (PLAIN, "s--")):
            values = [found[at][quantity] for at in sorted(found)]
            axis.plot(sorted(found), values, marker, label=quantity.removesuffix(", MAE"))
        axis.set_xscale(scale)
        axis.set_xlabel(what)
        axis.set_ylim(bottom=0)
    axes[0].set_ylabel("MAE of held-out forces (meV/Å)")
    axes[0].legend()
    return drawn


def main() -> None:
    """Measure and record."""
    table, _ = read_molecules(ROOT / "results/data/qm9.safetensors")
    frames, tests = ([f for f in read(p, ":") if "qm9" in f.info] for p in (FRAMES, TESTS))
    fitted = geometries(frames, table)
    parts, dimers = s22x5(len(fitted))
    unseen = geometries(tests, table, shift=len(fitted) + len(parts))
    everything = [*fitted, *parts, *unseen]
    held_out = set(range(len(everything) - len(unseen), len(everything)))
    free = tuple(free_parameters(start()))
    best = steps_of(read_parameters(ROOT / "resources/teacher/tight_binding.toml"), free)
    minima = list(dict.fromkeys(g.minimum for g in fitted))
    rest = {n for n in held_out if everything[n].minimum != n}
    off = [n for n in range(len(fitted)) if fitted[n].minimum != n]
    owner = {n: minima.index(fitted[n].minimum) for n in range(len(fitted))}
    about = {"data": f"{len(frames)} frames of {len(minima)} molecules", "split": 0, "seed": 0}

    with evaluator(everything, free, available_cores()) as evaluate:
        rows = evaluate(best, derivatives=True)

        def measure(prior: Prior, left_out: set[int], places: Collection[int]) -> Errors:
            refit = Refit(everything, free, dimers, prior, held_out | left_out)
            refit.x, refit.rows = np.where(refit.prior < FIXED, best, 0.0), rows
            refit.descend(evaluate(refit.x), evaluate, TRIALS)
            return errors(refit, evaluate(refit.x), places)

        def folds(prior: Prior) -> Errors:
            found = []
            for fold in range(FOLDS):
                left_out = {n for n, place in owner.items() if place % FOLDS == fold}
                found.append(measure(prior, left_out, [n for n in off if n in left_out]))
            return {name: float(np.mean([one[name] for one in found])) for name in found[0]}

        def save(kind: str, case: str, found: Errors) -> None:
            values = [
                {"quantity": name, "value": f"{mae:.1f}", "unit": "meV/Å"}
                for name, mae in found.items()
            ]
            record("teacher", kind, values, model="GFN2-xTB, refitted", case=case, **about)
            print(kind, case, found, flush=True)

        zero = Refit(everything, free, dimers)
        save("frames", "0", errors(zero, evaluate(zero.x), rest))
        for number in [n for n in NUMBERS if n < len(minima)] + [len(minima)]:
            left_out = {n for n, place in owner.items() if place >= number}
            save("frames", str(number), measure(PRIOR, left_out, rest))
        for name, chosen in kinds(free).items():
            found = folds(np.where(chosen, PRIOR, FIXED))
            save("parameters", f"{chosen.sum()} {name}", found)
        for prior in PRIORS:
            save("prior", str(prior), folds(prior))
    save_light_and_dark(figure, ROOT / "docs/figures/teacher.svg")


if __name__ == "__main__":
    main()
