"""The whole workflow at the smoke size: its results, what runs again when, and killed runs."""

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from ase import Atoms
from ase.build import molecule
from ase.io import read, write

from helpers import ROOT, command, copy_to, options, snakemake, snakemake_calls
from nnpipe import load_calculator
from nnpipe.analysis.accuracy import ACCURACY
from nnpipe.analysis.compare import differences
from nnpipe.analysis.profiles import PROFILES
from nnpipe.report.numbers import number
from nnpipe.runtime.digest import digest


def planned(printed: str) -> set[str]:
    """Return the rules that a dry run would run."""
    assert "Building DAG of jobs" in printed, printed
    assert "Error" not in printed, printed
    return set(re.findall(r"^(?:local)?rule (\w+):", printed, re.MULTILINE)) - {"all"}


def counted(printed: str) -> dict[str, str]:
    """Return the number of jobs of each rule in a run or a dry run."""
    return dict(re.findall(r"^(\w+) +(\d+)$", printed, re.MULTILINE))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Folder of a finished run of the smoke preset."""
    return run_everything(copy_to(tmp_path_factory.mktemp("smoke")))


def run_everything(folder: Path) -> Path:
    """Run the smoke preset for one molecule in place of four."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["molecules"] = {"aspirin": config["molecules"]["aspirin"]}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    snakemake(folder, "--cores", "8")
    return folder


