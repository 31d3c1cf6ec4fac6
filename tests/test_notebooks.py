"""The notebooks of the documentation: as they are stored. The documentation's build runs them."""

import ast
import re

import nbformat
import pytest

from helpers import ROOT

NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_outputs(path):
    """So that a change shows what changed, and no page has results of another version."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.metadata == {}
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_import_what_exists(path):
    cells = nbformat.read(path, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    found = [one for one in ast.parse(code).body if isinstance(one, ast.Import | ast.ImportFrom)]
    assert found
    exec(compile(ast.Module(found, []), str(path), "exec"), {})


def test_notebooks_link_to_files():
    for path in NOTEBOOKS:
        for target in re.findall(r"\]\(([^)#\s]+)\)", path.read_text()):
            assert target.startswith("http") or (path.parent / target).exists(), target
    index = (ROOT / "docs/index.md").read_text()
    assert all(f"notebooks/{path.stem}\n" in index for path in NOTEBOOKS)
