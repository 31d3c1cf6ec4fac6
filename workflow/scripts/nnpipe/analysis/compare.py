"""Compare the results of two runs of the workflow.

python -m nnpipe.analysis.compare A/results B/results
"""

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from .cost import COST_COLUMNS

# files that store times; the data that figures show are compared, and the weights that training
# checkpoints lead to
IGNORED = {"logs", "benchmarks", "figures", "checkpoints", "checkpoint.safetensors"}
COMPARED = (".csv", ".json", ".jsonl", ".md", ".safetensors", ".xyz")


def differences(first: str | Path, second: str | Path) -> list[str]:
    """Return a line for each file that differs between two folders of results.

    Columns and keys of COST_COLUMNS are not compared, nor are the files and folders of IGNORED.
    """
    first, second = Path(first), Path(second)
    if not (names := _names(first) | _names(second)):
        return [f"{first}, {second}: no results to compare"]
    lines = []
    for name in sorted(names):
        present = [folder for folder in (first, second) if (folder / name).is_file()]
        if len(present) == 1:
            lines.append(f"{name}: only in {present[0]}")
        elif _content(first / name) != _content(second / name):
            lines.append(f"{name}: differs")
    return lines


def _names(folder: Path) -> set[Path]:
    """Return the compared files of a folder of results, relative to it."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix in COMPARED)
    return {path for path in files if not IGNORED & set(path.parts)}


def _content(path: Path) -> Any:
    """Return what two files of a run must have in common: all bytes, if a file is damaged."""
    try:
        return _parsed(path)
    except ValueError:
        return path.read_bytes()


def _parsed(path: Path) -> Any:
    match path.suffix:
        case ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            return table.drop(columns=COST_COLUMNS, errors="ignore").to_csv()
        case ".json":
            return _without_cost(json.loads(path.read_text()))
        case ".jsonl":
            return [_without_cost(json.loads(line)) for line in path.read_text().splitlines()]
        case _:
            return path.read_bytes()


def _without_cost(value: Any) -> Any:
    """Return a JSON value without the keys of COST_COLUMNS, numbers as text: NaN equals NaN."""
    if isinstance(value, dict):
        return {key: _without_cost(value[key]) for key in value if key not in COST_COLUMNS}
    if isinstance(value, list):
        return [_without_cost(inner) for inner in value]
    return repr(value)


def main() -> None:
    """Print the differences; exit with status 1 if there are any."""
    if len(sys.argv) != 3 or not all(Path(folder).is_dir() for folder in sys.argv[1:]):
        sys.exit(f"usage: {__doc__.splitlines()[-1]}; both must be folders")
    lines = differences(*sys.argv[1:])
    print("\n".join(lines) or "no differences")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