@pytest.fixture
def done(finished, tmp_path) -> Path:
    """Copy of the finished run with its file times, for a test that changes files."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_tables(finished):
    tables = finished / "results/tables"
    accuracy = pd.read_csv(tables / "accuracy.csv")
    assert list(accuracy.columns) == ACCURACY
    assert set(accuracy["model"]) == {"gnn", "gnn_u0", "mlp", "schnet"}
    assert set(accuracy["split"]) == {"train", "validation", "test"}
    assert (accuracy["mse"] - accuracy["rmse"] ** 2).abs().max() < 1e-9
    assert accuracy.loc[accuracy["split"] == "test", "n_test"].eq(60).all()
    md = pd.read_csv(tables / "md.csv")
    interface = [
        "model", "molecule", "ensemble", "temperature_k", "timestep_fs", "length_ps", "stable_ps",
        "max_bond_deviation_a", "drift_mev_per_atom_per_ps", "ms_per_step",
    ]  # fmt: skip
    assert list(md.columns[:10]) == interface
    assert set(md["model"]) == {"gnn", "mlp"}
    frequencies = pd.read_csv(tables / "frequencies.csv")
    interface = ["model", "n_molecules", "n_modes", "mae_cm1", "imaginary_fraction"]
    assert list(frequencies.columns[:5]) == interface
    assert list(frequencies["model"]) == ["gnn", "mlp", "GFN2-xTB"]
    assert frequencies["mae_cm1"].iloc[-1] < 100
    forces = pd.read_csv(tables / "forces.csv")
    interface = ["model", "reference", "n_frames", "mae_mev_per_a", "rmse_mev_per_a", "cosine"]
    assert list(forces.columns) == interface
    assert list(forces["model"].unique()) == ["GFN2-xTB", "labels", "gnn", "mlp"]
    assert len(forces) == 4 * forces["reference"].nunique()
    profiles = pd.read_csv(tables / "profiles.csv")
    assert list(profiles.columns) == PROFILES
    assert set(profiles["model"]) == {"gnn", "mlp", "GFN2-xTB", "teacher"}
    cost = pd.read_csv(tables / "cost.csv")
    assert {"download", "convert_molecules", "find_neighbours", "train", "run_md"} <= set(
        cost["rule"]
    )
    assert (cost["seconds"] > 0).all()
    readable = (tables / "accuracy.md").read_text()
    assert "| AtomGNN | energy | 300 |" in readable
    assert "PaiNN" in readable


def test_trajectory(finished):
    frames = read(finished / "results/md/gnn_aspirin.xyz", ":", format="extxyz")
    assert frames[0].get_chemical_formula() == "C9H8O4"
    for frame in frames:
        assert frame.get_forces().shape == (21, 3)
        assert {"time_fs", "temperature_k"} <= set(frame.info)
    frame = frames[0].copy()
    frame.calc = load_calculator(finished / "results/models/gnn")
    assert frame.get_potential_energy() == pytest.approx(frames[0].get_potential_energy(), abs=1e-3)


def test_models_and_figures(finished):
    for model in ("gnn", "gnn_u0", "mlp", "schnet"):
        folder = finished / "results/models" / model
        info = json.loads((folder / "model.json").read_text())
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        assert len(lines) == sum(stage["epochs"] for stage in info["settings"]["stages"])
        assert info["data"]["source"]["files"][0]["path"] == "tests/data/qm9.tar.bz2"
    for path in (finished / "results/figures").iterdir():
        assert path.read_bytes()[:4] == b"\x89PNG"
    assert not list((finished / "results").rglob("*.part"))


@pytest.mark.long
def test_two_runs_agree_in_everything_but_time(finished, tmp_path):
    second = run_everything(copy_to(tmp_path / "second"))
    assert differences(finished / "results", second / "results") == []
    assert (second / "results/md/gnn_aspirin.xyz").is_file()


def test_the_page_shows_the_run(finished):
    text = (finished / "results/report.html").read_text()
    accuracy = pd.read_csv(finished / "results/tables/accuracy.csv").query("split == 'test'")
    for mae in accuracy["mae"]:
        assert f"{number(1000 * mae)}\u00a0meV" in text
    md = pd.read_csv(finished / "results/tables/md.csv")
    early = (md["ended"] != "complete").sum()
    assert (f"{early} of {len(md)} trajectories ended early" in text) == bool(early)
    assert 'href="md/gnn_aspirin.xyz"' in text
    assert "Published errors for comparison" in text
    assert len(text) < 15e6


def test_report(finished):
    """Front page with the errors of the run, categories, labels and captions."""
    snakemake(finished, "--report", "snakemake.html")
    text = (finished / "snakemake.html").read_text()
    assert "learning_curves.png" in text
    assert "accuracy.csv" in text
    for words in ("Errors on test molecules", "AtomGNN", "1 Energies", "4 Cost", "bond scan"):
        assert words in text


def test_touching_and_comments_rerun_nothing(done):
    for path in (done / "workflow/scripts/nnpipe").rglob("*.py"):
        path.write_text(path.read_text() + "\n# a remark\n")
    for folder in (done / "workflow", done / "results", done / "tests", done / "resources"):
        for path in folder.rglob("*"):
            path.touch()
    assert planned(snakemake(done, "-n")) == set()


MD = {"run_md", "md_figures", "md_table", "cost_table", "report_page"}
ACCURACY_OF_MODELS = {
    "predict", "accuracy_table", "parity_figure", "comparison_figures", "cost_table", "report_page",
}  # fmt: skip
ENERGY_MODELS = {
    "relax_and_frequencies", "frequency_table", "force_table", "profile_table",
} | MD  # fmt: skip
TRAINED = {"train", "uncertainty_table"} | ACCURACY_OF_MODELS | ENERGY_MODELS
LABELLED = {"label_chunk", "label_fragments", "merge_labels"} | TRAINED
SPLIT = LABELLED | {"split_molecules", "fit_correction", "relax_and_frequencies_gfn2"}
MINIMA = {
    "relax_and_frequencies", "relax_and_frequencies_gfn2", "frequency_table", "cost_table",
    "report_page",
}  # fmt: skip
FIGURES = {
    "parity_figure", "comparison_figures", "frequency_table", "md_figures", "uncertainty_table",
    "profile_table", "report_page",
}  # fmt: skip
STAGES = {"training": {"stages": [{"epochs": 3}]}}

# a change of the configuration or of a file of the library, and the rules that run again
RERUNS = [
    ({}, set()),
    ({"data": {"cutoff": 4.5}}, TRAINED | {"find_neighbours", "merge_labels"}),
    ({"models": {"gnn": STAGES}}, TRAINED),
    ({"models": {"gnn_u0": STAGES}}, {"train"} | ACCURACY_OF_MODELS),
    ({"labels": {"geometries": 2}}, LABELLED),
    ({"labels": {"correction_molecules": 5}}, TRAINED | {"fit_correction", "merge_labels"}),
    ({"labels": {"method": "gfn2"}}, LABELLED - {"label_fragments"} | {"fit_correction"}),
    ({"labels": {"fragments": ""}}, TRAINED | {"merge_labels"}),
    (
        {"labels": {"fragments": "resources/fragments.smi"}},
        TRAINED | {"label_fragments", "merge_labels"},
    ),
    ({"labels": {"chunks": 3}}, LABELLED - {"label_fragments"}),
    ({"labels": {"teacher": "fit"}}, LABELLED | {"fit_correction", "fit_teacher", "fit_delta"}),
    ({"evaluation": {"frequency_molecules": 3}}, MINIMA),
    ({"md": {"temperature_k": 400}}, MD),
    ({"md": {"replicas": 2}}, {"starting_structure"} | MD),
    ({"md": {"max_bond_deviation_a": 0.4}}, MD),
    ({"split": {"test": 50}}, SPLIT),
    ({"molecules": {"water": "O"}}, {"starting_structure"} | MD),
    ("models/atom_mlp.py", TRAINED),
    ("models/schnet.py", {"train"} | ACCURACY_OF_MODELS),
    ("simulation/md.py", MD),
    ("structures/neighbours.py", TRAINED | {"find_neighbours", "merge_labels"}),
    ("analysis/plots.py", FIGURES),
    ("analysis/style.py", FIGURES),
    ("models/names.py", FIGURES | {"accuracy_table"}),
    ("data/splits.py", SPLIT),
    ("structures/checks.py", {"starting_structure", "relax_and_frequencies_gfn2"} | ENERGY_MODELS),
    ("labelling/correction.py", TRAINED | {"fit_correction", "merge_labels"}),
    (
        "labelling/tight_binding.py",
        LABELLED | {"fit_correction", "relax_and_frequencies_gfn2"},
    ),
    ("labelling/delta.py", TRAINED | {"fit_correction", "merge_labels"}),
    ("labelling/delta_training.py", set()),
    ("labelling/refit.py", set()),
    ("labelling/kohn_sham.py", set()),
    ("labelling/distortions.py", LABELLED),
    ("labelling/fragments.py", TRAINED | {"label_fragments", "merge_labels"}),
    ("analysis/frequencies.py", MINIMA | {"md_figures"}),
    ("analysis/profiles.py", {"profile_table", "report_page"}),
    ("report/report.css", {"report_page"}),
    ("resources/dft_frames.xyz", SPLIT),
    ("resources/teacher/tight_binding.toml", LABELLED | {"fit_correction"}),
    ("resources/teacher/model.json", TRAINED | {"fit_correction", "merge_labels"}),
]


@pytest.fixture(scope="module")
def dry_runs(finished) -> list[str]:
    """Output of a dry run for each of RERUNS."""
    calls = []
    for change, _ in RERUNS:
        settings = change if isinstance(change, dict) else {}
        path = "" if isinstance(change, dict) else change
        if path.endswith((".py", ".css")):
            path = f"workflow/scripts/nnpipe/{path}"
        calls.append((options(finished, "-n", change=settings), path))
    return snakemake_calls(finished, calls)


@pytest.mark.parametrize("case", range(len(RERUNS)), ids=[str(change) for change, _ in RERUNS])
def test_a_change_reruns_what_depends_on_it(dry_runs, case):
    assert planned(dry_runs[case]) == RERUNS[case][1]


def test_the_file_of_a_model_retrains_that_model_alone(dry_runs):
    printed = dry_runs[[change for change, _ in RERUNS].index("models/atom_mlp.py")]
    trained = re.findall(
        r"^rule train:(?:\n    .*)*?\n    wildcards: model=(\w+)", printed, re.MULTILINE
    )
    assert trained == ["mlp"]


ONCE = [
    "download", "convert_molecules", "find_neighbours", "split_molecules", "fit_correction",
    "label_fragments", "merge_labels", "starting_structure", "train", "run_md",
]  # fmt: skip
REFUSED = [
    ({"molecules": {"bad": "C1CC"}}, ": molecules.bad: SMILES 'C1CC' does not parse"),
    ({"md": {"timestep_fs": 2.0}}, "molecules.aspirin: timestep_fs 2.0 is not in (0, 1.0] fs"),
    (
        {"training": {"stage": 3}},
        ": training: unknown key 'stage'; did you mean 'stages'?",
    ),
]
MODULE = """
configfile: "{root}/config.yaml"
configfile: "{root}/workflow/presets/pretrained.yaml"
configfile: "change.yaml"

