"""One-line messages for settings that are not valid: where, value, remedy."""

import difflib
import math
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

STAGES = "stages, e.g. stages: [{epochs: 9}, {epochs: 2, minima_passes: 10, force_weight: 0.1}]"
RENAMED = {  # keys of earlier versions
    "smallest": "always_train_smallest",
    "coldest_k": "temperature_min_k",
    "hottest_k": "temperature_max_k",
    "torsions": "torsion_fraction",
    "strains": "strain_fraction",
    "huber": "energy_huber_delta",
    "force_huber": "force_huber_delta",
    "start": "init_from",
    "labels": "use_labels",
    "epochs": STAGES,
    "late_epochs": STAGES,
    "late_minima_passes": STAGES,
    "late_force_weight": STAGES,
}
MESSAGES = {  # by pydantic's type of error
    "bool_type": "{value!r} is not true or false",
    "dataclass_type": "{value!r} is not a mapping of keys to values",
    "dict_type": "{value!r} is not a mapping of keys to values",
    "finite_number": "{value!r} is not a finite number",
    "float_type": "{value!r} is not a number",
    "greater_than": "{value!r} is not above the limit of {gt}",
    "greater_than_equal": "{value!r} is below the minimum of {ge}",
    "int_type": "{value!r} is not an integer",
    "less_than": "{value!r} is not below the limit of {lt}",
    "less_than_equal": "{value!r} is above the maximum of {le}",
    "literal_error": "{value!r} is not one of {expected}",
    "string_too_short": "{value!r} is empty; give a text",
    "string_type": "{value!r} is not text; put it in quotes",
    "too_short": "{value!r} is empty; give at least one",
    "tuple_type": "{value!r} is not a list",
}


def one_line(error: ValidationError, kind: Any, where: str = "") -> str:
    """Return the first problem of a section `kind`, read at `where`: unknown keys come first."""
    unknown = ("unexpected_keyword_argument", "invalid_key")
    first = min(error.errors(include_url=False), key=lambda found: found["type"] not in unknown)
    path, value, context = list(first["loc"]), first["input"], first.get("ctx", {})
    schema = _json_schema(kind)
    if path and path[-1] == "[key]":
        message = "is not text; put it in quotes"
        if isinstance(value, str):
            message = "must be letters, digits, _ or -, a letter first"
        path, message = path[:-2], f"name {value!r} {message}"
    elif first["type"] in unknown and not isinstance(path[-1], str):
        path.pop()
        message = "a key is not text, as YAML reads NO, on and 3 as values; put it in quotes"
    elif first["type"] in unknown:
        key, known = str(path.pop()), _at(path, schema)["properties"]
        if RENAMED.get(key, "").split(",")[0] in known:
            path, message = [*path, key], f"renamed to {RENAMED[key]}"
        else:
            message = f"unknown key {key!r}; {did_you_mean(key, known)}"
    elif first["type"] == "missing":
        message = missing(path.pop())
    elif first["type"] == "value_error":
        message = str(context["error"])
    elif first["type"] == "string_pattern_mismatch":
        examples = map(str, _at(path, schema)["examples"])
        message = f"{value!r} is not one of {', '.join(examples)}"
    elif value is None:
        message = "is empty; give a value, or remove the key"
    else:
        message = MESSAGES.get(first["type"], "{value!r} is not valid")
        message = message.format(value=value, **context)
        message += _number_hint(value, first["type"])
    dotted = ".".join([where, *map(str, path)] if where else map(str, path))
    # a check of a whole section names the key that it is about
    joint = "." if first["type"] == "value_error" and re.match(r"[\w.-]+: ", message) else ": "
    return f"{dotted}{joint}{message}" if dotted else message


def missing(key: Any) -> str:
    """Return the message for a key that is required."""
    return f"{key!r} is missing; config.yaml shows it"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the most similar of the known words, or all if none is similar."""
    close = difflib.get_close_matches(word, known := list(known), 1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


@cache
def _json_schema(kind: Any) -> dict[str, Any]:
    return TypeAdapter(kind).json_schema()


def _at(path: list[int | str], schema: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a JSON schema that describes what stands at `path`."""
    node = schema
    for part in [None, *path]:
        if part is not None:
            named = node.get("patternProperties", {}).values()
            node = node.get("properties", {}).get(part) or node.get("items") or next(iter(named))
        node = next((one for one in node.get("anyOf", []) if "$ref" in one), node)
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].split("/")[-1]]
    return node


def _number_hint(value: Any, kind: str) -> str:
    """YAML reads 1e-3 as text and 1.0e+3 as a float: return how to write it."""
    if not re.fullmatch(r"[-+]?\d+\.?\d*(e[-+]?\d+)?", str(value), re.IGNORECASE):
        return ""
    number = float(value)
    if kind == "int_type" and number.is_integer():
        return f"; write {int(number)}"
    if kind == "float_type" and math.isfinite(number):
        return f"; write {number}" if "." in str(number) else f"; write {number:.1e}"
    return ""
