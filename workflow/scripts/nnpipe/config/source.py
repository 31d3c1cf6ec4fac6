"""The text of configuration files: the line of each value, and the traps of YAML."""

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError

TEXT, MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
SPECIAL = "put text with one of [ ] { } # : @ % * & ! in quotes"
# a comment that could be the rest of a SMILES, as in `C #N`
CUT_SMILES = re.compile(r" #[A-Zbcnops\d()=\[\]@+\-.#/\\%]+(\s|$)")


@dataclass(frozen=True)
class Place:
    """Where a value stands, and how it is written."""

    file: str
    line: int  # 0: none
    written: str  # a plain scalar; empty for all others
    value: Any  # a scalar as YAML reads it; None for all others


def places(path: str | Path) -> dict[str, Place]:
    """Return the place of each value of a YAML or JSON file, by its keys joined with dots.

    Raises InputError, with the line, for: a file that is not UTF-8 or does not parse; a key that is
    given twice, of which YAML would keep the last; a key that YAML reads as a truth value, a number
    or null; a number to base 60 or 8; a SMILES that is cut at ` #`.
    """
    content = Path(path).read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {line}: not UTF-8; save the file as UTF-8") from None
    try:
        json.loads(text)
        text = text.expandtabs()  # JSON is YAML apart from its tabs
    except ValueError:
        pass
    return places_in(text, str(path))


def places_in(text: str, path: str, where: str = "") -> dict[str, Place]:
    """Return the place of each value of a text in YAML, which is the value of the key `where`.

    Raises the errors of `places`.
    """
    lines = text.splitlines()
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        return dict(_walk(loader, root, path, lines, where))
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark or error.context_mark, error.problem or ""
        number = min(mark.line, len(lines) - 1) if mark else 0
        remedy = "indent with spaces" if "\\t" in problem else SPECIAL
        shown = textwrap.shorten(lines[number], 60)
        raise InputError(
            f"{path}: line {number + 1}: {shown!r} is not YAML ({problem}); {remedy}"
        ) from None
    except yaml.YAMLError as error:  # a character that YAML forbids
        raise InputError(f"{path}: {' '.join(str(error).split())}; remove it") from None


def with_line(message: str, config: dict[str, Any], known: list[dict[str, Place]]) -> str:
    """Return an error of a configuration, `config: key: ...`, with file and line of that key.

    `known` are the places of its files. The message stays as it is if none has this value.
    """
    text = message.removeprefix("config: ")
    unknown = re.match(r"(?:([\w.-]+): )?unknown key '([^']+)'", text)
    if unknown:
        text = f"{'.'.join(filter(None, unknown.groups()))}: {text}"
    keys = {key for found in known for key in found if text.startswith((f"{key}:", f"{key}."))}
    if not keys:
        return message
    key, value, text = max(keys, key=len), config, message.removeprefix("config: ")
    try:
        for part in key.split("."):
            value = value[int(part)] if isinstance(value, list) else value[part]
    except (LookupError, TypeError, ValueError):  # a key with a dot
        return message
    found = [one[key] for one in known if key in one]
    for place in found[::-1]:
        if len(found) == 1 if isinstance(value, dict | list) else value == place.value:
            if isinstance(value, bool) and place.written.lower() != str(value).lower():
                text += f" (YAML reads {place.written} as {str(value).lower()})"
            line = f"line {place.line}: " if place.line else ""
            return f"{place.file}: {line}{text}"
    return message


def _walk(
    loader: yaml.SafeLoader,
    node: yaml.Node | None,
    path: str,
    lines: list[str],
    where: str = "",
    line: int = 1,
) -> Iterator[tuple[str, Place]]:
    if node is None:  # an empty file
        return
    plain = isinstance(node, yaml.ScalarNode) and not node.style
    at, value = f"{path}: line {line}", None
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_object(node)
        if plain and isinstance(value, int | float) and re.match(r"[-+]?(0\d|\d+:)", node.value):
            raise InputError(
                f"{at}: {where}: YAML reads {node.value} to base {60 if ':' in node.value else 8},"
                f" as {value}; write a decimal number, or put text in quotes"
            )
        if plain and where.startswith("molecules."):
            cut = CUT_SMILES.match(lines[node.end_mark.line][node.end_mark.column :])
            if cut:
                raise InputError(
                    f"{at}: {where}: YAML ends the text at ' #'; put"
                    f" '{(node.value + cut[0]).strip()}' in quotes, or a space after #"
                )
    if where:
        yield where, Place(path, line, node.value if plain else "", value)
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _walk(
                loader, item, path, lines, f"{where}.{number}".strip("."), item.start_mark.line + 1
            )
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, item in node.value:
            if key.tag == MERGE:
                continue
            line = key.start_mark.line + 1
            at = f"{path}: line {line}"
            if not isinstance(key, yaml.ScalarNode):
                raise InputError(f"{at}: a key is a list or a mapping; put it in quotes")
            if key.tag != TEXT:
                raise InputError(
                    f"{at}: YAML reads the key {key.value} as"
                    f" {json.dumps(loader.construct_object(key), default=str)}, which is not text;"
                    f" put it in quotes: '{key.value}'"
                )
            name = f"{where}.{key.value}".strip(".")
            if name in seen:
                raise InputError(f"{at}: key '{name}' is given twice; keep one")
            seen.add(name)
            yield from _walk(loader, item, path, lines, name, line)
