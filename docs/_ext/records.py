"""Sphinx directive and roles that show the measured values of benchmarks/results.

- ```` ```{records} topic table ```` shows a table of a topic and below it how it was measured.
- `` {value}`topic | table | model | case | quantity` `` shows one value with its unit.
- `` {ratio}`path / path` `` shows the quotient of two values, and `` {change}`path / path` `` the
  relative difference in per cent.
"""

import importlib.util
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

SOURCE = Path(__file__).parents[2] / "benchmarks/records.py"
specification = importlib.util.spec_from_file_location("nnpipe_records", SOURCE)
store = importlib.util.module_from_spec(specification)
specification.loader.exec_module(store)
ABOUT = ("n", "data", "split", "seed", "machine", "date", "commit", "command", "note")
FORMATS = {
    "split": "split seed {}", "seed": "training seed {}", "commit": "commit `{}`",
    "command": "`{}`",
}  # fmt: skip


def provenance(records: list[dict[str, str]]) -> str:
    """Return a Markdown list: which values were measured how, one item per distinct way."""
    ways: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in records:
        ways.setdefault(tuple(row[name] for name in ABOUT), []).append(row)
    lines = []
    for way, rows in ways.items():
        quantities = list(dict.fromkeys(row["quantity"] for row in rows))
        all_rows = sum(row["quantity"] in quantities for row in records)
        label = "; ".join(quantities)
        if len(rows) < all_rows:
            cases = [(store.named(row["model"]), row["case"]) for row in rows]
            who = dict.fromkeys(", ".join(filter(None, case)) for case in cases)
            label += f" [{'; '.join(who)}]"
        parts = [
            FORMATS.get(name, "{}").format(text)
            for name, text in zip(ABOUT, way, strict=True)
            if text
        ]
        lines.append(f"- **{label}**: {'; '.join(parts)}.")
    return "\n".join(lines).replace("..\n", ".\n") + "\n"


class Records(SphinxDirective):
    """A table of records, with its provenance."""

    required_arguments = 2
    option_spec = {  # noqa: RUF012
        "case": directives.unchanged,
        "model": directives.unchanged,
        "quantities": directives.unchanged,
        "list": directives.flag,
    }

    def run(self) -> list[nodes.Node]:
        """Return the table and the folded provenance."""
        topic, table = self.arguments
        self.env.note_dependency(str(store.RESULTS / f"{topic}.csv"))
        found = store.read(topic, table)
        if wanted := self.options.get("quantities"):
            names = [name.strip() for name in wanted.split(";")]
            found = [row for row in found if row["quantity"] in names]
        if not found:
            raise self.error(f"benchmarks/results/{topic}.csv has no table {table}")
        case, model = (self.options.get(key, key) for key in ("case", "model"))
        listed = "list" in self.options
        shown = store.listing(found, case) if listed else store.pivot(found, case, model)
        return [
            *self.parse_text_to_nodes(shown),
            _html('<details class="provenance"><summary>How it was measured</summary>'),
            *self.parse_text_to_nodes(provenance(found)),
            _html("</details>"),
        ]


def _html(text: str) -> nodes.Node:
    return nodes.raw("", text, format="html")


class Value(SphinxRole):
    """One recorded value."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the value with its unit."""
        try:
            return [nodes.inline("", self.show(), classes=["record"])], []
        except (KeyError, ValueError, OSError) as error:
            message = self.inliner.reporter.error(str(error), line=self.lineno)
            return [], [message]

    def show(self) -> str:
        """Return the text."""
        return store.shown(store.find(self.text))

    def quotient(self) -> float:
        """Return the first value divided by the second."""
        first, second = (float(store.find(path)["value"]) for path in self.text.split(" / "))
        return first / second


class Ratio(Value):
    """The quotient of two recorded values."""

    def show(self) -> str:
        """Return the text."""
        return f"{self.quotient():.2g}"


class Change(Value):
    """The relative difference of two recorded values."""

    def show(self) -> str:
        """Return the text."""
        return f"{100 * (self.quotient() - 1):+.0f} %".replace("-", "−")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and the roles."""
    app.add_directive("records", Records)
    for name, role in {"value": Value, "ratio": Ratio, "change": Change}.items():
        app.add_role(name, role())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
