"""Ragged arrays in one safetensors file: written chunk by chunk, read memory-mapped.

The format is safetensors (https://github.com/huggingface/safetensors): eight bytes with the length
of a JSON header, the header, the raw little-endian arrays. The writer of the safetensors library
needs all arrays in memory at once; the writer of this module needs one chunk.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import InputError
from ..runtime.files import atomic

DTYPES = {
    "F64": np.float64, "F32": np.float32, "I64": np.int64, "I32": np.int32,
    "U32": np.uint32, "U16": np.uint16, "U8": np.uint8,
}  # fmt: skip
CODES = {np.dtype(dtype): code for code, dtype in DTYPES.items()}


class Append(Protocol):
    """Function that appends rows to the arrays of a store."""

    def __call__(self, **arrays: np.ndarray) -> None:
        """Append the rows of each array to the array of that name."""


@contextmanager
def writer(path: str | Path, header: dict[str, Any]) -> Iterator[Append]:
    """Yield a function that appends chunks to named arrays; write the file when the block ends.

    Arrays grow along their first axis. `header` may change until the block ends; its `digest`
    (SHA-256 of all arrays) is added then. After an error in the block, `path` is as it was before.

    Raises ValueError if chunks of an array differ in type or in the shape of their rows.
    """
    path = Path(path)
    spool = path.with_name(f".{path.name}.spool")
    shutil.rmtree(spool, ignore_errors=True)
    spool.mkdir(parents=True)
    shapes: dict[str, list[int]] = {}
    dtypes: dict[str, np.dtype] = {}
    hashes: dict[str, Any] = {}

    def append(**arrays: np.ndarray) -> None:
        for name, array in arrays.items():
            array = np.ascontiguousarray(array)
            shape = shapes.setdefault(name, [0, *array.shape[1:]])
            dtype = dtypes.setdefault(name, array.dtype)
            if shape[1:] != list(array.shape[1:]) or dtype != array.dtype:
                raise ValueError(f"{path}: {name}: a chunk differs in shape or type")
            shape[0] += len(array)
            hashes.setdefault(name, hashlib.sha256()).update(array.data)
            with open(spool / name, "ab") as file:
                file.write(array.data)

    try:
        yield append
        # arrays with the largest items come first, so that every array is aligned
        names = sorted(dtypes, key=lambda name: (-dtypes[name].itemsize, name))
        header["digest"] = hashlib.sha256(
            "".join(name + hashes[name].hexdigest() for name in names).encode()
        ).hexdigest()
        entries: dict[str, Any] = {"__metadata__": {"nnpipe": json.dumps(header)}}
        offset = 0
        for name in names:
            end = offset + (spool / name).stat().st_size
            entries[name] = {
                "dtype": CODES[dtypes[name]],
                "shape": shapes[name],
                "data_offsets": [offset, end],
            }
            offset = end
        text = json.dumps(entries).encode()
        text += b" " * (-len(text) % 8)
        with atomic(path) as temporary, open(temporary, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in names:
                with open(spool / name, "rb") as part:
                    shutil.copyfileobj(part, file, 1 << 22)
    finally:
        shutil.rmtree(spool, ignore_errors=True)


def read(path: str | Path, kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of the store `path`, memory-mapped and read-only, and its header.

    Raises InputError if the file is missing, incomplete or not of `kind`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the rule that makes it")
    raw = np.memmap(path, mode="r") if path.stat().st_size else np.empty(0, np.uint8)
    start = 8 + int.from_bytes(raw[:8].tobytes(), "little")
    try:
        entries = json.loads(raw[8:start].tobytes())
        header = json.loads(entries.pop("__metadata__")["nnpipe"])
        arrays = {
            name: raw[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]]
            .view(DTYPES[entry["dtype"]])
            .reshape(entry["shape"])
            for name, entry in entries.items()
        }
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a complete nnpipe store; delete it and run again") from error
    if header["kind"] != kind:
        raise InputError(f"{path}: holds {header['kind']}, not {kind}; give the right file")
    return arrays, header
