"""The page of a run: its numbers, its words, and that it is one readable file."""

import json
import re
import shutil
from dataclasses import asdict, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import read, write

from helpers import ROOT
from nnpipe.analysis import style
from nnpipe.analysis.accuracy import accuracy
from nnpipe.models.checkpoint import read_info
from nnpipe.report.gather import (
    ATOMS_OF_ALL_FRAMES,
    Files,
    Results,
    frames_on_page,
    gather,
    thinned_frames,
)
from nnpipe.report.headlines import headlines
from nnpipe.report.numbers import duration, number
from nnpipe.report.page import page
from nnpipe.report.plots import FIRST, LABELS, colour, colour_places, force_errors
from nnpipe.report.provenance import commit_of, provenance
from nnpipe.report.verdicts import best_model, comparison, verdicts
from nnpipe.report.words import data_sentences, scan_sentence
from nnpipe.simulation.md import write_trajectory
from nnpipe.simulation.settings import Settings

SHIPPED = ROOT / "resources/models"
QM9 = {"data": {"sources": ["figshare"]}, "models": {"gnn": {}, "mlp": {}}}
ERRORS_EV = {"gnn": 0.02, "mlp": 0.1}


def trajectory(folder: Path, name: str, atoms, replicas: int = 1, **settings) -> tuple[str, str]:
    """Paths of a short run and its summary, as the rule run_md writes them."""
    path = folder / "md" / f"{name}.xyz"
    path.parent.mkdir(parents=True, exist_ok=True)
    model, label = name.split("_", 1)
    chosen = Settings(**({"length_ps": 0.02, "frame_fs": 1.0} | settings))
    summaries = write_trajectory([atoms] * replicas, EMT(), chosen, path, model, [label] * replicas)
    summary = path.with_suffix(".json")
    summary.write_text(json.dumps([asdict(one) for one in summaries]))
    return str(path), str(summary)


@pytest.fixture(scope="module")
def made(tmp_path_factory, tables, molecules) -> Files:
    """Files of a run: predictions of two models of known error, and a run of methane with each."""
    folder, rng = tmp_path_factory.mktemp("made"), np.random.default_rng(0)
    infos, predictions, rows, runs = [], [], [], []
    for model, error in ERRORS_EV.items():
        shutil.copytree(SHIPPED / "gnn", folder / "models" / model)
        infos.append(folder / "models" / model / "model.json")
        label = molecules.targets["energy"]
        table = pd.DataFrame(
            {
                "index": molecules.index,
                "split": ["train"] * 300 + ["test"] * (len(molecules) - 300),
                "atoms": np.diff(molecules.ptr),
                "target": label,
                "reference": label - rng.normal(size=len(label)),
                "prediction": label + error * rng.normal(size=len(label)),
            }
        )
        predictions.append(folder / "predictions" / f"{model}.csv")
        predictions[-1].parent.mkdir(exist_ok=True)
        table.to_csv(predictions[-1], index=False)
        rows.append(accuracy(model, read_info(infos[-1].parent), table))
        runs.append(trajectory(folder, f"{model}_methane", molecule("CH4")))
    paths = {"accuracy": pd.concat(rows)}
    small = pd.DataFrame(
        [
            ("GFN2-xTB", 198.2, 0.95),
            ("labels", 61.7, 0.99),
            ("gnn", 110.4, 0.98),
            ("mlp", 235.1, 0.9),
        ],
        columns=["model", "mae_mev_per_a", "cosine"],
    ).assign(reference="QM9, 500 K", n_frames=90, rmse_mev_per_a=300.0)
    large = small.assign(
        reference="10 to 20 heavy atoms, 500 K", mae_mev_per_a=[151.0, 58, 162, 373]
    )
    paths["forces"] = pd.concat([small, large])
    paths["profiles"] = pd.DataFrame(
        [("gnn", "torsion", "a", 0.7), ("gnn", "torsion", "b", 0.9), ("gnn", "stretch", "a", 3.1),
         ("mlp", "torsion", "a", 1.1), ("mlp", "torsion", "b", 1.6), ("mlp", "stretch", "a", 5.2)],
        columns=["model", "profile", "molecule", "mae_kcal_mol"],
    )  # fmt: skip
    for name, table in paths.items():
        (folder / f"{name}.csv").write_text(table.to_csv(index=False))
    return Files(
        infos=[str(path) for path in infos],
        metrics=[str(path.parent / "metrics.jsonl") for path in infos],
        predictions=[str(path) for path in predictions],
        molecules=[str(tables[0])],
        trajectories=[run[0] for run in runs],
        summaries=[run[1] for run in runs],
        **{name: [str(folder / f"{name}.csv")] for name in paths},
    )


