"""Make resources/fragments.smi, molecules that QM9 lacks and that the teacher labels.

    python benchmarks/fragments.py

Aromatic rings with the groups of drugs, and conjugated chains, esters, amides and bicyclic
molecules, of at most 14 heavy atoms. Left out are the molecules of QM9, of resources/forces.xyz and
resources/profiles.xyz and of the default `molecules`: they measure errors. Rule `convert_molecules`
must have run.
"""

from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from ase.io import read
from rdkit import Chem
from reference_forces import LARGE

from nnpipe.config.sections import MOLECULES
from nnpipe.data.molecules import read_molecules
from nnpipe.structures.smiles import canonical_smiles

ROOT = Path(__file__).parents[1]
PATH = ROOT / "resources/fragments.smi"
MAX_HEAVY_ATOMS, SEED = 14, 0
DISUBSTITUTED = 100  # benzenes that are drawn
GROUPS = (
    "O", "OC", "N", "NC", "N(C)C", "C(=O)O", "C(=O)OC", "C(=O)N", "C(=O)NC", "C=O", "C(C)=O",
    "OC(C)=O", "NC(C)=O", "C#N", "F", "C", "CC", "C(C)C", "C=C", "CO", "CN", "CCN", "CC(=O)O",
    "C(F)(F)F", "CC(=O)N",
)  # fmt: skip
BENZENES = ("c1({})ccccc1{}", "c1({})cccc(c1){}", "c1({})ccc(cc1){}")  # ortho, meta, para
# one of each line per group, in turn
RINGS = (
    ("n1ccccc1{}", "n1cccc(c1){}", "n1ccc(cc1){}"),
    ("o1cccc1{}", "o1ccc(c1){}"),
)
FEW_RINGS = ("[nH]1cccc1{}", "n1(C)cccc1{}", "[nH]1cncc1{}", "n1(C)ccnc1{}")
FEW_GROUPS = ("C(=O)OC", "C(=O)N", "C(C)=O", "C=C", "CCN", "CC(=O)O")
OTHERS = (
    # dienes, enones, unsaturated esters, acids and amides
    "C=CC(C)=C", "CC=CC=C", "CC=CC=CC", "C=CC=CC=C", "CC(=C)C(C)=C", "CC=CC=O", "CC=CC(C)=O",
    "C=CC=CC=O", "CC(C)=CC(C)=O", "C=C(C)C(C)=O", "O=C1C=CCCC1", "CC1=CC(=O)CCC1",
    "O=C1C=CC(=O)C=C1",
    "C=C(C)C(=O)O", "CC=CC(=O)O", "COC(=O)C=C", "COC(=O)C=CC", "COC(=O)C(C)=C", "COC(=O)C=CC(=O)OC",
    "OC(=O)C=CC(=O)O", "C=CC=CC(=O)O", "C=COC(C)=O", "C=CNC(C)=O", "CNC(=O)C=C", "CN(C)C(=O)C=C",
    "CC=CC(N)=O", "C=CC(=O)NC=C", "CN(C)C=CC=O", "CN(C)C=CC(=O)OC", "NC(=O)C=CC(N)=O",
    # styrenes, cinnamic acid and its relatives
    "CC=Cc1ccccc1", "C=C(C)c1ccccc1", "O=CC=Cc1ccccc1", "OC(=O)C=Cc1ccccc1", "NC(=O)C=Cc1ccccc1",
    "COC=Cc1ccccc1", "N#CC=Cc1ccccc1", "O=CC=Cc1ccco1", "OC(=O)C=Cc1cccnc1", "O=Cc1ccc(C=C)cc1",
    # esters, acids, anhydrides, carbonates
    "CC(=O)OC(C)=O", "CC(=O)OC=O", "O=C1CCC(=O)O1", "O=C1C=CC(=O)O1", "O=C1OC(=O)c2ccccc12",
    "CCOC(=O)OCC", "CC(=O)OCCOC(C)=O", "COC(=O)CC(=O)OC", "COC(=O)C(=O)OC", "OC(=O)CCC(=O)O",
    "OC(=O)C(O)CC(=O)O", "CC(=O)CC(=O)OC", "CC(=O)CC(C)=O", "CC(=O)OC(C)C(=O)O", "CCC(=O)OC(C)C",
    "CC(=O)Oc1ccccc1", "O=C(Oc1ccccc1)C=C", "O=C1OCc2ccccc12",
    # amides, ureas, carbamates, imides, guanidines
    "CNC(=O)NC", "CN(C)C(=O)N(C)C", "NC(=O)Nc1ccccc1", "COC(=O)NC", "CCOC(N)=O", "COC(=O)Nc1ccccc1",
    "NC(=O)NC(C)=O", "CC(=O)NC(C)=O", "O=C1CCC(=O)N1", "O=C1NC(=O)c2ccccc12", "CC(=O)N(C)C",
    "CN(C)C(=O)c1ccccc1", "CC(=O)N(C)c1ccccc1", "NC(=N)c1ccccc1", "CN(C)C(N)=N", "O=C1NC(=O)C=CN1",
    "Nc1ccnc(=O)[nH]1", "Cc1c[nH]c(=O)[nH]c1=O", "O=C1CC(=O)NC(=O)N1", "CC(=O)NCCO", "CC(=O)NCCN",
    # amino acids and dipeptides
    "CC(=O)NCC(=O)O", "CC(=O)NCC(N)=O", "CC(=O)NCC(=O)NC", "NCC(=O)NCC(=O)O", "CC(N)C(=O)NCC(=O)O",
    "NCC(=O)NC(C)C(=O)O", "CC(=O)NC(C)C(=O)O", "CC(=O)NC(C)C(=O)OC", "CC(=O)NC(CO)C(=O)NC",
    "NC(=O)CNC=O", "CC(NC=O)C(N)=O", "NC(Cc1ccccc1)C(=O)O", "CC(=O)N1CCCC1C(N)=O",
    "NC(CC(N)=O)C(=O)O",
    # bicyclic molecules and their relatives
    "Cn1cnc2c1c(=O)[nH]c(=O)[nH]2", "O=c1[nH]c(=O)c2nc[nH]c2[nH]1", "Cn1c(=O)c2[nH]cnc2n(C)c1=O",
    "O=c1[nH]cnc2nc[nH]c12", "Nc1ncnc2nc[nH]c12", "Nc1nc2nc[nH]c2c(=O)[nH]1", "Cn1ccc(=O)n(C)c1=O",
    "Cn1ccc(=O)[nH]c1=O", "c1ccc2[nH]ccc2c1", "c1ccc2[nH]cnc2c1", "c1ccc2occc2c1", "c1ccc2ncccc2c1",
    "O=C1Cc2ccccc2N1", "O=c1cc[nH]c2ccccc12", "O=c1ccoc2ccccc12", "c1ccc2OCOc2c1", "c1ccc2OCCOc2c1",
    "c1ccc2CCNCc2c1", "Cc1cc(=O)oc(C)c1", "c1ccc(cc1)N1CCCC1", "c1ccc(cc1)C1CCNCC1",
    "Cn1ccc2ccccc12",
)  # fmt: skip


