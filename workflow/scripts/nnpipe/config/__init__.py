"""config.yaml: checks, and the settings of one model or one molecule.

`python -m nnpipe.config --write` writes config.yaml, its JSON schema and its reference page.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ..data.sources import QM9_ELEMENTS, is_extxyz
from ..errors import InputError
from ..schema_errors import did_you_mean, missing, one_line
from ..structures.file_names import FORMATS, format_of
from .command_line import places_of_entry
from .sections import OWN, Config, TrainingSettings, Values, find_file
from .source import places, with_line


def check(config: Values) -> None:
    """Raise InputError, in one line that names the key, for the first value that is not valid."""
    _check_keys(config)
    _validate(Config, {key: config[key] for key in config if key not in OWN})
    required = {"models": dict.fromkeys(("gnn", "mlp")), "molecules": None}
    _check_complete(config, asdict(Config()) | required)
    train, test = config["split"]["train"], config["split"]["test"]
    chunks, wanted = config["labels"]["chunks"], config["evaluation"]["frequency_molecules"]
    if chunks > train and not own_data(config):
        raise InputError(f"config: labels.chunks: {chunks} is above split.train, {train}; lower it")
    if wanted > test and not own_data(config):
        raise InputError(
            f"config: evaluation.frequency_molecules: {wanted} is above split.test, {test};"
            " lower it"
        )
    _check_smarts("split.train_first", config["split"]["train_first"])
    _check_smarts("labels.smarts", config["labels"]["smarts"])
    _check_fragments(config)
    for name in config["models"]:
        _check_model(config, name)
    for model in config["md"]["models"]:
        if model not in config["models"]:
            close = did_you_mean(model, config["models"])
            raise InputError(f"config: md.models: {model!r} is not one of models; {close}")
    for name in config["molecules"]:
        _check_molecule(config, name)
    _check_own(config)
    _check_runs(config)


def check_files(config: Values, paths: Iterable[str | Path], entries: Iterable[str] = ()) -> None:
    """Check a configuration, the YAML or JSON files and the values of --config that it comes from.

    Raises InputError as `check` and `source.places`, with the file and the line where it can.
    """
    known = [*map(places, paths), *map(places_of_entry, entries)]
    try:
        check(config)
    except InputError as error:
        raise InputError(with_line(str(error), config, known)) from None


def training_of(config: Values, model: str) -> Values:
    """Return the training settings of a model: the general ones, replaced by its own."""
    return config["training"] | config["models"][model].get("training", {})


def architecture_of(config: Values, model: str) -> str:
    """Return the architecture of a model."""
    return config["models"][_origin(config, model)]["architecture"]


def hyperparameters_of(config: Values, model: str) -> Values:
    """Return the hyperparameters of a model; its cutoff is data.cutoff unless it has its own."""
    own = config["models"][_origin(config, model)].get("hyperparameters", {})
    return {"cutoff": config["data"]["cutoff"]} | own


def own_data(config: Values) -> bool:
    """Whether the data set is a file in extended xyz and not QM9."""
    return any(map(is_extxyz, config["data"]["sources"]))


def uses_labels(config: Values, model: str) -> bool:
    """Whether a model is trained on labelled geometries, and not on minima alone."""
    entry = config["models"][model]
    return entry["target"] == "energy" and entry.get("use_labels", True) and not own_data(config)


def structure_of(config: Values, molecule: str) -> str:
    """Return the SMILES or path of a molecule."""
    return _md(config, molecule)["structure"]


def models_of(config: Values, molecule: str) -> list[str]:
    """Return the models that simulate a molecule in a run without a target."""
    return _md(config, molecule)["models"]


def md_of(config: Values, molecule: str) -> Values:
    """Return the MD settings of a molecule: the general ones, replaced by its own."""
    settings = _md(config, molecule)
    return {key: settings[key] for key in settings if key not in ("models", "structure")}


def own_structure(config: Values) -> str | None:
    """Return the SMILES or path of the molecule of the command line, or None without one."""
    return next((config[key] for key in OWN if key in config), None)


def _md(config: Values, molecule: str) -> Values:
    entry = config["molecules"].get(molecule, own_structure(config))
    return config["md"] | ({"structure": entry} if isinstance(entry, str) else entry)


def _origin(config: Values, model: str) -> str:
    """Return the model at the end of the chain of init_from, which has the architecture."""
    while start := config["models"][model].get("init_from"):
        model = start
    return model


def _validate(kind: type, values: Values, where: str = "") -> None:
    try:
        TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise InputError(f"config: {one_line(error, kind, where)}") from None


def _check_keys(config: Values) -> None:
    """Say of an unknown key where it belongs; the validation names all others."""
    sections = asdict(Config())
    for key in set(map(str, config)) - {*sections, *OWN}:
        (close,) = get_close_matches(key.lower(), [*sections, *OWN], 1) or [""]
        if close in OWN:
            raise InputError(f"config: unknown key {key!r}; did you mean {close!r}?")
        for name in ("md", "training", "labels", "data", "split", "evaluation", "resources"):
            if key in sections[name]:
                raise InputError(
                    f"config: unknown key {key!r}; it is a key of {name}, as in --config"
                    f" {name}='{{{key}: ...}}'"
                )


def _check_complete(values: Values, defaults: Values, where: str = "config: ") -> None:
    """Rules read every key that has a default, in the configuration itself."""
    for key, default in defaults.items():
        if key not in values:
            raise InputError(f"{where}{missing(key)}")
        if isinstance(default, dict):
            _check_complete(values[key], default, f"{where}{key}: ")


def _check_model(config: Values, name: str) -> None:
    _check_init_from(config["models"], name)
    if own_data(config) and config["models"][name]["target"] != "energy":
        raise InputError(
            f"config: models.{name}.target: a data set in extended xyz has energy only, not"
            f" {config['models'][name]['target']!r}; remove that model, or its target is energy"
        )
    _validate(TrainingSettings, training_of(config, name), f"models.{name}.training")
    _check_pretrained(config, name)
    cutoff, stored = hyperparameters_of(config, name)["cutoff"], config["data"]["cutoff"]
    if not 0 < cutoff <= stored:
        raise InputError(
            f"config: models.{name}.hyperparameters.cutoff: {cutoff!r} is not in (0, {stored}],"
            " the range up to data.cutoff; lower it or raise data.cutoff"
        )


def _check_pretrained(config: Values, name: str) -> None:
    """A model that was trained before is the one that the configuration describes."""
    if not (folder := config["models"][name].get("pretrained")):
        return
    path = find_file(f"{folder}/model.json")
    try:
        info = json.loads(path.read_text())
        held = {key: info[key] for key in ("architecture", "target", "hyperparameters")}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"config: models.{name}.pretrained: {path} is damaged ({error!r}); copy it again"
        ) from None
    asked = {
        "architecture": architecture_of(config, name), "target": config["models"][name]["target"],
        "hyperparameters": hyperparameters_of(config, name),
    }  # fmt: skip
    for key, value in held.items():
        if value != asked[key]:
            raise InputError(
                f"config: models.{name}.pretrained: {path} has {key} {value!r}, the configuration"
                f" {asked[key]!r}; make them the same"
            )


def _check_init_from(models: Values, name: str) -> None:
    """A chain of init_from ends, and every model of it has what it inherits."""
    chain = [name]
    while start := models[chain[-1]].get("init_from"):
        where = f"config: models.{chain[-1]}.init_from: {start!r}"
        if start not in models:
            raise InputError(f"{where} is not one of models; {did_you_mean(start, models)}")
        if start in chain:
            raise InputError(f"{where} leads back to itself; remove one init_from")
        chain.append(start)
    for key in ("architecture", "hyperparameters"):
        own = models[name].get(key, inherited := models[chain[-1]].get(key))
        if own != inherited:
            raise InputError(
                f"config: models.{name}.{key}: {own!r} is not the {key} of {chain[-1]!r}, whose"
                f" weights it starts from; remove {key}"
            )


def _check_structure(config: Values, name: str, where: str) -> None:
    """Check what can be checked without a geometry, if the libraries for it are installed."""
    try:
        from ..structures.checks import check_timestep
        from ..structures.load import atomic_numbers
    except ImportError:  # a host with Snakemake only: rule starting_structure checks
        return
    try:
        own = own_data(config)
        numbers = atomic_numbers(structure_of(config, name), None if own else QM9_ELEMENTS, not own)
        check_timestep(numbers, md_of(config, name)["timestep_fs"])
    except ImportError:
        return
    except InputError as error:
        raise InputError(f"config: {where}: {error}") from None


def _check_smarts(key: str, patterns: Iterable[str]) -> None:
    """Check patterns, if RDKit is installed."""
    try:
        from ..structures.smiles import matches

        for smarts in patterns:
            matches([], smarts)
    except ImportError:
        return
    except InputError as error:
        raise InputError(f"config: {key}: {error}") from None


def _check_fragments(config: Values) -> None:
    """Check the molecules that QM9 lacks, if they are labelled and RDKit is installed."""
    labels = config["labels"]
    if labels["method"] != "teacher" or not labels["fragments"] or own_data(config):
        return
    try:
        from ..structures.smiles import read_smiles

        read_smiles(find_file(labels["fragments"]), QM9_ELEMENTS)
    except ImportError:
        return
    except InputError as error:
        raise InputError(f"config: labels.fragments: {error}") from None


def _check_own(config: Values) -> None:
    """Check the molecule of the command line, whose name is not known here."""
    given = [key for key in OWN if key in config]
    if len(given) > 1:
        raise InputError(f"config: {' and '.join(given)} are both given; keep one")
    for key in given:
        if not isinstance(text := config[key], str):
            raise InputError(f"config: {key}: {text!r} is not text; put it in quotes")
        if not text.strip():
            raise InputError(f"config: {key}: is empty; give a {key.replace('smiles', 'SMILES')}")
        if key == "smiles" and format_of(text) in FORMATS:
            raise InputError(
                f"config: smiles: {text!r} is the path of a structure file; give it as"
                f" structure={text}"
            )
        _check_structure(config, "", key)


def _check_molecule(config: Values, name: str) -> None:
    _check_structure(config, name, f"molecules.{name}")
    for model in models_of(config, name):
        if model not in config["models"]:
            close = did_you_mean(model, config["models"])
            raise InputError(f"config: molecules.{name}: no model {model!r}; {close}")
        if config["models"][model].get("target") != "energy":
            raise InputError(
                f"config: molecules.{name}: model {model!r} does not predict energy, which dynamics"
                " need; use one with target: energy"
            )


def _check_runs(config: Values) -> None:
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
