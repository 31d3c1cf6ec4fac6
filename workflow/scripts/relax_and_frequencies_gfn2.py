"""Relax test molecules with GFN2-xTB and compute their harmonic frequencies."""

from tblite.ase import TBLite

from nnpipe.analysis.frequencies import at_minima, held_out
from nnpipe.data.molecules import read_molecules
from nnpipe.labelling.tight_binding import gfn2
from nnpipe.runtime.files import write_csv
from nnpipe.runtime.job import job
from nnpipe.structures.vibrations import hessian

with job(snakemake.log[0], snakemake.threads):
    molecules, _ = read_molecules(snakemake.input.molecules)
    rows = held_out(molecules, snakemake.input.split, snakemake.params.molecules)
    table = at_minima(
        molecules,
        rows,
        TBLite(method="GFN2-xTB", verbosity=0),
        lambda atoms: hessian(gfn2(atoms.numbers), atoms.positions),
    )
    write_csv(table, snakemake.output.modes)
