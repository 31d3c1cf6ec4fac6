"""Digest of the code that a script runs: a changed file reruns what depends on it."""

import ast
import hashlib
from functools import cache
from pathlib import Path


def digest(script: str | Path, *modules: str) -> str:
    """Return the SHA-256 of a script, of `modules` and of the files of nnpipe that they import.

    `modules` are paths relative to the folder of the script. Imports are followed at module level.
    Comments, docstrings, descriptions of settings, layout and the package's own __init__, which
    computes nothing, do not change the digest. This module uses the standard library only.
    """
    folder = Path(script).resolve().parent
    todo = [Path(script), *(folder / module for module in modules)]
    texts: dict[Path, str] = {}
    while todo:
        path = todo.pop().resolve()
        if path not in texts:
            texts[path], imports = _parse(path.read_text(), path, folder)
            todo += imports
    texts.pop(folder / "nnpipe" / "__init__.py", None)
    return hashlib.sha256("\0".join(texts[path] for path in sorted(texts)).encode()).hexdigest()


@cache
def _parse(text: str, path: Path, folder: Path) -> tuple[str, list[Path]]:
    """Return the code of a file without its texts, and the files of nnpipe that it imports."""
    tree, found = ast.parse(text), []
    for node in tree.body:
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
    return ast.unparse(_WithoutText().visit(tree)), found


class _WithoutText(ast.NodeTransformer):
    """Remove docstrings and the second argument of `nnpipe.schema.setting`, a description."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "setting":
            del node.args[1:2]
        return self.generic_visit(node)