def candidates() -> list[str]:
    """Return the SMILES of all molecules from which some are left out."""
    rng = np.random.default_rng(SEED)
    pairs = list(combinations_with_replacement(GROUPS, 2))
    drawn = [pairs[place] for place in rng.permutation(len(pairs))[:DISUBSTITUTED]]
    found = [f"c1ccccc1{group}" for group in GROUPS]
    found += [BENZENES[rng.integers(3)].format(*pair) for pair in drawn]
    for rings in RINGS:
        found += [rings[n % len(rings)].format(group) for n, group in enumerate(GROUPS)]
    found += [FEW_RINGS[n % len(FEW_RINGS)].format(group) for n, group in enumerate(FEW_GROUPS)]
    return [*found, *OTHERS]


def left_out() -> set[str]:
    """Return the SMILES of molecules that QM9 has or that measure errors, without stereo marks."""
    table, _ = read_molecules(ROOT / "results/data/qm9.safetensors")
    known = [*table.smiles, *LARGE.values()]
    known += [m if isinstance(m, str) else m["structure"] for m in MOLECULES.values()]
    for name in ("forces", "profiles"):
        frames = read(ROOT / f"resources/{name}.xyz", ":")
        known += {str(frame.info["smiles"]) for frame in frames if "smiles" in frame.info}
    return {canonical_smiles(smiles, stereo=False) for smiles in known}


def main() -> None:
    """Write the file."""
    excluded, chosen = left_out(), {}
    for smiles in map(canonical_smiles, candidates()):
        heavy = Chem.MolFromSmiles(smiles).GetNumHeavyAtoms()
        if heavy <= MAX_HEAVY_ATOMS and canonical_smiles(smiles, stereo=False) not in excluded:
            chosen[smiles] = heavy
    lines = ["# Molecules that QM9 lacks, one SMILES per line. Made by benchmarks/fragments.py."]
    PATH.write_text("\n".join([*lines, *chosen]) + "\n")
    print(f"{len(chosen)} molecules")


if __name__ == "__main__":
    main()
