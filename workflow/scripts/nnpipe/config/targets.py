"""The command line of Snakemake: names of molecules and models in the files that are asked for."""

import os
import re
from collections.abc import Iterable, Sequence

from ..errors import InputError
from ..schema_errors import did_you_mean
from .sections import NAME, OWN, Values

EXAMPLE = "results/md/gnn_NAME.xyz"


def check_command_line(
    config: Values, words: Sequence[str], targets: Iterable[str], patterns: Iterable[str]
) -> None:
    """Raise InputError for what Snakemake would not explain, or ignore, in its command line.

    `words` are its words, `targets` the files and rules among them, and `patterns` the output files
    of all rules, with {model} and {molecule} in their names. A structure of the command line,
    `smiles` or `structure`, is the molecule of the one new name.
    """
    if sum(word.partition("=")[0] in ("--config", "-C") for word in words) > 1:
        raise InputError(
            "--config is given twice, and Snakemake takes the last; write all values after one"
        )
    own = next((key for key in OWN if key in config), "")
    found = dict(_molecules(config, targets, list(patterns)))  # {molecule: target}
    new = [name for name in found if name not in config["molecules"]]
    if new and not own:
        name, target = new[0], found[new[0]]
        close = did_you_mean(name, config["molecules"])
        raise InputError(
            f"{target}: no molecule {name!r} ({close}); to make one, add --config smiles='...', a"
            f" file molecules/{name}.xyz or a line under molecules: in config.yaml"
        )
    if len(new) > 1:
        raise InputError(
            f"--config {own}: one structure for the molecules {' and '.join(new)}; give"
            f" --config molecules=\"{{{new[0]}: '...', {new[1]}: '...'}}\""
        )
    if not own or new:
        return
    for name, target in found.items():
        entry = config["molecules"][name]
        structure = entry if isinstance(entry, str) else entry["structure"]
        if structure != config[own]:
            raise InputError(
                f"{target}: the configuration has a molecule {name!r}, {structure}; choose another"
                f" name for {own} {config[own]}"
            )
    if not found:
        raise InputError(
            f"--config {own}: no target names the molecule; name one, as in snakemake {EXAMPLE}"
            f" --config {own}='...'"
        )


def _molecules(
    config: Values, targets: Iterable[str], patterns: list[str]
) -> Iterable[tuple[str, str]]:
    """Yield the name of a molecule and the target that has it."""
    for target in targets:
        for pattern in patterns:
            if found := _match(pattern, os.path.relpath(target)):
                name = found.get("molecule") or _molecule_of_run(config, target, found["run"])
                if not re.fullmatch(NAME, name):
                    raise InputError(
                        f"{target}: the name of a molecule, {name!r}, must be letters, digits, _"
                        " or -, a letter first"
                    )
                yield name, target
                break


def _match(pattern: str, target: str) -> dict[str, str]:
    """Return the names in a target: {"molecule": ...} or {"run": ...}, or {} without a match."""
    regex = re.escape(pattern)
    regex = regex.replace(re.escape("{model}_{molecule}"), "(?P<run>[^/]+)")
    regex = regex.replace(re.escape("{molecule}"), "(?P<molecule>[^/]+)")
    found = "(?P<" in regex and re.fullmatch(regex, target)
    return found.groupdict() if found else {}


def _molecule_of_run(config: Values, target: str, run: str) -> str:
    """Return the molecule in the name of a run, `{model}_{molecule}`."""
    models, molecules = config["models"], config["molecules"]
    simulate = [name for name in models if models[name]["target"] == "energy"]
    model = max((name for name in models if run.startswith(f"{name}_")), key=len, default="")
    if model in simulate:
        return run.removeprefix(f"{model}_")
    known = f"models that simulate: {', '.join(simulate)}"
    if model:
        raise InputError(
            f"{target}: model {model!r} predicts {models[model]['target']}, and dynamics need an"
            f" energy; {known}"
        )
    molecule = max((name for name in molecules if run.endswith(f"_{name}")), key=len, default="")
    model = run.removesuffix(f"_{molecule}") if molecule else run.partition("_")[0]
    if model == run:
        folder, _, file = target.rpartition("/")
        right = f"{folder}/{file.replace(run, f'{simulate[0]}_{run}', 1)}"
        raise InputError(f"{target}: no model in the name; write {right}; {known}")
    raise InputError(f"{target}: no model {model!r}; {known}")
