"""Figure of a trajectory: temperature, energy, largest bond deviation."""

import json
from pathlib import Path

from ase.io import read

from nnpipe import plots
from nnpipe.script import script

with script(snakemake.log[0]):
    frames = read(snakemake.input.trajectory, ":")
    summaries = json.loads(Path(snakemake.input.summary).read_text())
    plots.save(plots.trajectory(frames, summaries, snakemake.params.limit), snakemake.output.figure)
