"""A stand-in for `conda`: its environments are virtual environments that pip fills.

It answers the calls of Snakemake. It shows whether the files in envs/ list every import of a rule,
not whether the channels of conda provide it.
"""

import json
import subprocess
import sys
import venv
from pathlib import Path

import yaml

PYPI = {
    "matplotlib-base": "matplotlib",
    "pytorch": "torch",
    "pytorch_geometric": "torch-geometric",
    "tblite-python": "tblite",
}


def install(root: Path) -> Path:
    """Install the stand-in under `root` and return the folder to put on the PATH."""
    folder = root / "bin"
    folder.mkdir(parents=True)
    scripts = {
        "conda": f'#!/bin/sh\nexec {sys.executable} {__file__} {root} "$@"\n',
        "activate": '. "$1/bin/activate"\n',
    }
    for name, text in scripts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def create(file: str, prefix: str) -> None:
    """Create the environment of an env file."""
    packages = []
    for package in yaml.safe_load(Path(file).read_text())["dependencies"]:
        name, _, version = package.partition("=")
        if name != "python":  # the Python that runs this file serves
            packages.append(PYPI.get(name, name) + (f"=={version}.*" if version else ""))
    venv.create(prefix, with_pip=True)
    pip = [f"{prefix}/bin/python", "-m", "pip", "install", "-q", "--no-compile", *packages]
    subprocess.run(pip, check=True)
    (Path(prefix) / "conda-meta").mkdir()
    (Path(prefix) / "conda-meta/history").touch()


def main(root: str, *call: str) -> None:
    """Answer a call."""
    match call[:2]:
        case ("--version",):
            print("conda 25.0.0")
        case ("info", _):
            print(
                json.dumps(
                    {
                        "conda_prefix": root, "root_prefix": root, "platform": "linux-64",
                        "conda_version": "25.0.0", "envs_dirs": [],
                    }
                )
            )  # fmt: skip
        case ("config", _):
            print(json.dumps({"get": {"channel_priority": "strict"}}))
        case ("env", "create"):
            create(*(call[call.index(option) + 1] for option in ("--file", "--prefix")))
        case ("clean", _):
            pass
        case _:
            sys.exit(f"conda: unknown call {call}")


if __name__ == "__main__":
    main(*sys.argv[1:])
