"""Molecules without a line in config.yaml: --config smiles=..., and files in molecules/."""

import copy
import json
from pathlib import Path

import pytest
import yaml
from ase.build import molecule
from ase.io import read, write
from snakemake.cli import parse_config
from snakemake.utils import update_config

from helpers import ROOT, copy_to, snakemake_calls
from nnpipe import config as configuration
from nnpipe.config.command_line import as_typed
from nnpipe.config.folder import structure_files, with_files
from nnpipe.config.targets import check_command_line
from nnpipe.errors import InputError
from nnpipe.structures.file_names import COMPRESSED, FORMATS, is_structure_file, stem_of
from nnpipe.structures.formats import OPEN, READERS

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
PATTERNS = [
    "results/models/{model}/model.json", "results/md/start/{molecule}.xyz",
    "results/md/{model}_{molecule}.xyz", "results/figures/scan_{model}_{molecule}.png",
]  # fmt: skip
PRETRAINED = "workflow/presets/pretrained.yaml"


def typed(*entries: str) -> dict:
    """The shipped configuration with values of --config, as Snakemake merges them."""
    config = copy.deepcopy(CONFIG)
    update_config(config, parse_config(entries))
    return as_typed(config, entries)


SMILES = [
    "COc1cc(C=O)ccc1O", "[H][H]", "C#N", "N", "NO", "no", "1e5", "0123", "1_0", "inf", "nan", "True",
    "null", "~", "C:C", "{x", "[nH]1cccc1", "[OH]", "*C", "!C", "&C", "@", "%12", "C=O", "-", "",
    r"F/C=C\F", "[2H]O[2H]", "C[C@H](N)O", "[13CH4]",
]  # fmt: skip


@pytest.mark.parametrize("smiles", SMILES)
def test_a_smiles_is_the_text_that_was_typed(smiles):
    assert typed(f"smiles={smiles}")["smiles"] == smiles
    assert typed(f"structure='{smiles}'")["structure"] == smiles


def test_a_job_gets_the_backslashes_of_a_smiles_doubled():
    for entry in (r"smiles=F/C=C\F", r"smiles=F/C=C\\F", r"smiles=F/C=C\\\\F"):
        assert typed(entry)["smiles"] == r"F/C=C\F"
    entry = r"molecules={x: F/C=C\\F, y: {structure: F/C=C\\F}}"
    molecules = typed(entry)["molecules"]
    assert molecules["x"] == molecules["y"]["structure"] == r"F/C=C\F"


def test_settings_of_the_command_line_are_numbers():
    """Snakemake passes nested values as text."""
    config = typed(
        "md={temperature_k: 500, ensemble: nve, models: [gnn]}",
        "molecules={x: NO, y: {structure: NO, length_ps: 2.5}}",
        "training={stages: [{epochs: 3}], compiled: false}",
    )
    configuration.check(config)
    assert config["md"]["temperature_k"] == 500
    assert config["md"]["ensemble"] == "nve"
    assert config["md"]["models"] == ["gnn"]
    assert config["md"]["timestep_fs"] == CONFIG["md"]["timestep_fs"]
    assert config["molecules"]["x"] == "NO"
    assert config["molecules"]["y"] == {"structure": "NO", "length_ps": 2.5}
    assert config["molecules"]["aspirin"] == CONFIG["molecules"]["aspirin"]
    assert config["training"]["stages"] == [{"epochs": 3}]
    assert config["training"]["compiled"] is False


def test_values_of_a_module_that_are_not_of_the_command_line_stay():
    """The configuration of a module may be another than the one that --config changes."""
    config = {"md": {"temperature_k": 300.0}, "molecules": {"x": "C"}}
    assert as_typed(config, ["md={temperature_k: 500}", "smiles=CCO", "molecules={x: N}"]) == config


