"""How much work a job has, to which the time that it takes is about proportional."""

from collections.abc import Mapping

from ..data.sources import SOURCES
from . import md_of, training_of, uses_labels
from .sections import Values


def work_of(config: Values, rule: str, wildcards: Mapping[str, str]) -> float:
    """Return the work of a job in units of its rule: molecules, geometries, steps or frames.

    A rule whose time depends on the size of the data set alone has work 1 on QM9, 0 on own files.
    """
    split, labels = config["split"], config["labels"]
    number = labels["molecules"] or split["train"]
    labelled = min(number, split["train"]) + min(number, split["validation"])
    geometries = labelled * labels["geometries"]
    match rule:
        case "train":
            return _geometries_seen(config, wildcards["model"])
        case "label_chunk":
            return geometries / labels["chunks"]
        case "merge_labels":
            return geometries
        case "fit_correction":
            return labels["correction_molecules"]
        case "relax_and_frequencies" | "relax_and_frequencies_gfn2":
            return config["evaluation"]["frequency_molecules"]
        case "predict" | "comparison_figures" | "parity_figure":
            return split["train"] + split["validation"] + split["test"]
        case "uncertainty_table":
            return split["validation"] * labels["geometries"]
        case "run_md" | "md_figures":
            settings = md_of(config, wildcards["molecule"])
            return 1000 * settings["length_ps"] / settings["timestep_fs"] * settings["replicas"]
    return float(any(source in SOURCES for source in config["data"]["sources"]))


def _geometries_seen(config: Values, model: str) -> float:
    """Return how many geometries a training sees in all epochs."""
    settings, train = training_of(config, model), config["split"]["train"]
    seen = 0.0
    for stage in settings["stages"]:
        per_epoch = train
        if uses_labels(config, model):
            labelled = min(config["labels"]["molecules"] or train, train)
            passes = stage.get("minima_passes", settings["minima_passes"])
            per_epoch = labelled * config["labels"]["geometries"] + train * passes
        seen += stage["epochs"] * per_epoch
    return seen
