"""Download of QM9 from the first of several sources that is available, with checksums."""

import json
import logging
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pooch
import requests

from ..errors import InputError
from ..runtime.files import atomic, sha256
from .sources import SOURCES, Remote, is_extxyz

log = logging.getLogger(__name__)
DOWNLOAD_ATTEMPTS = 4


def download(
    sources: list[str],
    manifest: str | Path,
    known: dict[str, tuple[Remote, ...]] = SOURCES,
    parts: dict[str, str] | None = None,
) -> None:
    """Fetch the first of `sources` that is available and write its files' digests to `manifest`.

    A source is a key of `known` or the path of a file in one of the formats of QM9. Downloads go to
    a folder beside the manifest with its name (raw/ for raw.json). A local file stays in place;
    uncharacterized.txt beside it is used if it exists. `parts` are files of their own for
    "validation" and "test".

    Raises InputError if no source is available; the message has the reason for each.
    """
    problems = []
    for source in sources:
        try:
            if source in known:
                files = [_fetch(remote, Path(manifest).with_suffix("")) for remote in known[source]]
            else:
                files = _local(Path(source))
        except (InputError, requests.RequestException, OSError, ValueError) as error:
            problems.append(f"{source}: {' '.join(str(error).split())}")
            log.warning("data source %s", problems[-1])
            continue
        content = {
            "source": source,
            "canonical": source in SOURCES,
            "files": [{"path": str(file), "sha256": sha256(file)} for file in files]
            + [
                {"path": file, "sha256": sha256(file), "part": part}
                for part, file in (parts or {}).items()
            ],
        }
        with atomic(manifest) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n")
        return
    raise InputError(
        f"data.sources: none of {', '.join(sources)} is available; name a local file. "
        + "; ".join(problems)
    )


def _local(path: Path) -> list[Path]:
    """Return the paths of the data file and, if it exists beside it, of uncharacterized.txt."""
    if not path.is_file():
        raise InputError("neither a known source nor an existing file")
    beside = path.with_name("uncharacterized.txt")
    return [path, beside] if beside.is_file() and not is_extxyz(str(path)) else [path]


def _fetch(remote: Remote, folder: Path) -> Path:
    """Return the path of the file in `folder`; download it unless its checksum is already right."""
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob("tmp*"):  # of a download that was killed
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    if remote.url.startswith("pip:"):
        return _fetch_wheel(remote, folder)
    fetcher = pooch.create(
        folder,
        base_url="",
        registry={remote.name: f"sha256:{remote.sha256}"},
        urls={remote.name: remote.url},
        retry_if_failed=DOWNLOAD_ATTEMPTS - 1,
    )
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=(10, 60))
    return Path(fetcher.fetch(remote.name, downloader=downloader))


def _fetch_wheel(remote: Remote, folder: Path) -> Path:
    """Return the path of the wheel in `folder`, downloaded by pip from its package index."""
    target = folder / remote.name
    if target.is_file() and sha256(target) == remote.sha256:
        return target
    with tempfile.TemporaryDirectory(prefix="tmp", dir=folder) as temporary:
        command = [
            sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
            "--disable-pip-version-check", f"--retries={DOWNLOAD_ATTEMPTS}", f"--dest={temporary}",
            remote.url.removeprefix("pip:"),
        ]  # fmt: skip
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            reason = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise InputError(f"pip download failed: {(reason or [done.stderr])[-1]}")
        got = sha256(Path(temporary) / remote.name)
        if got != remote.sha256:
            raise InputError(f"{target}: expected SHA-256 {remote.sha256}, got {got}; deleted")
        (Path(temporary) / remote.name).replace(target)
    return target
