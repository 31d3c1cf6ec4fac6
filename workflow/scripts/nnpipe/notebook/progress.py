"""Progress of a run in a notebook."""

import sys
from importlib.util import find_spec
from typing import Any

from tqdm import tqdm

from ..runtime.progress import progress_bar


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def notebook_bar(*, total: float, unit: str, label: str, initial: float) -> tqdm:
    """Return a tqdm that a notebook draws and that disappears at the end; elsewhere what
    `progress_bar` returns.
    """
    if not in_notebook():
        return progress_bar(total=total, unit=unit, label=label, initial=initial)
    style: dict[str, Any] = {"leave": False, "mininterval": 1}
    kind = tqdm
    if find_spec("ipywidgets"):  # tqdm.auto warns without it
        from tqdm.notebook import tqdm as kind  # type: ignore[no-redef]
    return kind(total=total, unit=f" {unit}", desc=label, initial=initial, **style)