BAD = [
    (["smiles=C1CC"], "config: smiles: SMILES 'C1CC' does not parse; check brackets"),
    (["smiles=CCCl"], "config: smiles: CCCl: element Cl is not in the training set (H C N O F)"),
    (["smiles="], "config: smiles: is empty; give a SMILES"),
    (["structure="], "config: structure: is empty; give a structure"),
    (["smiles=C O"], "config: smiles: SMILES 'C O' has a space; join molecules with a dot"),
    (["smiles=C", "structure=N"], "config: smiles and structure are both given; keep one"),
    (["smiles=x.pdb"], "config: smiles: 'x.pdb' is the path of a structure file; give it as structure=x.pdb"),
    (["structure=x.pdb"], "config: structure: x.pdb: no such structure file; correct the path"),
    (["smiles=C", "md={timestep_fs: 2}"], "timestep_fs 2 is not in (0, 1.0] fs"),
    (["md={temperature_k: hot}"], "config: md.temperature_k: 'hot' is not a number"),
    (["md={temperature_k 500"], "--config md: line 1: '{temperature_k 500' is not YAML"),
    (["md={length_ps: 1:30}"], "--config md: line 1: md.length_ps: YAML reads 1:30 to base 60"),
    (["smiles=C\nC"], "--config smiles: 'C\\nC' has a line break or another character that"),
    (["SMILES=C"], "config: unknown key 'SMILES'; did you mean 'smiles'?"),
    (["smile=C"], "config: unknown key 'smile'; did you mean 'smiles'?"),
    (["molecule=C"], "config: unknown key 'molecule'; did you mean 'molecules'?"),
    (["smiles=C", "temperature_k=500"], "config: unknown key 'temperature_k'; it is a key of md, as in --config md='{temperature_k: ...}'"),
    (["smiles=C", "colour=3"], "config: unknown key 'colour'; known: data, split"),
    (["md=temperature_k=500"], "config: md: 'temperature_k=500' is not a mapping of keys to values"),
    (["md={temperature_k:500}"], "config: md: unknown key 'temperature_k:500'; did you mean 'temperature_k'?"),
    (["molecules={x: }"], "config: molecules.x.structure: '' is empty; give a text"),
    (["molecules={2x: C}"], "config: molecules: name '2x' must be letters, digits, _ or -"),
    (["md=300"], "config: md: 300 is not a mapping of keys to values"),
    (["molecules={x: [nH]1cccc1}"], "--config molecules: line 1: '{x: [nH]1cccc1}' is not YAML"),
    (["molecules={x: [H]}"], "config: molecules.x: ['H'] is not text; write a SMILES or the path"),
    (["molecules={NO: C}"], "YAML reads the key NO as false, which is not text; put it in quotes"),
    (["molecules={x: C, x: N}"], "--config molecules: line 1: key 'molecules.x' is given twice"),
    (["molecules=x: C #N"], "--config molecules: line 1: molecules.x: YAML ends the text at ' #'"),
    (["molecules={x: '[H][H]', y: \"C\"}"], "--config molecules: ' and \" in one value"),
]  # fmt: skip


@pytest.mark.parametrize(("entries", "message"), BAD, ids=[" ".join(e) for e, _ in BAD])
def test_bad_values_of_the_command_line_are_one_line(entries, message):
    with pytest.raises(InputError) as caught:
        configuration.check(typed(*entries))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("smiles=C1", "--config: smiles: SMILES 'C1' does not parse"),
        ("md={temperature_k: hot}", "--config: md.temperature_k: 'hot' is not a number"),
        ("md={temperature_k:500}", "--config: md: unknown key 'temperature_k:500'; did you mean"),
        ("molecules={x: C1}", "--config: molecules.x: SMILES 'C1' does not parse"),
        ("molecules={2x: C}", "config: molecules: name '2x' must be letters"),
    ],
)
def test_an_error_of_the_command_line_is_not_put_on_a_line_of_the_file(entry, message):
    with pytest.raises(InputError) as caught:
        configuration.check_files(typed(entry), [ROOT / "config.yaml"], [entry])
    assert str(caught.value).startswith(message)


def test_a_number_in_a_file_is_no_structure():
    with pytest.raises(InputError, match="config: smiles: 3 is not text; put it in quotes"):
        configuration.check(CONFIG | {"smiles": 3})


def test_a_molecule_of_the_command_line_has_the_settings_of_md():
    config = typed("smiles=CCO", "md={temperature_k: 500}")
    configuration.check(config)
    assert configuration.structure_of(config, "any-name") == "CCO"
    settings = configuration.md_of(config, "any-name")
    assert settings == {key: config["md"][key] for key in config["md"] if key != "models"}
    assert configuration.structure_of(config, "aspirin") == CONFIG["molecules"]["aspirin"]


