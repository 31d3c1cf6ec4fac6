"""Make the test data: python tests/data/make.py qm9pack-1.0.3-py3-none-any.whl

400 molecules of QM9 (https://doi.org/10.1038/sdata.2014.22, CC0; qm9pack is MIT): the first ten,
linear ones, doubled frequency lists, saddle points, Fortran floats, and 380 drawn with seed 0. They
are written in both formats, the original one with its own number format, and with the fields that
the mirror lacks (a second SMILES and InChI) repeated.
"""

import csv
import io
import random
import sys
import tarfile
import zipfile
from pathlib import Path

FOLDER = Path(__file__).parent
SPECIAL = [*range(1, 11), 23, 24, 29, 118, 2693, 6620, 59818, 61269, 73686, 130806]
PROPERTIES = [
    "RotA_GHz",
    "RotB_GHz",
    "RotC_GHz",
    "Dipole_debye",
    "Polarizability_bohr3",
    "HOMO_au",
    "LUMO_au",
    "HOMO_LUMO_gap_au",
    "R2_bohr2",
    "ZPVE_au",
    "InternalEnergy_0K_au",
    "InternalEnergy_298K_au",
    "Enthalphy_298K_au",
    "GibbsFreeEnergy_298K_au",
    "Heatcapacity_Cv_cal_mol_K",
]


def original(row: dict[str, str]) -> str:
    """The molecule as a file of dsgdb9nsd.xyz.tar.bz2."""
    fortran = {key: value.replace("E", "*^") for key, value in row.items()}
    elements = row["Elements"].strip("[]").replace("'", "").split(",")
    numbers = fortran["XYZ_Ang"].replace("[", "").replace("]", "").split(",")
    charges = fortran["Mulliken_pop"].strip("[]").split(",")
    lines = [row["N_atoms"], f"gdb {row['Index']}\t" + "\t".join(row[p] for p in PROPERTIES) + "\t"]
    for i, element in enumerate(elements):
        lines.append("\t".join([element, *numbers[3 * i : 3 * i + 3], charges[i]]))
    lines.append(fortran["Harmonic_Freq_cmi"].strip("[]").replace(",", "\t"))
    lines.append("\t".join([row["SMILES"]] * 2) + "\t")
    lines.append("\t".join([row["InChi"]] * 2))
    return "\n".join(lines) + "\n"


def main(wheel: str) -> None:
    """Write qm9.tar.bz2 and qm9pack.zip beside this file."""
    names = [f"qm9pack/data/qm9_part{part}.csv" for part in (1, 2, 3)]
    with zipfile.ZipFile(wheel) as archive:
        parts = []
        for name in names:
            with archive.open(name) as file:
                parts.append(list(csv.DictReader(io.TextIOWrapper(file))))
    everything = [int(row["Index"]) for rows in parts for row in rows]
    chosen = set(SPECIAL) | set(random.Random(0).sample(everything, 380))
    with (
        zipfile.ZipFile(FOLDER / "qm9pack.zip", "w", zipfile.ZIP_DEFLATED) as mirror,
        tarfile.open(FOLDER / "qm9.tar.bz2", "w:bz2") as archive,
    ):
        for name, rows in zip(names, parts, strict=True):
            kept = [row for row in rows if int(row["Index"]) in chosen]
            text = io.StringIO()
            writer = csv.DictWriter(text, rows[0].keys())
            writer.writeheader()
            writer.writerows(kept)
            mirror.writestr(zipfile.ZipInfo(name), text.getvalue(), zipfile.ZIP_DEFLATED)
            for row in kept:
                member = tarfile.TarInfo(row["XYZ_file"])
                content = original(row).encode()
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    main(sys.argv[1])
