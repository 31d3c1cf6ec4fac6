"""Sphinx directive ```` ```{rules} ```` that lists the rules of workflow/rules."""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]
TITLES = {
    "data": "Data", "labels": "Labels", "train": "Training", "evaluate": "Evaluation",
    "md": "Molecular dynamics", "report": "Report",
}  # fmt: skip
RULE = re.compile(
    r'^ *rule (\w+):\n +"""(.+?)"""\n(.+?)(?=^\S|^ *rule \w+:|\Z)', re.MULTILINE | re.DOTALL
)


def block(body: str, name: str) -> str:
    """Return the text of one section of a rule."""
    found = re.search(rf"^ +{name}:(.*?)(?=^ +\w+:|\Z)", body, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def page() -> str:
    """Return a Markdown section per file of rules, with an entry per rule."""
    lines = []
    for stem, title in TITLES.items():
        text = (ROOT / f"workflow/rules/{stem}.smk").read_text()
        lines += [f"## {title}", "", f"`workflow/rules/{stem}.smk`", ""]
        for name, summary, body in RULE.findall(text):
            outputs = re.findall(r'"(results/[^"]+)"', block(body, "output"))
            environment = re.search(r'envs/(\w+)\.yaml"', block(body, "conda"))
            script = re.search(r"scripts/(\w+\.py)", body)
            lines += [f"### {name}", "", " ".join(summary.split()), ""]
            lines += [f"- writes {', '.join(f'`{path}`' for path in outputs)}"]
            lines += [f"- script `{script[1]}`, environment `envs/{environment[1]}.yaml`", ""]
    return "\n".join(lines)


class Rules(SphinxDirective):
    """All rules, by file."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        for stem in TITLES:
            self.env.note_dependency(str(ROOT / f"workflow/rules/{stem}.smk"))
        return self.parse_text_to_nodes(page(), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("rules", Rules)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