def command_line(config: dict, *targets: str) -> str:
    """The message for targets, or "" if they are good."""
    try:
        check_command_line(config, targets, targets, PATTERNS)
    except InputError as error:
        assert "\n" not in str(error)
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("targets", "entries", "message"),
    [
        (["gnn_vanillin"], ["smiles=C"], ""),
        (["gnn_vanillin", "mlp_vanillin", "gnn_aspirin"], ["smiles=C"], ""),
        (["gnn_v"], ["molecules={v: C}"], ""),
        (["gnn_aspirin"], ["smiles=CC(=O)Oc1ccccc1C(=O)O"], ""),
        (["gnn_aspirin"], [], ""),
        (["gnn_aspirin"], ["smiles=C"], "aspirin.xyz: the configuration has a molecule 'aspirin', CC(=O)Oc1ccccc1C(=O)O; choose another name for smiles C"),
        (["gnn_ibuprofen"], ["smiles=C"], "the configuration has a molecule 'ibuprofen', CC(C)Cc1ccc"),
        (["gnn_a", "mlp_b"], ["smiles=C"], "--config smiles: one structure for the molecules a and b; give --config molecules="),
        ([], ["smiles=C"], "--config smiles: no target names the molecule; name one, as in snakemake results/md/gnn_NAME.xyz"),
        (["gnn_v"], [], "results/md/gnn_v.xyz: no molecule 'v' (known: aspirin, paracetamol, ibuprofen, caffeine); to make one, add --config smiles='...', a file molecules/v.xyz or a line under molecules:"),
        (["gnn_asprin"], [], "no molecule 'asprin' (did you mean 'aspirin'?)"),
        (["gmn_aspirin"], [], "results/md/gmn_aspirin.xyz: no model 'gmn'; models that simulate: gnn, mlp"),
        (["gnn_u0_v"], ["smiles=C"], "model 'gnn_u0' predicts u0, and dynamics need an energy; models that simulate: gnn, mlp"),
        (["vanillin"], ["smiles=C"], "vanillin.xyz: no model in the name; write results/md/gnn_vanillin.xyz;"),
        (["x"], ["smiles=C"], "x.xyz: no model in the name; write results/md/gnn_x.xyz;"),
        (["gnn_2x"], ["smiles=C"], "the name of a molecule, '2x', must be letters, digits, _ or -, a letter first"),
        (["gnn_"], ["smiles=C"], "the name of a molecule, '', must be letters"),
    ],
)  # fmt: skip
def test_names_in_targets(targets, entries, message):
    found = command_line(typed(*entries), *(f"results/md/{name}.xyz" for name in targets))
    assert message in found
    assert bool(message) == bool(found)


def test_other_targets():
    config = typed("smiles=C")
    for target in (
        "results/md/start/v.xyz",
        "results/figures/scan_gnn_v.png",
        "./results/md/gnn_v.xyz",
    ):
        assert command_line(config, target) == ""
        assert "no molecule 'v'" in command_line(CONFIG, target)
    assert command_line(CONFIG, "all", "results/models/foo/model.json", "results/md/a/b.xyz") == ""
    assert command_line(config, "all", "results/md/gnn_v.xyz") == ""
    assert "is given twice" in command_line(config, "--config", "-C")
    assert "is given twice" in command_line(config, "--config=smiles=C", "--config=seed=3")


def test_files_of_a_folder_are_molecules(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("molecules")
    assert with_files(CONFIG, folder) == CONFIG  # no folder
    folder.mkdir()
    for name in ("README.md", ".DS_Store"):
        (folder / name).touch()
    assert with_files(CONFIG, folder) == CONFIG
    write(folder / "water.xyz", molecule("H2O"))
    write(folder / "methane.pdb", molecule("CH4"))
    write(folder / "my-NH3_1.xyz.gz", molecule("NH3"), format="extxyz")
    write(folder / "POSCAR", molecule("CH3OH", vacuum=5), format="vasp")
    config = with_files(CONFIG, folder)
    configuration.check(config)
    assert list(config["molecules"]) == [
        *CONFIG["molecules"], "POSCAR", "methane", "my-NH3_1", "water"
    ]  # fmt: skip
    assert configuration.structure_of(config, "water") == "molecules/water.xyz"
    assert configuration.models_of(config, "water") == ["gnn", "mlp"]
    # settings of their own, with and without the path
    for entry in (
        {"temperature_k": 500.0},
        {"structure": "./molecules/water.xyz", "temperature_k": 500.0},
    ):
        molecules = CONFIG["molecules"] | {"water": entry}
        config = with_files(CONFIG | {"molecules": molecules}, folder)
        configuration.check(config)
        assert configuration.md_of(config, "water")["temperature_k"] == 500
    assert "water" not in CONFIG["molecules"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["aspirin.xyz"], "molecules/aspirin.xyz: the configuration has a molecule 'aspirin', too, CC(=O)Oc1ccccc1C(=O)O; rename the file"),
        (["a.xyz", "a.pdb.gz"], "molecules/a.xyz: molecules/a.pdb.gz makes a molecule 'a', too; rename the file"),
        (["2-propanol.xyz"], "molecules/2-propanol.xyz: the name '2-propanol' must be letters, digits, _ or -"),
        (["my mol.xyz"], "the name 'my mol' must be"),
        (["a.b.xyz"], "the name 'a.b' must be"),
        (["notes.txt"], "molecules/notes.txt: not a structure file; move it elsewhere; known: .xyz .extxyz"),
        (["CCO"], "molecules/CCO: not a structure file"),
        (["old/"], "molecules/old: a folder, not a structure file; move its files to molecules"),
    ],
)  # fmt: skip
def test_bad_files_of_a_folder_are_one_line(tmp_path, monkeypatch, names, message):
    monkeypatch.chdir(tmp_path)
    for name in names:
        path = tmp_path / "molecules" / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.touch()
    with pytest.raises(InputError) as caught:
        with_files(CONFIG, "molecules")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_of_a_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("molecules").mkdir()
    Path("molecules/a.xyz").write_text("3\n\nO 0 0\n")
    with pytest.raises(InputError, match=r"^config: molecules\.a: molecules/a\.xyz: "):
        configuration.check(with_files(CONFIG, "molecules"))


