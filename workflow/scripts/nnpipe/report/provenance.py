"""Where a page comes from: code, data, packages and machine."""

import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .. import __version__
from ..runtime.files import sha256

REPOSITORY = Path(__file__).resolve().parents[4]  # of a clone; not if the package is installed
PACKAGES = (
    "numpy", "torch", "ase", "rdkit", "tblite", "scipy", "pandas", "vesin", "safetensors",
    "torch-geometric", "snakemake", "matplotlib", "jinja2",
)  # fmt: skip


@dataclass(frozen=True)
class File:
    """A file that the page is made of."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """Where a page comes from; `commit` is empty outside a repository."""

    date: str  # ISO 8601, UTC
    commit: str
    changed: bool  # whether files of the commit differ
    nnpipe: str
    python: str
    platform: str
    processor: str
    cores: int
    packages: dict[str, str]
    files: list[File]


def provenance(files: Iterable[str | Path]) -> Provenance:
    """Return the provenance of a page that is made of `files`."""
    commit, changed = commit_of(REPOSITORY)
    return Provenance(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit,
        changed=changed,
        nnpipe=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        processor=processor(),
        cores=os.cpu_count() or 1,
        packages={name: found for name in PACKAGES if (found := _version(name))},
        files=[File(str(f), Path(f).stat().st_size, sha256(f)) for f in files],
    )


def commit_of(repository: str | Path) -> tuple[str, bool]:
    """Return the commit of a repository and whether files differ from it; ("", False) if the folder
    is not a repository, or git is missing.
    """
    if not (Path(repository) / ".git").exists():  # not of a repository that lies further up
        return "", False
    texts = []
    for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no")):
        try:
            done = subprocess.run(
                ["git", "-C", str(repository), *arguments],
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return "", False
        texts.append(done.stdout.strip())
    return texts[0], bool(texts[1])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def processor() -> str:
    """Return the name of the processor, or its kind."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
