"""Draw the training, validation and test molecules."""

import numpy as np

from nnpipe.data.molecules import read_molecules
from nnpipe.data.splits import (
    always_trained,
    check_training_elements,
    warn_of_duplicates,
    write_split,
)
from nnpipe.runtime.job import job
from nnpipe.structures.smiles import matches

with job(snakemake.log[0], snakemake.threads):
    molecules, _ = read_molecules(snakemake.input.molecules)
    sizes = dict(snakemake.params.sizes)
    smallest, frames = sizes.pop("always_train_smallest"), snakemake.input.frames or None
    always = always_trained(molecules, smallest, frames)
    found = [matches(molecules.smiles, smarts) for smarts in sizes.pop("train_first")]
    first = molecules.index[np.any([*found, np.zeros(len(molecules), bool)], axis=0)]
    write_split(
        molecules.index, **sizes, path=snakemake.output.split, always=always, first=first,
        part=molecules.part,
    )  # fmt: skip
    check_training_elements(snakemake.output.split, molecules)
    warn_of_duplicates(snakemake.output.split, molecules)