@pytest.fixture(scope="module")
def results(made) -> Results:
    return gather(made, QM9, {"methane": "C"}, {"methane": 0.5})


def folder_of(files: Files) -> Path:
    return Path(files.infos[0]).parents[2]


def html_of(results: Results) -> str:
    return page(results, provenance(results.files), folder_of(results.files))


@pytest.fixture(scope="module")
def html(results) -> str:
    return html_of(results)


def text_of(html: str) -> str:
    """What a reader sees: the page without scripts, styles and tags."""
    html = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


class Tags(HTMLParser):
    """All start tags of a page with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_numbers_are_the_numbers_of_the_tables(html, made):
    table = pd.read_csv(made.accuracy[0])
    text = text_of(html)
    for model, label in (("gnn", "AtomGNN"), ("mlp", "AtomMLP")):
        row = table[(table["model"] == model) & (table["split"] == "test")].iloc[0]
        assert f"{label} potential energy 110,000 {row['n_test']}" in text
        assert f"{number(1000 * row['mae'])} meV {number(1000 * row['rmse'])} meV" in text
    assert "110 (0.98)" in text
    assert "10 to 20 heavy atoms, 500 K" in text
    assert "162 (0.98)" in text
    assert "model torsion stretch AtomGNN 0.8 3.1 AtomMLP 1.35 5.2" in text
    assert f"{number(1000 * table['mae'].iloc[1])} meV error of the energy" in text


def test_the_worst_molecules_are_the_worst(html, results):
    for model in results.models:
        error = model.test.set_index("index")["error"].abs()
        worst = error.sort_values(ascending=False).index[:10]
        section = html.split(f"The ten worst molecules of {model.label}")[1].split("</ul>")[0]
        assert [int(n) for n in re.findall(r'data-molecule="(\d+)"', section)] == list(worst)
        assert section.count("<svg") == 10


def test_a_click_can_open_every_point(html):
    held = re.search(r'id="geometries">(.*?)</script>', html, re.DOTALL)[1]
    geometries = json.loads(held)
    points = set(re.findall(r'data-molecule="(\d+)"', html))
    for plot in re.findall(r'id="plot-\d+">(.*?)</script>', html, re.DOTALL):
        plot = json.loads(plot)
        if plot["opens"] == "molecule":
            points |= {str(index) for trace in plot["data"] for index in trace["customdata"]}
    assert len(points) >= 100
    assert points <= set(geometries)


def test_the_page_is_one_file_without_the_network(html):
    for tag, attributes in Tags(html).found:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base")
        assert not attributes.get("src")
        if tag == "a" and attributes.get("href", "").startswith("http"):
            assert re.match("https://(doi|arxiv|schnetpack)", attributes["href"])
    style = re.search(r"<style>.*?</style>", html, re.DOTALL)[0]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in html
    assert len(html) < 4e6


def test_headings_labels_and_targets_are_in_order(html):
    tags = Tags(html).found
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in tags:
        for name in ("aria-labelledby", "for"):
            assert attributes.get(name) is None or attributes[name] in ids
        if tag == "a" and attributes["href"].startswith("#"):
            assert attributes["href"][1:] in ids
        if attributes.get("data-plot"):
            assert attributes["role"] == "img"
            assert attributes["aria-label"]
    assert html.count("<table>") == html.count("<caption>")


def test_the_better_model_is_the_one_with_smaller_errors(results):
    first = comparison(results)[0]
    assert first.startswith("AtomGNN is better than AtomMLP: its errors are smaller")
    assert "forces 2.1 times" in first
    table = results.tables["forces"].copy()
    table.loc[table["model"] == "gnn", "mae_mev_per_a"] = 470.2
    mixed = comparison(replace(results, tables={**results.tables, "forces": table}))[0]
    assert "AtomMLP is better than AtomGNN in some respects (errors of forces 2 times" in mixed


def test_a_measured_error_of_the_forces_counts_more_than_the_expected_one(results):
    known = {"forces_uncertainty_mev_per_a": 110.0}
    (one, *_) = results.trajectories
    summaries = [one.summaries[0] | known]
    tables = dict(results.tables)
    measured = (
        tables["forces"]
        .iloc[[0]]
        .assign(model=one.model, reference=one.molecule, mae_mev_per_a=250.0)
    )
    tables["forces"] = pd.concat([tables["forces"], measured])
    runs = [replace(one, summaries=summaries)]
    (verdict,) = verdicts(replace(results, trajectories=runs, tables=tables))
    assert verdict.checks[3].value == "250 meV/Å measured, 110 expected"
    assert verdict.level == "care"


def test_the_largest_difference_of_a_scan_is_said(results):
    def frame(scan: str, model: float, gfn2: float) -> Atoms:
        return Atoms("H", info={"scan": scan, "model_energy_ev": model, "gfn2_energy_ev": gfn2})

    frames = [frame("stretch", 0.5, 0.38), frame("stretch", 9.0, 4.0), frame("torsion", 0.0, 0.03)]
    sentence = scan_sentence(replace(results.trajectories[0], scan=frames))
    assert "0.12 eV along the stretch and 0.03 eV along the torsion" in sentence
    assert scan_sentence(replace(results.trajectories[0], scan=())) == ""


CHANGES = [
    ({}, "care", "no uncertainty"),
    ({"forces_uncertainty_mev_per_a": 110.0, "outside_training_fraction": 0.02}, "good", ""),
    ({"forces_uncertainty_mev_per_a": 250.0}, "care", "expected error of a force component is 250"),
    ({"outside_training_fraction": 0.06}, "care", "6 % of the frames are unlike"),
    ({"outside_training_fraction": 0.6}, "bad", "60 % of the frames are unlike"),
    ({"ended": "bond C0-H1 deviates by 0.51 Å"}, "bad", "ended early"),
    ({"hydrogen_lost": True}, "bad", "hydrogen"),
    ({"mean_temperature_k": 390.0}, "care", "390 K in place of 300 K"),
    (
        {"ensemble": "nve", "drift_mev_per_atom_per_ps": -2.0, "drift_ci95_mev_per_atom_per_ps": 1},
        "care",
        "drifts by 2 meV",
    ),
]


@pytest.mark.parametrize(("change", "level", "reason"), CHANGES)
def test_verdicts_follow_their_rules(results, change, level, reason):
    known = {} if not change else {"forces_uncertainty_mev_per_a": 110.0}
    known |= {"outside_training_fraction": 0.0} if change else {}
    first = results.trajectories[0]
    summary = {**first.summaries[0], "mean_temperature_k": 300.0, **known, **change}
    one = replace(results, trajectories=[replace(first, summaries=[summary])])
    verdict = verdicts(one)[0]
    assert verdict.level == level
    assert reason in " ".join(verdict.reasons)


def test_a_run_that_ended_early_is_said_loudly(results):
    first, second = results.trajectories
    summary = {**first.summaries[0], "stable_ps": 0.01, "ended": "bond C0-H1 deviates by 0.51 Å"}
    text = text_of(
        html_of(replace(results, trajectories=[replace(first, summaries=[summary]), second]))
    )
    assert (
        "1 of 2 trajectories ended early. methane with AtomGNN: the run ended early, after" in text
    )
    assert text.index("bond C0-H1 deviates") < text.index("Models and training data")


def test_hostile_names_stay_text(results):
    evil = '</script><img src=x onerror="alert(1)">'
    first = results.trajectories[0]
    renamed = replace(
        first, structure=evil, summaries=[{**first.summaries[0], "molecule": evil, "ended": evil}]
    )
    html = html_of(replace(results, trajectories=[renamed], config={**QM9, evil: evil}))
    assert "img" not in {tag for tag, _ in Tags(html).found}
    assert not re.search("<img", html)
    assert evil in re.sub(r"&#34;", '"', re.sub(r"&lt;", "<", re.sub(r"&gt;", ">", html)))


def test_own_data_is_not_called_qm9(made):
    config = {"data": {"sources": ["folder/mine.xyz"]}, "models": {"gnn": {}, "mlp": {}}}
    results = gather(replace(made, published=()), config, own_data=True)
    results = replace(results, config={})
    text = text_of(html_of(results))
    assert "mine.xyz" in text
    assert "QM9" not in text.replace("QM9, 500 K", "")


def test_a_shipped_model_alone_has_three_numbers(tmp_path, made):
    few = Files(
        infos=made.infos[:1],
        metrics=made.metrics[:1],
        trajectories=made.trajectories[:1],
        summaries=made.summaries[:1],
        md=[str(tmp_path / "md.csv")],
    )
    pd.DataFrame(json.loads(Path(made.summaries[0]).read_text())).to_csv(few.md[0], index=False)
    results = gather(few, {"models": {"gnn": {"pretrained": "resources/models/gnn"}}})
    found = headlines(results)
    assert [one.name for one in found] == [
        "error of the energy", "for a step", "trajectories complete",
    ]  # fmt: skip
    text = text_of(html_of(results))
    assert "It was trained before this run, on 110,000 molecules of QM9" in text
    assert "Cost" not in text
    assert "Which model is better" not in text
    assert "Take the trajectory of methane with AtomGNN with care." in text


def test_replicas_each_have_a_player_and_a_verdict(tmp_path, made):
    path, summary = trajectory(tmp_path, "gnn_methane", molecule("CH4"), replicas=3)
    few = replace(made, trajectories=[path], summaries=[summary])
    results = gather(few, QM9)
    assert [len(frames) for frames in results.trajectories[0].frames] == [21, 21, 21]
    html = html_of(results)
    assert [verdict.replica for verdict in verdicts(results)] == [0, 1, 2]
    assert "Replica 2" in text_of(html)
    assert len(re.findall(r'id="player-\d+"', html)) == 3


def test_a_periodic_system_has_its_cell(tmp_path, made):
    path, summary = trajectory(tmp_path, "gnn_copper", bulk("Cu", cubic=True) * (2, 2, 2))
    results = gather(replace(made, trajectories=[path], summaries=[summary]), QM9)
    html = html_of(results)
    assert "periodic cell 7.22 × 7.22 × 7.22 Å" in text_of(html)
    held = json.loads(re.search(r'id="player-\d+">(.*?)</script>', html, re.DOTALL)[1])
    assert np.allclose(held["cell"], 7.22 * np.eye(3))


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_long_trajectory_is_thinned_with_its_ends(tmp_path, replicas):
    frames = []
    for n in range(100):
        for replica in range(replicas):
            frames.append(molecule("H2O"))
            frames[-1].info = {"time_fs": float(n), "replica": replica}
    path = tmp_path / "long.xyz"
    write(path, frames)
    found, number_of_frames = thinned_frames(path, 12, replicas)
    assert number_of_frames == 100 * replicas
    for of_replica in found:
        times = [frame.info["time_fs"] for frame in of_replica]
        assert (times[0], times[-1]) == (0, 99)
        assert 11 <= len(times) <= 13
        assert len(set(np.diff(times[:-1]))) == 1
    assert len(read(path, ":")) == number_of_frames


@pytest.mark.parametrize("sizes", [[21] * 5, [30] * 24, [5000, 20]])
def test_frames_on_the_page_have_a_bound(sizes):
    frames = [frames_on_page(size, sizes) for size in sizes]
    assert sum(n * size for n, size in zip(frames, sizes, strict=True)) <= ATOMS_OF_ALL_FRAMES
    assert min(frames) >= 2


def test_numbers_as_people_read_them():
    found = [number(value) for value in (0.123456, 21.46, 1234.5, 110_000, -3.0, float("nan"))]
    assert found == ["0.123", "21.5", "1,234", "110,000", "-3", "–"]
    assert [duration(seconds) for seconds in (0.164, 42, 568, 9000)] == [
        "0.16 s", "42 s", "9.5 min", "2.5 h",
    ]  # fmt: skip


def test_the_commit_is_read_in_a_repository_alone(tmp_path):
    assert commit_of(tmp_path) == ("", False)
    (tmp_path / ".git").mkdir()
    assert commit_of(tmp_path) == ("", False)


def test_colours_exist_and_are_the_ones_of_the_figures():
    """The first colours of the page have the names of the figures' colours of the same models."""
    folder = Path(style.__file__).parents[1]
    defined = set(re.findall(r"(--nn-\w+):", (folder / "viewer/player.css").read_text()))
    for name in ("report/plots.py", "report/report.css"):
        assert set(re.findall(r"--nn-\w+", (folder / name).read_text())) <= defined
    places = colour_places(["mine", *FIRST])
    assert places["mine"] == len(FIRST)
    for model in FIRST:
        name = colour(places[model]).removeprefix("--nn-").upper()
        assert getattr(style, name) == style.FIXED[model][0]
    assert getattr(style, LABELS.removeprefix("--nn-").upper()) == style.FIXED["labels"][0]


