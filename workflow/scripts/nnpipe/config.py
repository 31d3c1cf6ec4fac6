"""What config.yaml may say, and what it says about one model or one molecule."""

import ast
import difflib
import math
import re
from pathlib import Path
from typing import Any

from .errors import InputError
from .models.registry import MODELS

Config = dict[str, Any]
SOURCES = ("figshare", "qm9pack")
REPOSITORY = Path(__file__).parents[3]
QM9_ELEMENTS = [1, 6, 7, 8, 9]


def check(config: Config, schema: Config) -> None:
    """Raise InputError, in one line that names the key, for the first thing that cannot be."""
    import jsonschema

    for section in ("models", "molecules"):
        for name in config.get(section) or ():
            if not isinstance(name, str):  # YAML takes NO for False
                raise InputError(f"config: {section}: name {name!r} is no text; put it in quotes")
    plain = jsonschema.Draft202012Validator
    types = plain.TYPE_CHECKER.redefine("integer", lambda _, value: _is_integer(value))
    validator = jsonschema.validators.extend(plain, type_checker=types)(schema)
    error = jsonschema.exceptions.best_match(validator.iter_errors(config))
    if error:
        raise InputError(f"config: {_explain(error, schema)}")
    _check_finite(config, "config: ")
    for source in config["data"]["sources"]:
        if source not in SOURCES and not find_file(source).is_file():
            raise InputError(
                f"config: data.sources: {source!r} is neither {' nor '.join(SOURCES)} nor a file"
            )
    if own_data(config) and len(config["data"]["sources"]) > 1:
        raise InputError("config: data.sources: a data set in extended xyz stands by itself there")
    _check_labels(config["labels"])
    train = config["split"]["train"]
    for section, key in (("labels", "chunks"), ("split", "smallest")):
        if config[section][key] > train and (section == "split" or not own_data(config)):
            raise InputError(
                f"config: {section}.{key}: {config[section][key]} is above split.train, {train};"
                " lower it"
            )
    gpus, nodes = config["resources"]["gpus"], config["resources"]["nodes"]
    if gpus % nodes:
        raise InputError(
            f"config: resources.gpus: {gpus} cannot be spread evenly over {nodes} nodes;"
            f" take {nodes * max(1, gpus // nodes)}"
        )
    if gpus > 1 and ":" in config["resources"]["device"]:
        raise InputError(
            f"config: resources.device: {config['resources']['device']!r} is one GPU,"
            f" resources.gpus is {gpus}; write cuda"
        )
    wanted, held = config["evaluation"]["frequency_molecules"], config["split"]["test"]
    if wanted > held and not own_data(config):
        raise InputError(
            f"config: evaluation.frequency_molecules: {wanted} is above split.test, {held};"
            " lower it"
        )
    for name, model in config["models"].items():
        _check_model(f"config: models.{name}", model)
        if own_data(config) and model["target"] != "energy":
            raise InputError(
                f"config: models.{name}.target: a data set in extended xyz has energy only, not"
                f" {model['target']!r}; take that model out of config.yaml, or its target energy"
            )
        _check_start(config["models"], name)
        _check_training(config, name)
    for model in config["md"]["models"]:
        if model not in config["models"]:
            raise InputError(
                f"config: md.models: {model!r} is none of models; {_close(model, config['models'])}"
            )
    for name in config["molecules"]:
        _check_molecule(config, name)
    _check_runs(config)


def check_keys(path: str | Path) -> None:
    """Raise InputError if a key stands twice in a YAML file, where the last would silently win."""
    import yaml

    todo = [("", yaml.compose(Path(path).read_text()))]
    while todo:
        where, node = todo.pop()
        if not isinstance(node, yaml.MappingNode):
            continue
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{path}: key '{where}{name}' stands there twice; keep one")
        todo += [(f"{where}{key.value}.", value) for key, value in node.value]


def find_file(path: str) -> Path:
    """Return the path of a file in the working directory or, if it is not there, the repository."""
    return Path(path) if Path(path).exists() else REPOSITORY / path


