"""Every rule runs in the environment that its file describes, and needs no other package."""

import os
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import distributions
from pathlib import Path

import pytest
import torch

import fake_conda
from helpers import ROOT, SMOKE, copy_to

ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))


@pytest.fixture(scope="module")
def variables(tmp_path_factory) -> dict[str, str]:
    """Return variables that make `conda` the stand-in and pip install the versions used here."""
    folder = tmp_path_factory.mktemp("conda")
    pins = folder / "pins.txt"
    installed = distributions(path=[sysconfig.get_path("purelib")])
    versions = {f"{one.name}=={one.version}\n" for one in installed if one.name != "nnpipe"}
    pins.write_text("".join(sorted(versions)))
    path = os.pathsep.join([str(fake_conda.install(folder / "root")), os.environ["PATH"]])
    return os.environ | {"PATH": path, "PIP_CONSTRAINT": str(pins)}


def run(python: str | Path, folder: Path, variables: dict, *arguments: str) -> tuple[bool, str]:
    """Return whether Snakemake succeeded with the smoke preset, and its output."""
    command = [python, "-m", "snakemake", "--cores", "2", *arguments, "--configfile", SMOKE]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    return done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.skipif(bool(torch.version.cuda), reason="three downloads of PyTorch with CUDA")
def test_smoke_run_in_environments_of_its_own(tmp_path_factory, variables):
    """The environment of Snakemake holds no other package that a script could import."""
    host = tmp_path_factory.mktemp("host")
    venv.create(host, with_pip=True)
    python = host / "bin/python"
    pip = [python, "-m", "pip", "install", "-q", "--no-compile", "snakemake"]
    subprocess.run(pip, env=variables, check=True)
    folder = copy_to(tmp_path_factory.mktemp("run"))
    worked, printed = run(python, folder, variables, "--sdm", "conda")
    assert worked, printed
    made = list((folder / ".snakemake/conda").glob("*/conda-meta"))
    assert len(made) == len(ENVIRONMENTS)
    assert (folder / "results/tables/md.csv").is_file()

    file = folder / "envs/data.yaml"
    file.write_text(file.read_text().replace("  - vesin\n", ""))
    worked, printed = run(python, folder, variables, "--sdm", "conda", "-R", "find_neighbours")
    assert not worked
    assert "No module named 'vesin'" in printed


@pytest.mark.parametrize("recipe", ["dockerfile", "apptainer"])
def test_container_recipe_holds_every_environment(tmp_path, variables, recipe):
    folder = copy_to(tmp_path)
    worked, printed = run(sys.executable, folder, variables, "--containerize", recipe)
    assert worked, printed
    for environment in ENVIRONMENTS:
        assert f"source: envs/{environment.name}" in printed
    assert printed.count("conda env create") == len(ENVIRONMENTS)
