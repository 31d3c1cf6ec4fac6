"""Bad configurations get one line each, which names the key and the remedy, before anything runs."""

import copy
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from datetime import date
from functools import reduce
from pathlib import Path

import jsonschema
import pytest
import yaml

from nnpipe import config as configuration
from nnpipe.config.__main__ import COMMAND, differing, json_schema
from nnpipe.config.source import places
from nnpipe.errors import InputError

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())


def changed(path: str, value: object) -> dict:
    """The shipped configuration with one value replaced, or removed if it is None."""
    config = copy.deepcopy(CONFIG)
    *parents, key = path.split("/")
    place = config
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[key]
    else:
        place[key] = value
    return config


@pytest.mark.parametrize("preset", [None, "smoke", "full", "pretrained"])
def test_what_is_shipped_is_good(preset, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = copy.deepcopy(CONFIG)
    if preset:
        from snakemake.utils import update_config

        update_config(
            config, yaml.safe_load((ROOT / f"workflow/presets/{preset}.yaml").read_text())
        )
    configuration.check(config)


BAD = [
    ("md/tempreature_k", 300, "md: unknown key 'tempreature_k'; did you mean 'temperature_k'?"),
    ("trainig", {}, "unknown key 'trainig'; did you mean 'training'?"),
    ("training/stages", [{"epochs": 0}], "training.stages.0.epochs: 0 is below the minimum of 1"),
    ("training/stages", [{"epochs": "many"}], "training.stages.0.epochs: 'many' is not an integer"),
    ("training/stages", [], "training.stages: [] is empty; give at least one"),
    ("training/stages", 50, "training.stages: 50 is not a list"),
    ("training/stages", [{"epoch": 3}], "training.stages.0: unknown key 'epoch'; did you mean 'epochs'?"),
    ("training/stages", [{"force_weight": 0.1}], "training.stages.0: 'epochs' is missing"),
    ("training/learning_rate", -1.0, "training.learning_rate: -1.0 is not above the limit of 0"),
    ("training/ema_decay", 1, "training.ema_decay: 1 is not below the limit of 1"),
    ("training/energy_huber_delta", None, "training: 'energy_huber_delta' is missing; config.yaml shows it"),
    ("training/compiled", "yes", "training.compiled: 'yes' is not true or false"),
    ("split/train", "10k", "split.train: '10k' is not an integer"),
    ("split", None, "'split' is missing"),
    ("split", [], "split: [] is not a mapping of keys to values"),
    ("data/cutoff", 0.1, "data.cutoff: 0.1 is not above the limit of 0.5"),
    ("data/sources", [], "data.sources: [] is empty; give at least one"),
    ("data/sources", [1], "data.sources.0: 1 is not text; put it in quotes"),
    ("data/sources", ["nowhere.tar"], "data.sources: 'nowhere.tar' is not figshare, qm9pack or a file"),
    ("data/extxyz/energy", "", "data.extxyz.energy: '' is empty; give a text"),
    ("data/extxyz/energy_unit", "hartree", "data.extxyz.energy_unit: 'hartree' is not one of eV, Hartree"),
    ("data/extxyz/force_unit", "Hartree", "data.extxyz.force_unit: 'Hartree' is not a unit of energy (eV, Hartree"),
    ("data/extxyz/validation", "nowhere.xyz", "data.extxyz.validation: 'nowhere.xyz' is not a file in extended xyz"),
    ("data/extxyz/forces", None, "data: extxyz: 'forces' is missing"),
    ("models/gnn/architecture", "gmn", "models.gnn.architecture: 'gmn' does not exist; did you mean 'gnn'?"),
    ("models/gnn/architecture", None, "models.gnn: 'architecture' is missing"),
    ("models/gnn/target", "energies", "models.gnn.target: 'energies' is not one of 'energy', 'u0'"),
    ("models/gnn/target", None, "models.gnn: 'target' is missing"),
    ("models/gnn/hyperparameters", {"layer": 3}, "models.gnn.hyperparameters: unknown key 'layer'; did you mean 'layers'?"),
    ("models/gnn/training", {"stage": 3}, "models.gnn.training: unknown key 'stage'; did you mean 'stages'?"),
    ("models/gnn_u0/init_from", "gmn", "models.gnn_u0.init_from: 'gmn' is not one of models; did you mean 'gnn'?"),
    ("models/gnn_u0/architecture", "mlp", "models.gnn_u0.architecture: 'mlp' is not the architecture of 'gnn', whose weights it starts from; remove architecture"),
    ("models/gnn_u0/hyperparameters", {"layers": 3}, "models.gnn_u0.hyperparameters: {'layers': 3} is not the hyperparameters of 'gnn'"),
    ("models/gnn/init_from", "gnn_u0", "models.gnn_u0.init_from: 'gnn' leads back to itself"),
    ("models/gnn/pretrained", "nowhere", "models.gnn.pretrained: 'nowhere' has no model.json"),
    ("labels/method", "mp2", "labels.method: 'mp2' is not one of 'teacher', 'gfn2' or 'dft'"),
    ("labels/teacher", "resources/models", "labels.teacher: 'resources/models/tight_binding.toml' is not a file; write resources/teacher, or fit"),
    ("labels/teacher", "", "labels.teacher: '' is empty; give a text"),
    ("labels/teacher", 300 * "x", "is not a file; write resources/teacher, or fit"),
    ("labels/fragments", "nowhere.smi", "labels.fragments: 'nowhere.smi' is not a file; write resources/fragments.smi, or '' for none"),
    ("labels/fragments", "pyproject.toml", "labels.fragments: pyproject.toml, line 1: SMILES '[build-system]' does not parse; check brackets"),
    ("labels/smarts", ["c1ccc"], "labels.smarts: SMARTS 'c1ccc' does not parse; check brackets and ring digits"),
    ("split/train_first", ["[C"], "split.train_first: SMARTS '[C' does not parse"),
    ("labels/geometries", 0, "labels.geometries: 0 is below the minimum of 1"),
    ("labels/small_ring_factors", [1.0, -1.0], "labels.small_ring_factors.1: -1.0 is below the minimum of 0"),
    ("labels/temperature_min_k", 2000, "labels.temperature_min_k: 2000.0 is above temperature_max_k, 1500.0; lower it"),
    ("labels/torsion_fraction", 0.95, "labels.torsion_fraction: 0.95 and strain_fraction, 0.1, sum to more than 1; lower one"),
    ("evaluation/frequencies", 3, "evaluation: unknown key 'frequencies'; did you mean 'frequency_molecules'?"),
    ("evaluation/frequency_molecules", 10_001, "evaluation.frequency_molecules: 10001 is above split.test, 10000; lower it"),
    ("md/replicas", 0, "md.replicas: 0 is below the minimum of 1"),
    ("training/energy_huber_delta", float("inf"), "training.energy_huber_delta: inf is not a finite number"),
    ("md/temperature_k", float("nan"), "md.temperature_k: nan is not a finite number"),
    ("models/mlp/hyperparameters", {"fade": float("nan")}, "models.mlp.hyperparameters.fade: nan is not a finite number"),
    ("training/learning_rate", "2e-3", "training.learning_rate: '2e-3' is not a number; write 0.002"),
    ("training/learning_rate", "2e-7", "training.learning_rate: '2e-7' is not a number; write 2.0e-07"),
    ("split/train", "1e4", "split.train: '1e4' is not an integer; write 10000"),
    ("split/train", "1.2.3", "split.train: '1.2.3' is not an integer"),
    ("split/train", 300.0, "split.train: 300.0 is not an integer; write 300"),
    ("split/train", True, "split.train: True is not an integer"),
    ("split/always_train_smallest", 20_000, "split.always_train_smallest: 20000 is above split.train, 10000; lower it"),
    ("labels/chunks", 20_000, "labels.chunks: 20000 is above split.train, 10000; lower it"),
    ("models/gnn/hyperparameters", {"layers": "two"}, "models.gnn.hyperparameters.layers: 'two' is not a whole number from 1"),
    ("models/mlp/hyperparameters", {"features": 2.5}, "models.mlp.hyperparameters.features: 2.5 is not a whole number from 1"),
    ("models/gnn/hyperparameters", {"layers": 0}, "models.gnn.hyperparameters.layers: 0 is not a whole number from 1"),
    ("models/gnn/hyperparameters", {"vectors": -1}, "models.gnn.hyperparameters.vectors: -1 is not a whole number from 0"),
    ("models/gnn/hyperparameters", {"bodies": 9}, "models.gnn.hyperparameters.bodies: 9 is not one of 2, 3, 4"),
    ("models/mlp/pretrained", "resources/models/gnn", "models.mlp.pretrained: resources/models/gnn/model.json has architecture 'gnn', the configuration 'mlp'; make"),
    ("models/gnn_u0/pretrained", "resources/models/gnn", "has target 'energy', the configuration 'u0'; make them the same"),
    ("models/mlp/hyperparameters", {"fade": "half"}, "models.mlp.hyperparameters.fade: 'half' is not a number"),
    ("models/mlp/training", {"energy_weight": 0, "force_weight": 0}, "models.mlp.training: energy_weight and force_weight are both 0 in stages.0; raise one"),
    ("models/gnn/training", {"energy_weight": 0, "stages": [{"epochs": 1}, {"epochs": 1, "force_weight": 0}]}, "models.gnn.training: energy_weight and force_weight are both 0 in stages.1"),
    ("data/cutoff", 3.0, "models.gnn.hyperparameters.cutoff: 4.0 is not in (0, 3.0]"),
    ("molecules/u0_aspirin", "C", "molecules: 'u0_aspirin' and 'aspirin' both make gnn_u0_aspirin.xyz"),
    ("resources/device", "gpu", "resources.device: 'gpu' is not one of auto, cpu, cuda, cuda:1"),
    ("models/mlp", None, "models: 'mlp' is missing"),
    ("models/my model", {"architecture": "gnn", "target": "u0"}, "models: name 'my model' must be letters"),
    ("molecules/bad", "C1CC", "molecules.bad: SMILES 'C1CC' does not parse"),
    ("molecules/chloride", "CCl", "molecules.chloride: CCl: element Cl is not in the training set (H C N O F)"),
    ("molecules/ion", "C[NH3+]", "molecules.ion: SMILES 'C[NH3+]' has charge +1"),
    ("molecules/file", "missing.xyz", "molecules.file: missing.xyz: no such structure file"),
    ("molecules/aspirin", {"temperature_k": 300}, "molecules.aspirin: 'structure' is missing"),
    ("molecules/aspirin", {"structure": "C", "timestep": 1}, "molecules.aspirin: unknown key 'timestep'; did you mean 'timestep_fs'?"),
    ("molecules/aspirin", {"structure": "C", "models": ["gnn_u0"]}, "molecules.aspirin: model 'gnn_u0' does not predict energy"),
    ("molecules/aspirin", 3, "molecules.aspirin: 3 is not text; write a SMILES or the path"),
    ("md/timestep_fs", 2.0, "molecules.aspirin: timestep_fs 2.0 is not in (0, 1.0] fs"),
    ("md/ensemble", "npt", "md.ensemble: 'npt' is not one of 'nvt' or 'nve'"),
    ("md/models", ["gnn2"], "md.models: 'gnn2' is not one of models; did you mean 'gnn'?"),
    ("data/sources", [300 * "x"], "is not figshare, qm9pack or a file"),
    ("models/gnn/pretrained", 300 * "x", "has no model.json; give a folder"),
    ("md/models", ["gnn", "gnn"], "md.models: a model is given twice in gnn, gnn"),
    ("md/structure", "C", "md: unknown key 'structure'"),
    ("resources", {"threads": 2, "device": "cuda:1", "gpus": 4, "nodes": 1, "container": ""}, "resources.device: 'cuda:1' is one GPU, resources.gpus is 4; write cuda"),
    ("molecules", {False: "C"}, "molecules: name False is not text; put it in quotes"),
    ("md/seed", 3_000_000_000, "md.seed: 3000000000 is above the maximum of 2147483647"),
    ("resources/threads", 0, "resources.threads: 0 is below the minimum of 1"),
    ("resources/nodes", 3, "resources.gpus: 1 cannot be spread evenly over 3 nodes; take 3"),
    ("molecules", {}, "molecules: {} is empty; give at least one"),
    ("molecules", ["C"], "molecules: ['C'] is not a mapping of keys to values"),
    ("split/smallest", 8, "split.smallest: renamed to always_train_smallest"),
    ("labels/coldest_k", 50.0, "labels.coldest_k: renamed to temperature_min_k"),
    ("training/epochs", 5, "training.epochs: renamed to stages, e.g. stages: [{epochs: 9}, {"),
    ("models/gnn/training", {"late_epochs": 2}, "models.gnn.training.late_epochs: renamed to stages, e.g."),
    ("models/mlp/start", "gnn", "models.mlp.start: renamed to init_from"),
    ("models/mlp/labels", False, "models.mlp.labels: renamed to use_labels"),
    ("md/start", 0, "md: unknown key 'start'"),
    ("md", {False: 3}, "md: a key is not text, as YAML reads NO, on and 3 as values; put it in"),
    ("evaluation", {"frequency_molecules": None}, "evaluation.frequency_molecules: is empty; give a value"),
    ("models/gnn_u0/init_from", "", "models.gnn_u0.init_from: '' is empty; give a text"),
    ("molecules/aspirin", {"structure": "C", "models": ["gnm"]}, "molecules.aspirin: no model 'gnm'; did you mean 'gnn'?"),
    ("molecules/aspirin", False, "molecules.aspirin: False is not text; write a SMILES or"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), BAD, ids=[f"{p}={v}" for p, v, _ in BAD])
def test_one_line_that_names_the_key(path, value, message):
    with pytest.raises(InputError) as caught:
        configuration.check(changed(path, value))
    assert message in str(caught.value)
    assert str(caught.value).startswith("config: ")
    assert "\n" not in str(caught.value)


def paths(config: dict, where: str = "") -> Iterator[str]:
    """All keys of a configuration, as for `changed`."""
    for key, value in config.items():
        yield f"{where}{key}"
        if isinstance(value, dict):
            yield from paths(value, f"{where}{key}/")


ODD = [None, [], "x", {1: 2}, [None], {"a": {}}, math.nan, date(2020, 1, 1)]


def message(config: dict) -> str:
    try:
        configuration.check(config)
    except InputError as error:
        return str(error)
    return "config: valid"


def test_no_value_makes_more_than_one_line():
    """Neither a traceback nor the words of the validating library."""
    for path in paths(CONFIG):
        *parents, key = path.split("/")
        for value in ODD:
            config = copy.deepcopy(CONFIG)
            reduce(dict.__getitem__, parents, config)[key] = value
            line = message(config)
            assert re.fullmatch(r"config: .+", line), (path, value, line)
            assert not re.search(r"https?:|Input should|pydantic|\[type=", line), line


TRAPS = [
    ("md: {x: 1}\nmolecules: {b: N}\nmd: {x: 3}", "line 3: key 'md' is given twice; keep one"),
    ("molecules:\n  a: C\n  a: N", "line 3: key 'molecules.a' is given twice"),
    ("training: {stages: [{epochs: 1, epochs: 3}]}", "key 'training.stages.0.epochs' is given twice"),
    ("molecules:\n  x: [nH]1cccc1", "line 2: 'x: [nH]1cccc1' is not YAML (expected <block end>, but found '<scalar>'); put text with one of ["),
    ("molecules:\n  x: @C", "line 2: 'x: @C' is not YAML"),
    ("molecules:\n  x: !C C", "line 2: 'x: !C C' is not YAML"),
    ("molecules:\n  x: 'C", "line 2: \"x: 'C\" is not YAML"),
    ("molecules:\n\tx: C", "line 2: 'x: C' is not YAML (found character '\\t' that cannot start any token); indent with spaces"),
    ("molecules:\n  NO: C", "line 2: YAML reads the key NO as false, which is not text; put it in quotes: 'NO'"),
    ("molecules:\n  1e3: C\n  2: O", "line 3: YAML reads the key 2 as 2"),
    ("molecules:\n  x: C #N", "line 2: molecules.x: YAML ends the text at ' #'; put 'C #N' in quotes, or a space after #"),
    ("md: {length_ps: 1:30}", "line 1: md.length_ps: YAML reads 1:30 to base 60, as 90; write a decimal number"),
    ("split: {train: 0100}", "line 1: split.train: YAML reads 0100 to base 8, as 64; write a decimal number"),
    ("molecules:\n  x: C\x07", "unacceptable character #x0007"),
    ("{\"md\":\t{\"x\": 1, \"x\": 3}}", "line 1: key 'md.x' is given twice"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), TRAPS, ids=[message for _, message in TRAPS])
def test_traps_of_yaml(tmp_path, text, message):
    """Snakemake would take another value without a word, or not name the line."""
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        places(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_trap_of_yaml(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(
        "molecules:\n  x: C#N #nitrile\n  y: N # O\na: &b {c: yes}\nd: {<<: *b, c: 0.5}\n"
    )
    assert places(path)["molecules.x"].value == "C#N"
    assert places(path)["a.c"].value is True
    path.write_text('{"md":\t{"x": 1}}')
    assert places(path)["md.x"].value == 1
    path.write_text("")
    assert places(path) == {}
    path.write_bytes("# größe\nmolecules:\n  x: C # Å\n".encode("latin1"))
    with pytest.raises(InputError, match=r"my\.yaml: line 1: not UTF-8; save the file as UTF-8"):
        places(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("molecules:\n\n  x: NO", "line 3: molecules.x: False is not text; write a SMILES or the path of a file in quotes (YAML reads NO as false)"),
        ("molecules:\n  x: [OH]", "line 2: molecules.x: ['OH'] is not text; write a SMILES or"),
        ("training:\n  stages:\n  - epochs: 0", "line 3: training.stages.0.epochs: 0 is below"),
        ("md:\n  tempreature_k: 3", "line 2: md: unknown key 'tempreature_k'; did you mean"),
    ],
)  # fmt: skip
def test_an_error_names_file_and_line(tmp_path, text, message):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    config = copy.deepcopy(CONFIG)
    for section, values in yaml.safe_load(text).items():
        config[section] |= values
    with pytest.raises(InputError) as caught:
        configuration.check_files(config, [path, ROOT / "config.yaml"])
    assert str(caught.value).startswith(f"{path}: {message}")


def test_an_error_of_a_key_with_a_dot_is_one_line(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("evaluation: {frequency_molecules. 10}")
    config = copy.deepcopy(CONFIG)
    config["evaluation"] |= yaml.safe_load(path.read_text())["evaluation"]
    with pytest.raises(InputError, match=r"evaluation: unknown key 'frequency_molecules\. 10'"):
        configuration.check_files(config, [path])


def test_an_error_of_the_command_line_has_no_line(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("molecules: {x: C}")
    config = changed("molecules", {"x": False})
    with pytest.raises(InputError, match=r"^config: molecules\.x: False is not text"):
        configuration.check_files(config, [path])


def test_settings_have_the_defaults_of_the_configuration():
    """So a notebook computes what the workflow computes."""
    import nnpipe.labelling.settings
    import nnpipe.simulation.settings
    import nnpipe.training.settings

    rooms = {"labels": nnpipe.labelling, "md": nnpipe.simulation, "training": nnpipe.training}
    for section, room in rooms.items():
        settings = room.settings.Settings()
        for field in fields(settings):
            value = getattr(settings, field.name)
            if field.name == "stages":
                value = [{"epochs": stage.epochs} | stage.overrides() for stage in value]
            given = CONFIG[section][field.name]
            assert (list(value) if isinstance(value, tuple) else value) == given, field.name


def test_settings_refuse_in_one_line():
    from nnpipe.training.settings import Settings

    with pytest.raises(InputError) as caught:
        Settings(learning_rate="1e-3")
    assert str(caught.value) == "Settings.learning_rate: '1e-3' is not a number; write 0.001"
    with pytest.raises(InputError, match=r"^Settings: unknown key 'learning_rat'; did you mean"):
        Settings(learning_rat=1e-3)


def test_configuration_needs_nothing_but_what_comes_with_snakemake():
    """The host may have no NumPy, and a dry run must not wait for PyTorch."""
    program = "import sys, nnpipe.config; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow/scripts")}
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    ).stdout.split()
    assert "nnpipe.training.settings" in printed
    assert not {"ase", "numpy", "rdkit", "scipy", "torch"} & set(printed)


def test_a_model_inherits_from_the_model_it_starts_from():
    config = changed("models/third", {"target": "u0", "init_from": "gnn_u0"})
    configuration.check(config)
    assert configuration.architecture_of(config, "third") == "gnn"
    hyperparameters = configuration.hyperparameters_of(config, "third")
    assert hyperparameters == CONFIG["models"]["gnn"]["hyperparameters"]
    config["models"]["third"]["hyperparameters"] = dict(hyperparameters)  # the same may be given
    configuration.check(config)


def test_generated_files_are_what_the_sections_give():
    assert not list(differing()), f"run {COMMAND}"


def test_schema_accepts_what_is_shipped():
    """Editors use it. A preset may leave out what config.yaml has."""
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(validator.schema)
    assert not list(validator.iter_errors(CONFIG))
    for path, value in (("split/train", "many"), ("split/smallest", 8), ("models/a b", {})):
        assert list(validator.iter_errors(changed(path, value)))


def test_one_molecule_can_have_settings_of_its_own():
    config = changed("molecules/hot", {"structure": "CO", "temperature_k": 900, "models": ["mlp"]})
    configuration.check(config)
    assert configuration.md_of(config, "hot")["temperature_k"] == 900
    assert configuration.md_of(config, "aspirin")["temperature_k"] == CONFIG["md"]["temperature_k"]
    assert configuration.models_of(config, "hot") == ["mlp"]
    assert configuration.structure_of(config, "hot") == "CO"
    assert "structure" not in configuration.md_of(config, "hot")
