"""Values that follow --config, as they were typed.

Snakemake reads `smiles=1e5` as a number and `md={temperature_k: 500}` as text, and passes an entry
on to each job with its backslashes doubled.
"""

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import yaml

from ..errors import InputError
from .sections import OWN, Config, Values
from .source import Place, places_in

SECTIONS = [field.name for field in fields(Config)]


def as_typed(config: Values, entries: Sequence[str]) -> Values:
    """Return a configuration with the values of `entries`, `key=value`, as they were typed.

    `config` has these values as Snakemake reads them. Values in sections are YAML, in which the
    structures of molecules stay text: `{x: NO}` is nitroxyl, and not false.

    Raises InputError for an entry that is not YAML or that YAML reads otherwise than it looks.
    """
    config = dict(config)
    for entry in entries:
        key, text = _split(entry)
        if not text.isprintable():
            raise InputError(
                f"--config {key}: {text!r} has a line break or another character that Snakemake"
                " cannot pass on to its jobs; remove it"
            )
        if '"' in text and "'" in text:
            raise InputError(
                f"--config {key}: ' and \" in one value, which Snakemake cannot pass on to its"
                " jobs; use one of them"
            )
        if key in OWN and key in config:
            config[key] = _single(text)
        elif key in SECTIONS and key in config:
            places_in(text, f"--config {key}", key)
            base, typed = yaml.load(text, yaml.BaseLoader), yaml.safe_load(text)
            if key == "molecules":
                typed = _with_text(base, typed)
            config[key] = _replaced(config[key], base, typed)
    return config


def places_of_entry(entry: str) -> dict[str, Place]:
    """Return the place of each value of an entry: no line of the command line."""
    key, text = _split(entry)
    if key not in SECTIONS:
        return {key: Place("--config", 0, "", _single(text))}
    return {
        where: Place("--config", 0, "", place.value)
        for where, place in places_in(text, f"--config {key}", key).items()
    }


def _split(entry: str) -> tuple[str, str]:
    """Return the key and the text of an entry, without the quotes that Snakemake leaves out."""
    key, _, text = entry.partition("=")
    return key, text.strip("'\"")


def _replaced(value: Any, base: Any, typed: Any) -> Any:
    """Return `value` with `typed` in the place of `base`, what Snakemake read."""
    if isinstance(value, dict) and isinstance(base, dict) and isinstance(typed, dict):
        return {
            key: _replaced(old, base[key], typed[key]) if key in base and key in typed else old
            for key, old in value.items()
        }
    return typed if value == base else value


def _with_text(base: Any, typed: Any) -> Any:
    """Return the section `molecules` with its structures as text."""
    if not isinstance(base, dict) or not isinstance(typed, dict):
        return typed
    molecules: Values = {}
    for name, entry in typed.items():
        if isinstance(entry, dict) and isinstance(base[name].get("structure"), str):
            molecules[name] = entry | {"structure": _single(base[name]["structure"])}
        else:
            molecules[name] = _single(base[name]) if isinstance(base[name], str) else entry
    return molecules


def _single(text: str) -> str:
    """Undo the doubling of backslashes, of which a SMILES has no two in a row."""
    return re.sub(r"\\+", r"\\", text)