module nnpipe:
    snakefile: "{root}/Snakefile"
    config: config
    prefix: "potentials"

use rule * from nnpipe as nnpipe_*
"""


def test_a_fresh_copy(tmp_path):
    """What one trajectory needs, ways to start the workflow, and refused configurations."""
    folder, everything = copy_to(tmp_path / "copy"), set(rules())
    other, module = tmp_path / "other", tmp_path / "module"
    other.mkdir()
    module.mkdir()
    (module / "Snakefile").write_text(MODULE.format(root=folder))
    (module / "change.yaml").write_text("{}")
    calls = [
        options(folder, "results/md/gnn_aspirin.xyz", "-n"),
        options(folder, "-n"),
        options(folder, "-n", "--snakefile", "workflow/Snakefile"),
        options(folder, "-n", "--directory", str(other)),
        ["nnpipe_all", "-n", "--snakefile", str(module / "Snakefile"), "--directory", str(module)],
        options(folder, "results/report.html", "-n", preset="workflow/presets/pretrained.yaml"),
        *(options(folder, change=change) for change, _ in REFUSED),
    ]
    one, here, catalog, elsewhere, imported, page, *refused = snakemake_calls(
        folder, [(call, "") for call in calls]
    )
    count = counted(one)
    del count["total"]
    assert count == dict.fromkeys(ONCE, "1") | {"label_chunk": "2"}

    assert planned(here) == everything - {"copy_pretrained", "fit_teacher", "fit_delta"}
    assert counted(elsewhere) == counted(here)
    assert planned(catalog) == planned(here) | {"default"}
    assert planned(page) == {
        "copy_pretrained", "starting_structure", "run_md", "md_figures", "md_table", "report_page",
    }  # fmt: skip
    assert planned(imported) == {
        f"nnpipe_{rule}" for rule in everything - {"fit_teacher", "fit_delta"} | {"all"}
    }

    for printed, (_, message) in zip(refused, REFUSED, strict=True):
        assert [line for line in printed.splitlines() if message in line], printed
        assert "Traceback" not in printed
    assert not (folder / "results").exists()


@pytest.mark.parametrize("module", [False, True], ids=["elsewhere", "module"])
def test_a_pretrained_model_runs_without_data_or_training(tmp_path, molecules, module):
    """In a directory elsewhere. Methanol is not among its training molecules."""
    copy, folder = copy_to(tmp_path / "copy"), tmp_path / "elsewhere"
    folder.mkdir()
    change = {"molecules": {"methanol": "CO"}, "md": {"length_ps": 0.01, "frame_fs": 1.0}}
    target, snakefile = "results/md/gnn_methanol.xyz", copy / "Snakefile"
    if module:
        target, snakefile = f"potentials/{target}", folder / "Snakefile"
        snakefile.write_text(MODULE.format(root=copy))
        (folder / "change.yaml").write_text(yaml.safe_dump(change))
    preset = copy / "workflow/presets/pretrained.yaml"
    where = ("--snakefile", str(snakefile), "--cores", "2")
    printed = snakemake(folder, target, *where, change=change, preset=preset)
    jobs = {rule.removeprefix("nnpipe_") for rule in counted(printed)}
    assert jobs == {"starting_structure", "copy_pretrained", "run_md", "total"}
    assert not (copy / "results").exists()
    start = read(folder / target, 0, format="extxyz")
    known = Atoms(*molecules.geometry(np.searchsorted(molecules.index, 8))[1:])
    assert start.get_chemical_formula() == known.get_chemical_formula()
    bonds = [sorted(atoms.get_all_distances()[atoms.numbers == 8][0]) for atoms in (start, known)]
    np.testing.assert_allclose(*bonds, atol=0.02)  # from the oxygen to every atom


def test_a_file_replaced_by_an_older_one_is_read_again(tmp_path):
    """Snakemake itself compares times alone. A file with the same content reruns nothing.

    A path may have any characters, also braces, which Snakemake takes as wildcards.
    """
    folder, trained = copy_to(tmp_path), tmp_path / "trained"
    odd = folder / "{x} b/{molecule}'ü@1.xyz"
    odd.parent.mkdir()
    write(odd, molecule("NH3"), format="xyz")
    shutil.copytree(folder / "resources/models/gnn", trained)
    write(folder / "start.xyz", Atoms("HF", [[0, 0, 0], [0, 0, 0.92]]))
    change = {
        "models": {"gnn": {"pretrained": "trained"}},
        "molecules": {
            "x": {"structure": "start.xyz", "models": ["gnn"]},
            "odd": {"structure": str(odd.relative_to(folder)), "models": ["gnn"]},
        },
    }
    preset, targets = (
        "workflow/presets/pretrained.yaml",
        ("results/md/start/x.xyz", "results/md/start/odd.xyz", "results/models/gnn/model.json"),
    )
    snakemake(folder, *targets, "--cores", "1", change=change, preset=preset)
    assert read(folder / "results/md/start/odd.xyz").get_chemical_formula() == "H3N"
    for path in (folder / "start.xyz", trained / "model.json"):
        path.touch()
    assert planned(snakemake(folder, *targets, "-n", change=change, preset=preset)) == set()
    write(folder / "start.xyz", molecule("H2O"))
    info = json.loads((trained / "model.json").read_text())
    (trained / "model.json").write_text(json.dumps(info | {"seed": 3}))
    for path in (folder / "start.xyz", trained / "model.json"):
        os.utime(path, (1e9, 1e9))
    again = planned(snakemake(folder, *targets, "-n", change=change, preset=preset))
    assert again == {"starting_structure", "copy_pretrained"}
    write(odd, molecule("CH4"), format="xyz")
    odd_alone = planned(snakemake(folder, targets[1], "-n", change=change, preset=preset))
    assert odd_alone == {"starting_structure"}


# jobs that record when they begin and end, on as many threads as a training or on one
COUNTING = """
configfile: "{root}/config.yaml"

