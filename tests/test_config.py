"""Bad configurations get one line each, which names the key and the remedy, before anything runs."""

import copy
from pathlib import Path

import pytest
import yaml

from nnpipe import config as configuration
from nnpipe.data.download import SOURCES
from nnpipe.errors import InputError

ROOT = Path(__file__).parents[1]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
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


@pytest.mark.parametrize("preset", [None, "smoke", "full"])
def test_what_is_shipped_is_good(preset, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = copy.deepcopy(CONFIG)
    if preset:
        from snakemake.utils import update_config

        update_config(
            config, yaml.safe_load((ROOT / f"workflow/presets/{preset}.yaml").read_text())
        )
    configuration.check(config, SCHEMA)


BAD = [
    ("md/tempreature_k", 300, "md: unknown key 'tempreature_k'; did you mean 'temperature_k'?"),
    ("trainig", {}, "unknown key 'trainig'; did you mean 'training'?"),
    ("training/epochs", 0, "training.epochs: 0 is less than the minimum of 1"),
    ("training/epochs", "many", "training.epochs: 'many' is not of type 'integer'"),
    ("training/learning_rate", -1.0, "training.learning_rate: -1.0 is less than or equal to"),
    ("training/huber", None, "training: 'huber' is missing; config.yaml shows it"),
    ("split/train", "10k", "split.train: '10k' is not of type 'integer'"),
    ("split", None, "'split' is missing"),
    ("data/cutoff", 0.1, "data.cutoff: 0.1 is less than or equal to the minimum of 0.5"),
    ("data/sources", [], "data.sources: [] should be non-empty"),
    ("data/sources", ["nowhere.tar"], "data.sources: 'nowhere.tar' is neither figshare nor qm9pack nor a file"),
    ("models/gnn/architecture", "gmn", "models.gnn.architecture: 'gmn' is not there; did you mean 'gnn'?"),
    ("models/gnn/target", "energies", "models.gnn.target: 'energies' is none of energy, u0"),
    ("models/gnn/hyperparameters", {"layer": 3}, "models.gnn.hyperparameters: unknown key 'layer'; did you mean 'layers'?"),
    ("models/gnn/training", {"epoch": 3}, "models.gnn.training: unknown key 'epoch'; did you mean 'epochs'?"),
    ("models/gnn_u0/start", "gmn", "models.gnn_u0.start: 'gmn' is none of models; did you mean 'gnn'?"),
    ("models/gnn_u0/start", "mlp", "models.gnn_u0.start: 'mlp' has other architecture; make them the same"),
    ("models/gnn/start", "gnn_u0", "models.gnn_u0.start: 'gnn' starts from itself in the end"),
    ("models/gnn/pretrained", "nowhere", "models.gnn.pretrained: 'nowhere' has no model.json"),
    ("labels/method", "mp2", "labels.method: 'mp2' is none of xtb, dft"),
    ("labels/geometries", 0, "labels.geometries: 0 is less than the minimum of 1"),
    ("labels/coldest_k", 2000, "labels.coldest_k: 2000 is above hottest_k, 1500.0; lower it"),
    ("labels/torsions", 0.95, "labels.torsions: 0.95 and strains, 0.1, are more than all geometries"),
    ("evaluation/frequencies", 3, "evaluation: unknown key 'frequencies'; did you mean 'frequency_molecules'?"),
    ("evaluation/frequency_molecules", 10_001, "evaluation.frequency_molecules: 10001 is above split.test, 10000; lower it"),
    ("md/replicas", 0, "md.replicas: 0 is less than the minimum of 1"),
    ("training/huber", float("inf"), "training: huber: inf is no finite number"),
    ("md/temperature_k", float("nan"), "md: temperature_k: nan is no finite number"),
    ("training/learning_rate", "2e-3", "training.learning_rate: '2e-3' is not of type 'number'; write 0.002"),
    ("training/learning_rate", "2e-7", "training.learning_rate: '2e-7' is not of type 'number'; write 2.0e-07"),
    ("split/train", "1e4", "split.train: '1e4' is not of type 'integer'; write 10000"),
    ("split/train", "1.2.3", "split.train: '1.2.3' is not of type 'integer'"),
    ("split/train", 300.0, "split.train: 300.0 is not of type 'integer'; write 300"),
    ("split/train", True, "split.train: True is not of type 'integer'"),
    ("split/smallest", 20_000, "split.smallest: 20000 is above split.train, 10000; lower it"),
    ("labels/chunks", 20_000, "labels.chunks: 20000 is above split.train, 10000; lower it"),
    ("models/gnn/hyperparameters", {"layers": "two"}, "models.gnn.hyperparameters.layers: 'two' is no whole number from 0"),
    ("models/mlp/hyperparameters", {"features": 2.5}, "models.mlp.hyperparameters.features: 2.5 is no whole number from 0"),
    ("models/mlp/training", {"energy_weight": 0, "force_weight": 0}, "models.mlp: energy_weight and force_weight are both 0"),
    ("models/gnn/training", {"energy_weight": 0, "late_epochs": 1, "late_force_weight": 0}, "models.gnn: energy_weight and late_force_weight are both 0"),
    ("data/cutoff", 3.0, "models.gnn.hyperparameters.cutoff: 4.0 is not in (0, 3.0]"),
    ("molecules/u0_aspirin", "C", "molecules: 'u0_aspirin' and 'aspirin' both make gnn_u0_aspirin.xyz"),
    ("resources/device", "gpu", "resources.device: 'gpu' does not match"),
    ("models/mlp", None, "models: 'mlp' is missing"),
    ("models/my model", {"architecture": "gnn", "target": "u0"}, "models: name 'my model' must be letters"),
    ("molecules/bad", "C1CC", "molecules.bad: SMILES 'C1CC' does not parse"),
    ("molecules/salt", "[Na+].[Cl-]", "molecules.salt: element Na is none that the model has seen (H C N O F)"),
    ("molecules/ion", "C[NH3+]", "molecules.ion: SMILES 'C[NH3+]' has charge +1"),
    ("molecules/file", "missing.xyz", "molecules.file: missing.xyz: no such structure file"),
    ("molecules/aspirin", {"temperature_k": 300}, "molecules.aspirin: 'structure' is missing"),
    ("molecules/aspirin", {"structure": "C", "timestep": 1}, "molecules.aspirin: unknown key 'timestep'; did you mean 'timestep_fs'?"),
    ("molecules/aspirin", {"structure": "C", "models": ["gnn_u0"]}, "molecules.aspirin: model 'gnn_u0' does not predict energy"),
    ("md/timestep_fs", 2.0, "molecules.aspirin: timestep_fs 2.0 is not in (0, 1.0] fs"),
    ("md/ensemble", "npt", "md.ensemble: 'npt' is none of nvt, nve"),
    ("md/models", ["gnn2"], "md.models: 'gnn2' is none of models; did you mean 'gnn'?"),
    ("md/structure", "C", "md: unknown key 'structure'"),
    ("resources", {"threads": 2, "device": "cuda:1", "gpus": 4, "nodes": 1, "container": ""}, "resources.device: 'cuda:1' is one GPU, resources.gpus is 4; write cuda"),
    ("molecules", {False: "C"}, "molecules: name False is no text; put it in quotes"),
    ("md/seed", 3_000_000_000, "md.seed: 3000000000 is greater than the maximum of"),
    ("resources/threads", 0, "resources.threads: 0 is less than the minimum of 1"),
    ("molecules", {}, "molecules: {} should be non-empty"),
    ("molecules", ["C"], "molecules: ['C'] is not of type 'object'"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), BAD, ids=[f"{p}={v}" for p, v, _ in BAD])
def test_one_line_that_names_the_key(path, value, message):
    with pytest.raises(InputError) as caught:
        configuration.check(changed(path, value), SCHEMA)
    assert message in str(caught.value)
    assert str(caught.value).startswith("config: ")
    assert "\n" not in str(caught.value)


def test_a_key_that_stands_twice(tmp_path):
    """YAML itself keeps the last one and says nothing."""
    path = tmp_path / "config.yaml"
    path.write_text("molecules: {a: C}\nmd: {x: 1}\nmolecules: {b: N}\n")
    with pytest.raises(InputError, match="key 'molecules' stands there twice; keep one"):
        configuration.check_keys(path)
    path.write_text("molecules:\n  a: C\n  a: N\n")
    with pytest.raises(InputError, match=r"key 'molecules\.a' stands there twice"):
        configuration.check_keys(path)


def test_every_key_of_the_settings_is_a_key_of_the_configuration():
    """The data classes, the schema and the file say the same."""
    from dataclasses import fields

    from nnpipe.simulation.settings import Settings as MDSettings
    from nnpipe.training.settings import Settings

    assert {f.name for f in fields(Settings)} == set(CONFIG["training"])
    assert {f.name for f in fields(MDSettings)} == set(CONFIG["md"]) - {
        "models",
        "dtype",
        "replicas",
    }
    for part in ("training", "md"):
        assert set(SCHEMA["$defs"][part]["properties"]) == set(CONFIG[part])
    assert tuple(SOURCES) == configuration.SOURCES


def test_one_molecule_can_have_settings_of_its_own():
    config = changed("molecules/hot", {"structure": "CO", "temperature_k": 900, "models": ["mlp"]})
    configuration.check(config, SCHEMA)
    assert configuration.md_of(config, "hot")["temperature_k"] == 900
    assert configuration.md_of(config, "aspirin")["temperature_k"] == CONFIG["md"]["temperature_k"]
    assert configuration.models_of(config, "hot") == ["mlp"]
    assert configuration.structure_of(config, "hot") == "CO"
    assert "structure" not in configuration.md_of(config, "hot")
