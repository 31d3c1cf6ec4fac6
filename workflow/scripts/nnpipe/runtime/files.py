"""Files that are written completely or not at all, digests of files, and locks."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a host with Snakemake only has no pandas
    import pandas as pd


def sha256(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sampled_digest(path: str | Path) -> str:
    """Return a digest of the size of a file and of 64 blocks of 1 MiB: of all of a smaller file.

    The blocks are spread evenly, so that the digest of a large file takes a fraction of a second.
    """
    size, block = Path(path).stat().st_size, 1 << 20
    found = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for start in range(0, size, max(block, size // 64)):
            file.seek(start)
            found.update(file.read(block))
    return found.hexdigest()


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it to `path` if the block ends without an error.

    The folder of `path` is created. After an error, `path` is as it was before.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_csv(table: "pd.DataFrame", path: str | Path) -> None:
    """Write a table as CSV without its index, completely or not at all."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)


def lock(path: str | Path, wait: bool = True) -> int | None:
    """Lock the file `path`, which is created if missing, and return its descriptor.

    If another process or thread holds the lock, wait until it is free; without `wait`, return None.
    `unlock` releases the lock, and so does the end of the process, in whatever way it ends. Where
    the file system supports no locks, return the descriptor without one.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        pass  # a file system without locks
    return descriptor


def unlock(descriptor: int | None) -> None:
    """Release a lock that `lock` returned; do nothing for None."""
    if descriptor is not None:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may have the file open, too
        os.close(descriptor)