include: "{root}/workflow/rules/common.smk"

rule wide:
    output: "wide{{number}}"
    threads: 8
    shell: "echo begin {{threads}} >> order; sleep 0.3; echo end >> order; touch {{output}}"

use rule wide as narrow with:
    output: "narrow{{number}}"
    threads: 1
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs a limit of cores")
def test_no_more_jobs_run_than_cores_exist(tmp_path):
    (tmp_path / "Snakefile").write_text(COUNTING.format(root=ROOT))
    core = {min(os.sched_getaffinity(0))}
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "8",
        "wide0",
        "wide1",
        "narrow0",
        "narrow1",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "order").read_text().splitlines() == ["begin 1", "end"] * 4


def wait_for(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def start(folder: Path, target: str, change: dict) -> subprocess.Popen:
    with open(folder / "log", "a") as log:
        return subprocess.Popen(
            command(folder, target, change=change), cwd=folder, stdout=log, stderr=log
        )


def scripts_in(folder: Path) -> list[int]:
    """Return the processes of scripts that were started from the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        if f"{folder}/.snakemake/scripts".encode() in text:
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to see processes")
def test_killed_in_training_and_started_again_it_ends_the_same(finished, tmp_path):
    """After SIGKILL to Snakemake its jobs end, no lock remains, and the weights are the same."""
    training = {"stages": [{"epochs": 20}], "checkpoint_seconds": 0.1}
    longer = {"models": {"mlp": {"use_labels": False, "training": training}}}
    target = "results/models/mlp/model.safetensors"
    weights = []
    for kill in (True, False):
        folder = tmp_path / str(kill)
        shutil.copytree(finished, folder)
        shutil.rmtree(folder / "results/models/mlp")
        if kill:
            process = start(folder, target, longer)
            wait_for((folder / "results/models/mlp/checkpoint.safetensors").exists)
            process.send_signal(signal.SIGKILL)
            process.wait()
            wait_for(lambda folder=folder: not scripts_in(folder), 5)
            assert not (folder / target).exists()
        snakemake(folder, target, change=longer)
        weights.append((folder / target).read_bytes())
        log = (folder / "results/logs/train/mlp.log").read_text()
        assert ("going on from epoch" in log) == kill
    assert weights[0] == weights[1]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to see processes")
def test_two_runs_in_one_folder_do_not_meet(finished, tmp_path):
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    longer = {"models": {"mlp": {"training": {"stages": [{"epochs": 1000}]}}}}
    (folder / "results/logs/train/mlp.log").unlink()
    first = start(folder, "results/models/mlp/model.safetensors", longer)
    log = folder / "results/logs/train/mlp.log"
    wait_for(lambda: log.exists() and "parameters" in log.read_text())
    printed = snakemake(folder, change=longer, check=False)
    assert "another snakemake is at work in this folder" in printed
    first.kill()
    first.wait()
    wait_for(lambda: not scripts_in(folder), 5)


def test_a_failing_job_says_why_in_one_line_and_in_its_log(done):
    change = {"split": {"train": 1000}}
    printed = snakemake(done, "results/data/split.csv", change=change, check=False)
    line = (
        "error: config.yaml: split: 1000 + 40 + 60 molecules are more than the 400 of the data set"
    )
    assert line in printed
    assert line in (done / "results/logs/split_molecules/qm9.log").read_text()
    assert "Traceback" not in printed


def test_a_copy_runs_its_own_library_whichever_is_installed(done):
    path = done / "workflow/scripts/nnpipe/data/splits.py"
    path.write_text(path.read_text() + '\nraise InputError("the library of this copy")\n')
    printed = snakemake(done, "results/data/split.csv", check=False)
    assert "the library of this copy" in printed


def test_digest_follows_imports_and_ignores_remarks(tmp_path):
    (tmp_path / "nnpipe").mkdir()
    files = {
        "script.py": "from nnpipe.a import f\n",
        "nnpipe/__init__.py": "",
        "nnpipe/a.py": "from . import b\nfrom .c import g\nf = 1\n",
        "nnpipe/b.py": "x = 1\n",
        "nnpipe/c.py": "g = 1\n",
        "nnpipe/d.py": "y = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    first = digest(tmp_path / "script.py")
    for name in ("nnpipe/b.py", "nnpipe/c.py", "nnpipe/a.py", "script.py"):
        (tmp_path / name).write_text(files[name] + "z = 2\n")
        assert digest(tmp_path / "script.py") != first, name
        (tmp_path / name).write_text("# remark\n" + files[name])
        assert digest(tmp_path / "script.py") == first, name
        (tmp_path / name).write_text('"""Docstring."""\n' + files[name])
        assert digest(tmp_path / "script.py") == first, name
    digests = []
    for default, description, bound in (
        (1, "text", 0),
        (1, "other", 0),
        (2, "text", 0),
        (1, "text", 1),
    ):
        line = f"x = setting({default}, {description!r}, 'K', ge={bound})\n"
        (tmp_path / "nnpipe/b.py").write_text(line)
        digests.append(digest(tmp_path / "script.py"))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    (tmp_path / "nnpipe/b.py").write_text(files["nnpipe/b.py"])
    (tmp_path / "nnpipe/d.py").write_text("y = 2\n")
    assert digest(tmp_path / "script.py") == first
    assert digest(tmp_path / "script.py", "nnpipe/d.py") != first


# the package of an environment file that provides an import
PACKAGES = {
    "matplotlib": "matplotlib-base", "tblite": "tblite-python", "torch": "pytorch",
    "tomli_w": "tomli-w", "torch_geometric": "pytorch_geometric", "yaml": "pyyaml",
}  # fmt: skip


def imports(path: Path, seen: set[Path]) -> set[str]:
    """Return the third-party modules that a file of the workflow imports, also through nnpipe."""
    if path in seen:
        return set()
    seen.add(path)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(path.relative_to(ROOT / "workflow/scripts").parts[: -node.level])
            module = ".".join(filter(None, [base, node.module]))
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] == "nnpipe":
                stem = ROOT / "workflow/scripts" / Path(*name.split("."))
                if stem.with_suffix(".py").is_file():
                    found |= imports(stem.with_suffix(".py"), seen)
                if name == "nnpipe.models.registry":  # which imports models when they are built
                    for file in stem.parent.glob("*.py"):
                        found |= imports(file, seen)
            elif name.split(".")[0] not in sys.stdlib_module_names:
                found.add(name.split(".")[0])
    return found


def rules() -> dict[str, str]:
    """Return the text of every rule by its name."""
    texts = [path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk"))]
    parts = [part for text in texts for part in re.split(r"^ *rule ", text, flags=re.MULTILINE)[1:]]
    return {part.split(":")[0]: part for part in parts}


@pytest.mark.parametrize("name", rules())
def test_every_rule_is_complete(name):
    rule = rules()[name]
    where = ["localrule: True"] if "localrule:" in rule else ["resources:", "mem_mb=", "runtime="]
    for part in ("input:", "output:", "log:", "benchmark:", "conda:", "script:", *where):
        assert part in rule, part
    assert re.match(r'\w+:\n +"""[A-Z][^"]+\."""', rule)
    script = ROOT / "workflow/rules" / re.search(r'script:\s+"(.+)"', rule)[1]
    assert script.stem == name
    assert len(script.read_text().splitlines()) <= 40
    environment = yaml.safe_load(
        (ROOT / "workflow/rules" / re.search(r'conda:\s+"(.+)"', rule)[1]).read_text()
    )
    packages = {re.split("[=<>]", package)[0] for package in environment["dependencies"]}
    needed = {PACKAGES.get(name, name) for name in imports(script, set())}
    assert needed <= packages