def training_of(config: Config, model: str) -> Config:
    """Training settings of a model: the common ones under its own."""
    return config["training"] | config["models"][model].get("training", {})


def hyperparameters_of(config: Config, model: str) -> Config:
    """Hyperparameters of a model, the data's cutoff unless it has a smaller one of its own."""
    return {"cutoff": config["data"]["cutoff"]} | config["models"][model].get("hyperparameters", {})


def own_data(config: Config) -> bool:
    """Whether the data set is a file in extended xyz and not QM9."""
    return any(source.endswith((".xyz", ".extxyz")) for source in config["data"]["sources"])


def uses_labels(config: Config, model: str) -> bool:
    """Whether a model is trained on geometries off QM9's minima, and not on minima alone."""
    entry = config["models"][model]
    return entry["target"] == "energy" and entry.get("labels", True) and not own_data(config)


def structure_of(config: Config, molecule: str) -> str:
    """SMILES or path of a molecule."""
    entry = config["molecules"][molecule]
    return entry if isinstance(entry, str) else entry["structure"]


def models_of(config: Config, molecule: str) -> list[str]:
    """Models that run a molecule when no target is named."""
    return _md(config, molecule)["models"]


def md_of(config: Config, molecule: str) -> Config:
    """MD settings of a molecule: the common ones under its own."""
    settings = _md(config, molecule)
    return {key: settings[key] for key in settings if key not in ("models", "structure")}


def _md(config: Config, molecule: str) -> Config:
    entry = config["molecules"][molecule]
    return config["md"] | ({} if isinstance(entry, str) else entry)


def model_file(architecture: str) -> str:
    """The file of an architecture, from the folder of the scripts."""
    return f"nnpipe/models/{MODELS[architecture].split('.')[0]}.py"


def _explain(error: Any, schema: Config) -> str:
    """A schema error in words: where, what, and what to do."""
    where = "".join(f"{part}: " for part in [".".join(map(str, error.absolute_path))] if part)
    value, wanted = error.instance, error.validator_value
    if error.validator in ("additionalProperties", "unevaluatedProperties"):
        shared = schema["$defs"].get(error.schema.get("$ref", "").split("/")[-1], {})
        known = error.schema.get("properties", {}) | shared.get("properties", {})
        key = next(key for key in value if key not in known)
        return f"{where}unknown key {key!r}; {_close(key, known)}"
    if error.validator == "required":
        missing = next(key for key in wanted if key not in value)
        return f"{where}{missing!r} is missing; config.yaml shows it"
    if "propertyNames" in error.absolute_schema_path:
        return f"{where}name {value!r} must be letters, digits, _ or -, a letter first"
    if error.validator == "enum":
        return f"{where}{value!r} is none of {', '.join(map(str, wanted))}"
    hint = ""
    if error.validator == "type" and re.fullmatch(r"[-+]?\d+\.?\d*(e[-+]?\d+)?", str(value)):
        number = float(value)  # YAML takes 1e-3 for a text and 1.0e+3 for a float
        if wanted == "integer" and number.is_integer():
            hint = f"; write {int(number)}"
        elif wanted == "number":
            hint = f"; write {number}" if "." in str(number) else f"; write {number:.1e}"
    return f"{where}{error.message}{hint}"


def _is_integer(value: Any) -> bool:
    """As Python has it: 3.0 would not do as the length of anything."""
    return isinstance(value, int) and not isinstance(value, bool)


def _close(word: str, known: Any) -> str:
    close = difflib.get_close_matches(str(word), list(map(str, known)), 1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(map(str, known))}"


