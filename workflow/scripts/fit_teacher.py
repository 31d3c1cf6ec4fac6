"""Fit the parameters of tight binding to DFT."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # of each process: tblite is slower on several

from ase.io import read

from nnpipe.data.molecules import read_molecules
from nnpipe.labelling.refit import fit_teacher
from nnpipe.labelling.tight_binding import write_parameters
from nnpipe.runtime.job import job

with job(snakemake.log[0]):
    molecules, _ = read_molecules(snakemake.input.molecules)
    frames = read(snakemake.input.frames, ":")
    write_parameters(
        *fit_teacher(frames, molecules, snakemake.threads), snakemake.output.parameters
    )
