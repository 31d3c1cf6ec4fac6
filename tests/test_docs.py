"""README and documentation: values, graph, columns, links and commands agree with the code."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from ase.build import bulk
from ase.calculators.fd import calculate_numerical_forces
from snakemake.utils import update_config

from conftest import ELEMENTS
from helpers import ROOT, SMOKE, copy_to, snakemake
from nnpipe.analysis.accuracy import ACCURACY
from nnpipe.analysis.cost import cost
from nnpipe.analysis.forces import FORCES
from nnpipe.analysis.frequencies import summary
from nnpipe.analysis.md_figures import SPECTRUM
from nnpipe.analysis.profiles import PROFILES
from nnpipe.analysis.reliability import UNCERTAINTY
from nnpipe.config import check
from nnpipe.models import registry
from nnpipe.models.potential import Potential
from nnpipe.simulation.calculator import NeuralCalculator
from nnpipe.simulation.stability import Summary

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = [ROOT / "README.md", *(page for page in PAGES if page.parent.name == "results")]
UNITS = (
    "meV", "eV", "cm⁻¹", "ms", "s", "min", "h", "kB", "MB", "MiB", "GB", "TB", "Å", "°", "%",
    "minutes", "seconds", "molecules/s",
)  # fmt: skip
MEASURED = re.compile(rf"\d[\d,.]*\s*({'|'.join(UNITS)})(?![\w⁻])")


def module(path):
    specification = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    return loaded


records = module(ROOT / "benchmarks/records.py")


def written_by_hand(text):
    """What remains of a page without code, roles, comments and the rendered table."""
    text = re.sub(r"<!-- records: start -->.*<!-- records: end -->", "", text, flags=re.DOTALL)
    text = re.sub(r"^```\{themed\}.*?^(?::\w+:.*\n)+", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^```(?!$).*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(\{\w+\})?`[^`]+`", "", text)


def test_readme_table_equals_the_records():
    assert records.readme() == (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_docs_measured_values_come_from_the_records(page):
    found = MEASURED.search(written_by_hand(page.read_text()))
    assert not found, found


def test_docs_a_value_written_by_hand_is_found():
    hand = "MAE of 4.6 meV, {value}`a | b | c | d`, at 300 K with 0.5 fs"
    assert MEASURED.findall(written_by_hand(hand)) == ["meV"]
    rendered = f"{records.START}| 21.5 meV |\n{records.END}in 8 runs of `5 ms`\n```bash\n1 s\n```\n"
    assert not MEASURED.findall(written_by_hand(rendered))


def test_docs_values_and_tables_exist():
    paths, tables = [], []
    for page in PAGES:
        text = page.read_text()
        for role, path in re.findall(r"\{(value|ratio|change)\}`([^`]+)`", text):
            paths += [path] if role == "value" else path.split(" / ")
        tables += re.findall(r"```\{records\} (\w+) (\w+)", text)
    assert len(paths) > 20
    assert len(tables) > 20
    for path in paths:
        assert records.find(path)["value"]
    shown = {(topic, table) for topic, table in tables}
    shown |= {tuple(part.strip() for part in path.split("|"))[:2] for path in paths}
    topics = [path.stem for path in records.RESULTS.glob("*.csv")]
    kept = {(topic, row["table"]) for topic in topics for row in records.read(topic)}
    assert shown <= kept


@pytest.mark.parametrize("path", sorted(records.RESULTS.glob("*.csv")), ids=lambda path: path.stem)
def test_records_are_complete(path):
    rows = records.read(path.stem)
    assert tuple(rows[0]) == records.COLUMNS
    assert len({tuple(row[name] for name in records.KEY) for row in rows}) == len(rows)
    for row in rows:
        assert row["value"], row
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", row["date"]), row
        assert re.fullmatch(r"[0-9a-f]{7}\+?", row["commit"]), row


def test_records_replace_the_same_and_keep_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    common = {"model": "gnn", "unit": "ms", "machine": "a machine"}
    records.record("a", "speed", [{"quantity": "step", "value": 1.23456}], **common)
    records.record("a", "speed", [{"quantity": "wall", "value": 7}], **common)
    records.record("a", "speed", [{"quantity": "step", "value": 12345}], **common)
    first, second = records.read("a")
    assert (first["value"], second["value"]) == ("12345", "7")
    assert records.shown(first) == "12,345 ms"
    assert first["command"].startswith("python ")
    assert re.fullmatch(r"[0-9a-f]{7}\+?", first["commit"])
    with pytest.raises(ValueError, match="colour"):
        records.record("a", "speed", [{"quantity": "step", "value": 1, "colour": "red"}])
    with pytest.raises(KeyError, match="0 records"):
        records.find("a | speed | mlp | step")


def test_docs_rule_graph_is_the_workflow(tmp_path):
    printed = snakemake(copy_to(tmp_path), "--rulegraph", "mermaid-js")
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", printed))
    edges = {(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", printed)}
    drawn = re.findall(
        r"^    (\w+) --> (\w+)$", (DOCS / "reference/rules.md").read_text(), re.MULTILINE
    )
    assert set(drawn) == {edge for edge in edges if edge[1] not in ("all", "cost_table")}


def test_docs_list_every_rule():
    pytest.importorskip("sphinx")
    page = module(DOCS / "_ext/rules.py").page()
    rules = [
        name
        for path in (ROOT / "workflow/rules").glob("*.smk")
        for name in re.findall(r"^ *rule (\w+):", path.read_text(), re.MULTILINE)
    ]
    assert sorted(re.findall(r"^### (\w+)$", page, re.MULTILINE)) == sorted(rules)
    assert page.count("- writes `results/") == len(rules)


def columns(name):
    """Columns of a table in the reference of outputs."""
    text = (DOCS / "reference/outputs.md").read_text()
    section = re.search(rf"^## `{re.escape(name)}`\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.M)[1]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def test_docs_columns_are_those_of_the_tables(tmp_path):
    assert columns("tables/accuracy.csv") == ACCURACY
    assert columns("tables/forces.csv") == FORCES
    assert columns("tables/profiles.csv") == PROFILES
    assert columns("tables/md.csv") == [field.name for field in fields(Summary)]
    assert columns("tables/uncertainty.csv") == UNCERTAINTY
    assert columns("spectra/{model}_{molecule}.csv") == SPECTRUM
    modes = pd.DataFrame({name: [1.0] for name in columns("minima/{model}.csv")})
    assert columns("tables/frequencies.csv") == list(summary("gnn", modes))
    measured = tmp_path / "train" / "gnn.tsv"
    measured.parent.mkdir()
    names = ("s", "cpu_time", "max_rss", "io_in", "io_out")
    pd.DataFrame([dict.fromkeys(names, 1.0)]).to_csv(measured, sep="\t", index=False)
    assert columns("tables/cost.csv") == list(cost([measured]))
    line = (ROOT / "resources/models/gnn/metrics.jsonl").read_text().splitlines()[0]
    found = columns("models/{model}/metrics.jsonl")
    assert "validation_force_mae" in found  # of data with forces, which QM9 is not
    assert [name for name in found if name != "validation_force_mae"] == list(json.loads(line))


def test_docs_links_lead_to_files():
    for page in [ROOT / "README.md", *PAGES]:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_docs_figures_are_light_and_dark_and_small():
    shown = [
        (page.parent / name).resolve()
        for page in PAGES
        for name in re.findall(r"^```\{themed\} (\S+)", page.read_text(), re.MULTILINE)
    ]
    both = {path.with_stem(f"{path.stem}-{theme}") for path in shown for theme in ("light", "dark")}
    assert len(both) > 10
    assert all(path.stat().st_size < 300_000 for path in both)
    drawn = {path for path in (DOCS / "figures").glob("*.svg") if "badge" not in path.stem}
    assert drawn == both
    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"docs/figures/overview-\w+\.svg", readme)) == {
        f"docs/figures/overview-{theme}.svg" for theme in ("light", "dark")
    }


def test_docs_name_files_that_exist():
    for page in [ROOT / "README.md", *PAGES]:
        pattern = r"\b((?:workflow|profiles|resources|benchmarks|envs)/[\w./-]*\w)"
        for name in re.findall(pattern, page.read_text()):
            made = ("benchmarks/{", "my_model.py")  # by a run, and by the reader
            assert (ROOT / name).exists() or name.endswith(made), f"{page}: {name}"


def test_readme_python_runs():
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "workflow/scripts"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    energy = float(done.stdout.split()[0])
    assert np.isclose(energy, -4218.6, atol=1.0)  # eV, ethanol in QM9


def test_docs_python_imports_what_exists():
    lines = [
        line
        for page in PAGES
        for code in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.DOTALL)
        for line in re.findall(r"^(?:from|import) .+$", code, re.MULTILINE)
        if "records" not in line  # a script of benchmarks/
    ]
    assert len(lines) > 3
    # in a process of their own: what others have imported, torch_geometric for one, changes torch
    command = [sys.executable, "-c", "\n".join(lines)]
    library = os.environ | {"PYTHONPATH": str(ROOT / "workflow/scripts")}
    done = subprocess.run(command, env=library, capture_output=True, text=True)
    assert not done.returncode, done.stderr


@pytest.mark.skipif(
    not shutil.which("git") or not (ROOT / ".git").exists(), reason="needs a clone of git"
)
def test_the_folder_of_results_is_tracked_without_results():
    command = ["git", "ls-files", "results"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["results/.gitkeep", "results/README.md"]


def test_readme_is_one_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100


def test_docs_presets_are_listed():
    text = (DOCS / "reference/presets.md").read_text()
    for path in (ROOT / SMOKE).parent.glob("*.yaml"):
        assert f"`{path.stem}`" in text
    for path in Path(ROOT / "profiles").iterdir():
        assert f"`{path.name}`" in text


def test_contributing_the_model_of_the_example_obeys_the_physics(tmp_path, monkeypatch, aspirin):
    python, line, yaml_text = re.findall(
        r"^   ```(?:python|yaml)\n(.*?)^   ```",
        (ROOT / "CONTRIBUTING.md").read_text(),
        re.DOTALL | re.M,
    )
    entry = yaml.safe_load(yaml_text)["pair_sum"]
    monkeypatch.setattr(registry, "MODELS", ast.literal_eval(f"{{{line}}}"))
    path = tmp_path / "pair_sum.py"
    path.write_text(textwrap.dedent(python))
    name = "nnpipe.models.pair_sum"
    specification = importlib.util.spec_from_file_location(name, path)
    loaded = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, name, loaded)
    specification.loader.exec_module(loaded)
    model = registry.build(entry["architecture"], entry["hyperparameters"])
    potential = Potential(model, dict.fromkeys(ELEMENTS, 0.0), 1.0, repulsion=False).double()
    aspirin.calc = NeuralCalculator(potential.requires_grad_(False), ELEMENTS, "float64", "cpu")
    energy, forces = aspirin.get_potential_energy(), aspirin.get_forces()
    assert np.abs(forces).max() > 0.01  # eV/Å; 0 == 0 proves nothing
    np.testing.assert_allclose(forces, calculate_numerical_forces(aspirin, 1e-4), atol=1e-6)
    aspirin.rotate(50, (1, 2, 3))
    assert aspirin.get_potential_energy() == pytest.approx(energy, abs=1e-9)


def examples():
    """Configurations in the pages: page and YAML."""
    for page in PAGES:
        for text in re.findall(r"^( *)```yaml\n(.*?)^ *```$", page.read_text(), re.M | re.DOTALL):
            yield pytest.param(text[1], id=page.stem)


@pytest.mark.parametrize("example", list(examples()))
def test_docs_configurations_are_valid(example, tmp_path, monkeypatch):
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    change = yaml.safe_load(example)
    if "my_model" in example:  # the reader's own architecture
        change["models"]["my_model"]["architecture"] = "schnet"
    if "my/molecules.extxyz" in example:  # as the page says
        del config["models"]["gnn_u0"]
    update_config(config, change)
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    (tmp_path / "my").mkdir()
    frames = ("my/molecules.extxyz", "my/validation.extxyz", "my/test.extxyz")
    for name in (*frames, "nnpipe.sif"):
        (tmp_path / name).touch()
    bulk("C").write(tmp_path / "my/crystal.cif")
    (tmp_path / "my/fragments.smi").write_text("CCO")
    monkeypatch.chdir(tmp_path)
    check(config)
