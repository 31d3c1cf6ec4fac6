"""Measured values: one CSV per topic under benchmarks/results.

    python benchmarks/records.py          # write the table of README.md from the records
    python benchmarks/records.py --check  # fail if the table of README.md differs from the records

The documentation renders its result tables from the same files.
"""

import csv
import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from nnpipe.models.names import readable_name
from nnpipe.report.provenance import commit_of, processor

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
KEY = ("table", "model", "case", "quantity")
COLUMNS = (
    *KEY, "value", "unit", "n", "data", "split", "seed", "machine", "date", "commit", "command",
    "note",
)  # fmt: skip
ALL_OF_QM9 = ", all of QM9"
START, END = "<!-- records: start -->\n", "<!-- records: end -->\n"
# columns of README's table: heading, topic, table, quantity
README = (
    ("energy, MAE", "default_run", "energies", "MAE"),
    ("forces, MAE", "default_run", "surface", "forces at 500 K, MAE"),
    ("frequencies, MAE", "default_run", "surface", "frequencies, MAE"),
    ("MD step of aspirin", "default_run", "dynamics", "time per step of aspirin"),
)

Record = dict[str, str]


def read(topic: str, table: str | None = None) -> list[Record]:
    """Return the records of a topic, or of one of its tables, in the order of the file."""
    with open(RESULTS / f"{topic}.csv", newline="") as file:
        return [row for row in csv.DictReader(file) if table in (None, row["table"])]


def find(path: str) -> Record:
    """Return the record "topic | table | model | case | quantity"; the case may be left out.

    Raises KeyError if no record or more than one matches.
    """
    topic, table, model, *case, quantity = (part.strip() for part in path.split("|"))
    wanted = {"model": model, "quantity": quantity} | ({"case": case[0]} if case else {})
    found = [row for row in read(topic, table) if wanted.items() <= row.items()]
    if len(found) != 1:
        raise KeyError(f"{path}: {len(found)} records match; one must")
    return found[0]


