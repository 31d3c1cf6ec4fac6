"""Put the times of the jobs of a run into resources/times.csv, from which runs elsewhere estimate.

    snakemake --cores 8 && python benchmarks/times.py .

`.` is the folder of the run; its commit and command may follow. A job with the same work replaces
the row of an earlier run.
"""

import csv
import sys
from datetime import UTC, datetime
from pathlib import Path

from records import ROOT, commit, machine

TIMES = ROOT / "resources/times.csv"
KEY = ("rule", "job", "work")
COLUMNS = (*KEY, "cores", "seconds", "machine", "date", "commit", "command")


def main(folder: str = ".", revision: str = "", command: str = "snakemake --cores 8") -> None:
    """Read the times that the workflow noted in a folder, and write the table."""
    about = {
        "machine": machine(), "date": datetime.now(UTC).date().isoformat(),
        "commit": revision or commit(), "command": command,
    }  # fmt: skip
    rows = {}
    for path in (TIMES, Path(folder) / ".snakemake/nnpipe_times.csv"):
        if path.is_file():
            with open(path, newline="") as file:
                for row in csv.DictReader(file):
                    row["work"] = f"{float(row['work']):g}"
                    row["seconds"] = f"{float(row['seconds']):.1f}"
                    rows[tuple(row[name] for name in KEY)] = about | row
    with open(TIMES, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[key] for key in sorted(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
