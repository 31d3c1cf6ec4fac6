"""A digest of the code that a script runs, so that a changed file reruns what depends on it."""

import ast
import hashlib
from pathlib import Path


def digest(script: str | Path, *modules: str) -> str:
    """SHA-256 of a script, of `modules` (files relative to it) and of what they import from nnpipe.

    Imports are followed at module level; comments and layout do not count, nor does the package's
    own __init__, which computes nothing. Standard library only.
    """
    folder = Path(script).parent
    todo, seen = [Path(script), *(folder / module for module in modules)], set()
    while todo:
        path = todo.pop().resolve()
        if path not in seen:
            seen.add(path)
            todo += _imports(path, folder.resolve())
    package = folder.resolve() / "nnpipe" / "__init__.py"
    texts = [ast.unparse(ast.parse(path.read_text())) for path in sorted(seen - {package})]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _imports(path: Path, folder: Path) -> list[Path]:
    """Files of nnpipe that a file imports at module level."""
    found = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base: list[str] = []
            if node.level:
                base = list(path.parents[node.level - 1].relative_to(folder).parts)
            base += node.module.split(".") if node.module else []
            names = [base, *([*base, alias.name] for alias in node.names)]
        else:
            continue
        for parts in names:
            if parts[0] == "nnpipe":
                stem = folder.joinpath(*parts)
                found += [p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()]
    return found