def _check_finite(value: Any, where: str) -> None:
    """Schemas let nan and inf pass."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_finite(inner, f"{where}{key}: ")
    elif isinstance(value, list):
        for inner in value:
            _check_finite(inner, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}{value} is no finite number; give one")


def _check_training(config: Config, name: str) -> None:
    training = training_of(config, name)
    weights = ["force_weight"] + ["late_force_weight"] * (training["late_epochs"] > 0)
    for weight in weights:
        if training["energy_weight"] == training[weight] == 0:
            raise InputError(
                f"config: models.{name}: energy_weight and {weight} are both 0; raise one"
            )
    cutoff, held = hyperparameters_of(config, name)["cutoff"], config["data"]["cutoff"]
    if not isinstance(cutoff, int | float) or not 0 < cutoff <= held:
        raise InputError(
            f"config: models.{name}.hyperparameters.cutoff: {cutoff!r} is not in (0, {held}],"
            " the last being data.cutoff; lower it or raise data.cutoff"
        )


def _check_runs(config: Config) -> None:
    """Files of dynamics are named {model}_{molecule}: two runs may not have one name."""
    seen: dict[str, str] = {}
    for model in config["models"]:
        for molecule in config["molecules"]:
            run = f"{model}_{molecule}"
            if run in seen:
                raise InputError(
                    f"config: molecules: {seen[run]!r} and {molecule!r} both make {run}.xyz with"
                    " models of these names; rename one"
                )
            seen[run] = molecule


def _check_labels(labels: Config) -> None:
    if labels["coldest_k"] > labels["hottest_k"]:
        raise InputError(
            f"config: labels.coldest_k: {labels['coldest_k']} is above hottest_k,"
            f" {labels['hottest_k']}; lower it"
        )
    if labels["torsions"] + labels["strains"] > 1:
        raise InputError(
            f"config: labels.torsions: {labels['torsions']} and strains, {labels['strains']}, are"
            " more than all geometries; lower one"
        )


def _check_model(where: str, model: Config) -> None:
    architecture = model["architecture"]
    if architecture not in MODELS:
        raise InputError(
            f"{where}.architecture: {architecture!r} is not there; {_close(architecture, MODELS)}"
        )
    tree = ast.parse((Path(__file__).parents[1] / model_file(architecture)).read_text())
    name = MODELS[architecture].split(".")[1]
    (model_class,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    init = next(
        n for n in model_class.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"
    )
    known = {a.arg: a.annotation and ast.unparse(a.annotation) for a in init.args.args[1:]}
    for key, value in model.get("hyperparameters", {}).items():
        if key not in known:
            raise InputError(f"{where}.hyperparameters: unknown key {key!r}; {_close(key, known)}")
        if known[key] == "int" and not (_is_integer(value) and value >= 0):
            raise InputError(f"{where}.hyperparameters.{key}: {value!r} is no whole number from 0")
    folder = model.get("pretrained")
    if folder is not None and not find_file(f"{folder}/model.json").is_file():
        raise InputError(
            f"{where}.pretrained: {folder!r} has no model.json; give a folder as results/models has"
        )


def _check_start(models: Config, name: str) -> None:
    """A model starts from another of its kind, and in the end from none."""
    seen, now = [name], models[name]
    while start := now.get("start"):
        where = f"config: models.{seen[-1]}.start: {start!r}"
        if start not in models:
            raise InputError(f"{where} is none of models; {_close(start, models)}")
        if start in seen:
            raise InputError(f"{where} starts from itself in the end; leave one start out")
        seen.append(start)
        now = models[start]
        for key in ("architecture", "hyperparameters"):
            if now.get(key) != models[name].get(key):
                raise InputError(f"{where} has other {key}; make them the same")


def _check_molecule(config: Config, name: str) -> None:
    """Check what can be checked without making a geometry, where the libraries for it are there."""
    try:
        from .structures.load import atomic_numbers, check_supported_elements, check_timestep
    except ImportError:  # a host with Snakemake only: rule `starting_structure` checks
        return
    try:
        numbers = atomic_numbers(structure_of(config, name))
        if not own_data(config):
            check_supported_elements(numbers, QM9_ELEMENTS)
        check_timestep(numbers, md_of(config, name)["timestep_fs"])
    except ImportError:
        return
    except InputError as error:
        raise InputError(f"config: molecules.{name}: {error}") from None
    for model in models_of(config, name):
        if config["models"].get(model, {}).get("target") != "energy":
            raise InputError(
                f"config: molecules.{name}: model {model!r} does not predict energy,"
                " which atoms move on; take one with target: energy"
            )
