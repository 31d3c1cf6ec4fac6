"""Write config.yaml, its JSON schema and its reference page: `python -m nnpipe.config --write`.

Without --write, name the files that differ from the sections, and exit with 1 if there are any.
`python -m nnpipe.config FILE` names the line of a configuration file that YAML cannot read, or
reads otherwise than it looks.
"""

import json
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import yaml
from pydantic import TypeAdapter

from ..errors import InputError
from ..schema_errors import RENAMED
from .sections import REPOSITORY, Config
from .source import places

COMMAND = "python -m nnpipe.config --write"
COLUMN, WIDTH = 34, 110  # where comments of config.yaml begin and end
SCHEMA = "workflow/schemas/config.schema.yaml"
PAGE = "docs/reference/configuration.md"
HEADER = f"""\
# Settings of the workflow. Edit the values here, or replace some of them with --configfile.
# Reference: {PAGE}. Defaults and comments are generated: {COMMAND}
# yaml-language-server: $schema={SCHEMA}
"""
PAGE_HEADER = f"""\
# Configuration

`config.yaml` lists every setting with its default. A file after `--configfile` replaces some of the
values, see [presets](presets.md), and so does `--config`: `--config md='{{temperature_k: 500}}'`.
`--config smiles='...'` or `--config structure=FILE` gives
[a molecule of your own](../tutorial/own-molecule.md). An unknown key, a value out of bounds or an
invalid combination stops Snakemake with a one-line message before the first job. In Python,
`Settings()` of `nnpipe.training.settings`, `nnpipe.simulation.settings` and
`nnpipe.labelling.settings` have the same defaults.

% This page is generated from the sections in workflow/scripts/nnpipe: {COMMAND}
"""


def files() -> dict[str, str]:
    """Return the content of the generated files by their path in the repository."""
    return {"config.yaml": config_yaml(), SCHEMA: schema_yaml(), PAGE: reference_page()}


def differing() -> dict[str, str]:
    """Return the generated files whose content differs from what the sections give."""
    found = {}
    for name, text in files().items():
        path = REPOSITORY / name
        if not path.is_file() or path.read_text() != text:
            found[name] = text
    return found


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of config.yaml."""
    schema = _pruned(TypeAdapter(Config).json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_yaml() -> str:
    """Return the JSON schema as YAML."""
    return f"# Generated: {COMMAND}\n" + yaml.safe_dump(
        json_schema(), sort_keys=False, allow_unicode=True, width=WIDTH
    )


def config_yaml() -> str:
    """Return config.yaml: every default with a comment."""
    schema, values = json_schema(), _pruned(json.loads(json.dumps(asdict(Config()))))
    lines = HEADER.splitlines()
    for name, node in schema["properties"].items():
        content = _resolved(node, schema)
        lines += ["", *_entry("", name, None, node.get("description", content.get("description")))]
        if name == "models":
            seen: set[str] = set()
            model = schema["$defs"]["Model"]["properties"]
            for key, settings in values[name].items():
                lines += [f"  {key}:"]
                for inner, value in settings.items():
                    comment = "" if inner in seen else _comment(model[inner])
                    lines += _entry("    ", inner, value, comment)
                seen |= set(settings)
            continue
        for key, value in values[name].items():
            lines += _entry("  ", key, value, _comment(content.get("properties", {}).get(key, {})))
    return "\n".join(lines) + "\n"


def reference_page() -> str:
    """Return the reference page: one table per section."""
    schema = json_schema()
    tables = [PAGE_HEADER]
    for title, node in _sections(schema):
        rows = [f"| {' | '.join(row)} |" for row in _rows(node)]
        head = ["| key | unit | default | allowed | meaning |", "| --- | --- | --- | --- | --- |"]
        tables.append("\n".join([f"## `{title}`", "", node["description"], "", *head, *rows, ""]))
    renamed = [f"| `{old}` | `{new.split(',')[0]}` |" for old, new in RENAMED.items()]
    head = ["## Renamed keys", "", "| key of 0.1.0 | new key |", "| --- | --- |"]
    return "\n".join([*tables, *head, *renamed, ""])


def _sections(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Titles of the tables and the parts of the schema that they show."""
    for name, node in schema["properties"].items():
        content = _resolved(node, schema)
        if "patternProperties" in content:
            (entry,) = content["patternProperties"].values()
            (reference,) = [one for one in entry.get("anyOf", [entry]) if "$ref" in one]
            entry = _resolved(reference, schema)
            if name == "molecules":  # the keys of md are in the table of md
                entry = entry | {"properties": {"structure": entry["properties"]["structure"]}}
            yield f"{name}.<name>", entry | {"description": node["description"]}
            continue
        yield name, content | {"description": node.get("description", content.get("description"))}
        for key, inner in content["properties"].items():
            nested = _resolved(inner.get("items", inner), schema)
            if "properties" in nested:
                yield f"{name}.{key}" + "[]" * ("items" in inner), nested