def test_the_shipped_folder_holds_no_molecule():
    assert structure_files(ROOT / "molecules") == {}


def test_formats_are_those_that_are_read():
    assert set(FORMATS) == set(READERS)
    assert set(COMPRESSED) == set(OPEN)
    assert [stem_of(n) for n in ("a.xyz", "b/a.SDF.gz", "POSCAR", "a.CONTCAR")] == [
        "a",
        "a",
        "POSCAR",
        "a",
    ]


def test_a_file_named_like_a_smiles_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("CCO").write_text("this is not ethanol")
    assert not is_structure_file("CCO")
    assert is_structure_file("./CCO")
    configuration.check(typed("smiles=CCO"))


REFUSED = [
    ("results/md/gnn_v.xyz", ["-n"], "results/md/gnn_v.xyz: no molecule 'v' (known: "),
    ("results/spectra/gnn_v.csv", ["-n"], "results/spectra/gnn_v.csv: no molecule 'v' (known: "),
    ("results/md/gmn_aspirin.xyz", ["-n"], "no model 'gmn'; models that simulate: gnn, mlp"),
    ("all", ["-n", "--config", "smiles=C"], "--config smiles: no target names the molecule"),
    ("results/md/gnn_v.xyz", ["-n", "--config", "smiles=C1"], "--config: smiles: SMILES 'C1' does"),
    ("results/md/gnn_v.xyz", ["--config", "smiles=C", "--config", "md={seed: 1}"], "given twice"),
]  # fmt: skip


def test_a_molecule_of_the_command_line_is_simulated(tmp_path):
    """The job gets the SMILES, a change of it runs again, and the errors are one line."""
    folder = copy_to(tmp_path / "copy")
    (folder / "molecules").mkdir()
    write(folder / "molecules/water.xyz", molecule("H2O"))
    target, preset = "results/md/gnn_cis.xyz", ["--configfile", PRETRAINED]
    md = "md={length_ps: 0.01, frame_fs: 1.0, temperature_k: 500}"
    own = ["--config", r"smiles=F/C=C\F", md, *preset]
    run = [target, "--cores", "1", *own]
    calls = [
        run,
        [target, "-n", *own],
        [target, "-n", "--config", "smiles=F/C=C/F", md, *preset],
        ["-n", *preset],
        ["results/md/gnn_water.xyz", "-n", *preset],
        [
            "results/md/gnn_a.xyz",
            "results/md/mlp_b.xyz",
            "-n",
            "--config",
            "molecules={a: C, b: NO}",
        ],
        *([target, *options, *preset] for target, options, _ in REFUSED),
    ]
    made, same, other, everything, water, two, *refused = snakemake_calls(
        folder, [(call, "") for call in calls]
    )
    assert "3 of 3 steps (100%) done" in made, made
    start = read(folder / "results/md/start/cis.xyz")
    assert start.get_distance(0, 3) < 3.2  # Å, fluorine to fluorine; trans: 3.5 Å
    summary = json.loads((folder / "results/md/gnn_cis.json").read_text())[0]
    assert (summary["molecule"], summary["temperature_k"]) == ("cis", 500)
    assert "Nothing to be done" in same, same
    assert [
        one
        for one in ("starting_structure", "run_md", "copy_pretrained")
        if f"rule {one}:" in other
    ] == ["starting_structure", "run_md"]
    assert "gnn_water" in everything
    assert "cis" not in everything
    assert "rule run_md:" in water
    assert two.count("rule run_md:") == 2
    for printed, (_, _, message) in zip(refused, REFUSED, strict=True):
        assert [line for line in printed.splitlines() if message in line], printed
        assert "Traceback" not in printed
