"""Fit the uncertainty of a model that ships, trained on all of QM9, and add it to its file.

    snakemake --configfile workflow/presets/full.yaml -- results/data/neighbours.safetensors \
        results/data/split.csv results/data/correction.json
    python benchmarks/shipped_uncertainty.py resources/models/gnn

Labels of all training molecules take an hour. A part of them shows the features and pairs of the
training data; the validation molecules were held out. Labels are kept in results/data/uncertainty/.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nnpipe.data.molecules import read_molecules
from nnpipe.data.splits import read_split
from nnpipe.graphs.dataset import Dataset, load_labels
from nnpipe.labelling.chunks import write_chunk
from nnpipe.labelling.correction import read_correction
from nnpipe.labelling.settings import Settings
from nnpipe.labelling.table import write_labels
from nnpipe.labelling.tight_binding import refitted
from nnpipe.models.checkpoint import load_model, save_model
from nnpipe.models.uncertainty import fit_uncertainty, measure_errors

DATA, TEACHER = Path("results/data"), Path("resources/teacher")
MOLECULES = {"train": 4000, "validation": 2000}
CHUNK, CUTOFF_A = 500, 5.0


def labelled(part: str, cutoff: float) -> Dataset:
    """Return the labelled geometries of the first molecules of a part of the split."""
    molecules, header = read_molecules(DATA / "qm9.safetensors")
    rows = read_split(DATA / "split.csv", molecules.index)[part][: MOLECULES[part]]
    if part == "validation":
        rows = rows[::2]
    provenance = {"molecules": header["digest"], "method": "teacher"}
    chunks, path = [], DATA / f"uncertainty/{part}.safetensors"
    method = refitted(TEACHER / "tight_binding.toml")
    for number, chunk in enumerate(np.split(rows, range(CHUNK, len(rows), CHUNK))):
        chunks.append(DATA / f"uncertainty/{part}_{number}.safetensors")
        if not chunks[-1].exists():
            write_chunk(molecules, chunk, method, Settings(), chunks[-1], provenance)
    correction = read_correction(DATA / "correction.json")
    delta = TEACHER / "model.safetensors"
    write_labels(chunks, molecules, correction, CUTOFF_A, path, provenance, delta=delta)
    return load_labels(path, molecules.index[rows], cutoff, header["digest"], training=False)


def main(folder: str) -> None:
    """Fit the uncertainty and write the model again."""
    potential, info = load_model(folder)
    training = labelled("train", potential.cutoff)
    held_out = labelled("validation", potential.cutoff)
    potential.uncertainty = fit_uncertainty(
        potential, training, measure_errors(potential, held_out)
    )
    about = {"training": len(training), "held_out": len(held_out)}
    save_model(folder, potential, replace(info, data=info.data | {"uncertainty_geometries": about}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