def _rows(node: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, one in node["properties"].items():
        default = f"`{_flow(one['default'])}`" if "default" in one else "–"
        if key in node.get("required", []):
            default = "required"
        yield f"`{key}`", one.get("unit", ""), default, _allowed(one), one.get("description", "")


def _allowed(node: dict[str, Any]) -> str:
    node = next((one for one in node.get("anyOf", []) if one.get("type") != "null"), node)
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    if choices := node.get("enum", node.get("examples")):
        return ", ".join(f"`{one}`" for one in choices)
    kind = {"array": "list", "object": "mapping", "string": "text", "boolean": "`true`, `false`"}
    words = [kind.get(node.get("type", "object"), node.get("type", ""))]
    return ", ".join([*words, *(f"{signs[key]} {node[key]:.10g}" for key in signs if key in node)])


def _entry(indent: str, key: str, value: Any, comment: str) -> list[str]:
    """Lines of a key, with its comment beside it or, if the line is long, above it."""
    line = f"{indent}{key}:" + ("" if value is None else f" {_flow(value)}")
    if not comment:
        return [line]
    if len(line) >= COLUMN:
        wrapped = textwrap.wrap(comment, WIDTH - len(indent) - 2)
        return [*(f"{indent}# {part}" for part in wrapped), line]
    first, *more = textwrap.wrap(comment, WIDTH - COLUMN - 2)
    return [f"{line:<{COLUMN}}# {first}", *(f"{'':<{COLUMN}}# {part}" for part in more)]


def _comment(node: dict[str, Any]) -> str:
    unit = f"[{node['unit']}] " if "unit" in node else ""
    return unit + node.get("description", "")


def _flow(value: Any) -> str:
    """A value in one line of YAML."""
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return schema["$defs"][node["$ref"].split("/")[-1]] if "$ref" in node else node


def _pruned(value: Any) -> Any:
    """Leave out titles, null defaults and the defaults of whole sections."""
    if isinstance(value, list):
        return [_pruned(one) for one in value]
    if not isinstance(value, dict):
        return value
    named = {"additionalProperties": False} if "patternProperties" in value else {}
    left_out = {"title"} | ({"default"} if named or "$ref" in value else set())
    kept = {k: _pruned(v) for k, v in value.items() if v is not None and k not in left_out}
    return kept | named


def main() -> None:
    """Write the generated files, or name those that differ; or find the traps of YAML in files."""
    if sys.argv[1:] not in ([], ["--write"]):
        try:
            for path in sys.argv[1:]:
                places(path)
        except (InputError, OSError) as error:
            sys.exit(f"error: {error}")
        return
    differ = differing()
    if "--write" in sys.argv[1:]:
        for name, text in differ.items():
            (REPOSITORY / name).write_text(text)
            print(f"wrote {name}")
    elif differ:
        sys.exit(f"{', '.join(differ)}: not as generated; run {COMMAND}")


if __name__ == "__main__":
    main()