def test_labels_are_a_method_beside_the_models(results, html):
    """They have the smallest force errors, a colour and a name, but are not compared as a model."""
    assert best_model(results) == "gnn"
    assert "Labels 61.7 (0.99) 58 (0.99)" in text_of(html)
    for sentence in [*comparison(results), *(one.meaning for one in headlines(results))]:
        assert "abels" not in sentence
    bars = force_errors(results.tables["forces"], colour_places(["gnn", "mlp"])).data
    colours = {bar["name"]: bar["marker"]["color"] for bar in bars}
    assert list(colours) == ["GFN2-xTB", "Labels", "AtomGNN", "AtomMLP"]
    assert len(set(colours.values())) == 4


METHODS = [
    (
        "teacher",
        True,
        100,
        "refitted to DFT, and a neural network for the rest, corrected to the minima of QM9"
        " and to the frequencies of 100",
    ),
    ("teacher", False, 0, "refitted to DFT, corrected to the minima of QM9."),
    ("gfn2", False, 0, "GFN2-xTB, a fast quantum method, corrected to the minima of QM9."),
    ("dft", False, 100, "are computed by B3LYP/6-31G(2df,p)."),
]


@pytest.mark.parametrize(("method", "delta", "fitted", "words"), METHODS)
def test_the_page_says_what_made_the_labels(results, method, delta, fitted, words):
    """Which a run that trains a model uses."""
    labels = {"method": method, "correction_molecules": fitted}
    config = {"labels": labels, "models": {"gnn": {}, "mlp": {}}}
    trained = [replace(model, pretrained=False) for model in results.models]
    results = replace(results, models=trained, config=config, delta=delta)
    assert words in data_sentences(results)[1]


def test_equal_results_give_equal_pages(results):
    source = provenance(results.files)
    pages = [page(results, source, folder_of(results.files)) for _ in range(2)]
    assert pages[0] == pages[1]
