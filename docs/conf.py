"""Configuration of the documentation: `sphinx-build -W docs docs/_build/html`."""

import hashlib
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "workflow/scripts/nnpipe"
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "nnpipe"
author = "the nnpipe developers"
release = re.search(r'__version__ = "(.+)"', (PACKAGE / "__init__.py").read_text())[1]

extensions = [
    "myst_nb", "docstrings", "autoapi.extension", "sphinxcontrib.mermaid", "records", "rules",
    "themed",
]  # fmt: skip
exclude_patterns = ["_build", "_ext", "**.ipynb_checkpoints"]
nitpicky = True
# types of the annotations belong to packages whose inventories need the network
nitpick_ignore_regex = [("py:.*", ".*")]

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

# notebooks are stored without outputs and run with the library beside this folder; they run again
# if they or the library change
os.environ["PYTHONPATH"] = f"{PACKAGE.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
library = hashlib.sha256()
for path in sorted(PACKAGE.rglob("*.*")):
    if path.suffix != ".pyc":
        library.update(path.read_bytes())
nb_execution_mode = "cache"
nb_execution_cache_path = str(ROOT / "docs/_build/.notebooks" / library.hexdigest()[:16])
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # seconds of a cell
nb_output_stderr = "remove"  # progress

# for the API reference, sources are read, not imported
autoapi_dirs = [str(PACKAGE)]
autoapi_ignore = ["*/export/templates/*"]  # scripts of their own
autoapi_root = "reference/api"
autoapi_add_toctree_entry = False
autoapi_options = ["members", "undoc-members", "show-module-summary"]
autoapi_python_class_content = "class"
autoapi_member_order = "bysource"
suppress_warnings = ["autoapi.python_import_resolution"]  # constants assigned in a tuple

html_theme = "furo"
html_title = f"nnpipe {release}"
html_static_path = ["_static"]
html_css_files = ["notebooks.css", "records.css"]
html_show_sphinx = False
html_show_copyright = False

linkcheck_timeout = 20
linkcheck_retries = 2
# publishers answer scripts with 403
linkcheck_ignore = [r"https://doi\.org/.*"]
