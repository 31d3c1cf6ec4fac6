"""The pinned requirements follow pyproject.toml, and a run's are free of what only tests need."""

import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def names(lines):
    return {canonicalize_name(Requirement(line).name) for line in lines} - {"nnpipe"}


def pins(file):
    """Return {name: version} of the pinned packages in a file."""
    lines = [line for line in (ROOT / file).read_text().splitlines() if line[:1] not in "#-"]
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in found}


def test_requirements_of_a_run_are_pinned_within_the_bounds():
    versions = pins("requirements.txt")
    for line in PROJECT["dependencies"] + EXTRAS["workflow"]:
        wanted = Requirement(line)
        assert versions[canonicalize_name(wanted.name)] in wanted.specifier, line


def test_requirements_of_tests_are_apart():
    extra = names(line for name in ("dev", "docs", "dft", "slurm") for line in EXTRAS[name])
    assert extra <= set(pins("requirements-dev.txt"))
    assert not extra & set(pins("requirements.txt"))