def numbers(topic: str, table: str) -> dict[tuple[str, str], dict[str, float]]:
    """Return {(model, case): {quantity: value}} of a table, empty if there is none."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in read(topic, table):
        found.setdefault((row["model"], row["case"]), {})[row["quantity"]] = float(row["value"])
    return found


def shown(record: Mapping[str, str], unit: bool = True) -> str:
    """Return the value with thousands separators and, if wanted, with its unit."""
    value = record["value"]
    if value.isdigit():
        value = f"{int(value):,}"
    return f"{value} {record['unit']}".rstrip() if unit else value


def trained(folder: Path) -> tuple[str, str]:
    """Return the name of a trained model in the records, and its training data.

    A model of all of QM9 is another model than the one of the default run with its name.
    """
    number = json.loads((folder / "model.json").read_text())["n_train"]
    name = folder.name + (ALL_OF_QM9 if number >= 100_000 else "")
    return name, f"{number:,} training molecules of QM9"


def named(model: str) -> str:
    """Return the name of a model, or of several with "and", as people write it."""
    return " and ".join(map(readable_name, model.split(" and ")))


def pivot(records: Sequence[Record], case: str = "case", model: str = "model") -> str:
    """Return a Markdown table: a row per model and case, a column per quantity.

    A column states its unit; if its values differ in unit, each value states its own.

    `case` and `model` are the headings of their columns. A column without entries is left out, and
    the model if it is the same in all rows and they differ by their case.
    """
    entries = {name: {row[name] for row in records} for name in ("model", "case")}
    names = [name for name in entries if any(entries[name])]
    if len(entries["model"]) == 1 < len(entries["case"]):
        names = ["case"]
    units: dict[str, set[str]] = {}
    for row in records:
        units.setdefault(row["quantity"], set()).add(row["unit"])
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for row in records:
        labels = {"model": named(row["model"]), "case": row["case"]}
        one = cells.setdefault(tuple(labels[name] for name in names), {})
        one[row["quantity"]] = shown(row, unit=len(units[row["quantity"]]) > 1)
    heads = []
    for name, each in units.items():
        unit = min(each).replace("/", "/\u2060") if len(each) == 1 else ""  # no break in a unit
        heads.append(f"{name} ({unit})" if unit else name)
    # words to the left, numbers to the right
    words = {row["quantity"] for row in records if row["value"][0].isalpha()}
    aligned = ["---" if name in words else "---:" for name in units]
    titles = {"model": model, "case": case}
    lines = [
        [titles[name] for name in names] + heads,
        ["---"] * len(names) + aligned,
        *([*labels, *(one.get(name, "") for name in units)] for labels, one in cells.items()),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def listing(records: Sequence[Record], case: str = "case") -> str:
    """Return a Markdown table with a row per record: case, quantity and value with its unit."""
    lines = [[case, "quantity", "value"], ["---", "---", "---:"]]
    lines += [[row["case"], row["quantity"], shown(row)] for row in records]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def readme_table() -> str:
    """Return the table of README.md; a dash where no value is recorded."""
    lines = [["model", *(name for name, *_ in README)], ["---", *["---:"] * len(README)]]
    for model in ("gnn", "mlp", "GFN2-xTB"):
        line = [f"{named(model)} (`{model}`)" if model != named(model) else model]
        for _, topic, table, quantity in README:
            found = [
                row
                for row in read(topic, table)
                if row["model"] == model and row["quantity"] == quantity
            ]
            values = list(dict.fromkeys(shown(row, unit=False) for row in found))
            line.append(f"{' to '.join(values)} {found[0]['unit']}" if found else "–")
        lines.append(line)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def readme() -> str:
    """Return README.md with its table rendered from the records."""
    before, rest = (ROOT / "README.md").read_text().split(START)
    return before + START + readme_table() + END + rest.split(END)[1]


def machine(device: str = "") -> str:
    """Return what a value was measured on: `device`, or the processor with its number of cores."""
    if device and device != "cpu":
        return device
    return f"{os.cpu_count()} cores, {processor()}"


def commit() -> str:
    """Return the abbreviated commit of the working tree, with "+" if tracked files differ.

    Raises LookupError outside a clone, or without git.
    """
    revision, changed = commit_of(ROOT)
    if not revision:
        raise LookupError(f"{ROOT}: no commit to record; measure in a clone, with git installed")
    return revision[:7] + ("+" if changed else "")


def command() -> str:
    """Return the command line of this process, relative to the repository."""
    script, *arguments = sys.argv
    path = Path(script).resolve()
    script = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else script
    return shlex.join(["python", script, *arguments])


def record(topic: str, table: str, rows: Iterable[Mapping[str, object]], **common: object) -> None:
    """Put `rows` into a table of a topic, in place of records of the same model, case and quantity.

    A row has at least `quantity` and `value`; `common` holds columns that are equal in all rows.
    Date, commit, command and machine are filled in, if not given. Numbers are written with
    four significant digits. Raises ValueError for a column that does not exist.
    """
    today = datetime.now(UTC).date().isoformat()
    about = {"table": table, "date": today, "commit": commit(), "command": command()}
    old = read(topic) if (RESULTS / f"{topic}.csv").is_file() else []
    known = {tuple(row[name] for name in KEY): row for row in old}
    for row in rows:
        full = about | {"machine": machine()} | dict(common) | dict(row)
        if unknown := full.keys() - set(COLUMNS):
            raise ValueError(f"{topic}: {sorted(unknown)} are not columns of the records")
        text = {name: _text(full.get(name, "")) for name in COLUMNS}
        known[tuple(text[name] for name in KEY)] = text
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{topic}.csv"
    temporary = path.with_suffix(".tmp")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(known.values())
    temporary.replace(path)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str]) -> None:
    """Write README.md, or compare it with the records."""
    path, text = ROOT / "README.md", readme()
    if "--check" in arguments and text != path.read_text():
        raise SystemExit("README.md: table differs from the records; run benchmarks/records.py")
    path.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
