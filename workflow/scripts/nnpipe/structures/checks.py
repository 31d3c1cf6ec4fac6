"""What the models can compute: checks of atoms before they are simulated.

Bonds are read from distances. Only atoms of H, C, N, O and F are judged by their bonds.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from ase.data import chemical_symbols, covalent_radii, vdw_radii
from ase.neighborlist import neighbor_list
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from ..errors import InputError
from .bonds import BOND_RADII_A

log = logging.getLogger(__name__)
MAX_COORDINATE_A = 1e6
# Lengths as fractions of the sum of covalent radii: shorter ones are clashes; a bond at a minimum
# may be as long as the second, a stretched bond as the third, and the last is none
SHORTEST, BONDED, STRETCHED, BROKEN, APART = 0.6, 1.1, 1.35, 1.5, 1.7
FULL_CLASH = 1.4  # of atoms that have all their bonds and are further apart than NEAR_BONDS
# longest multiple bonds: of carbon with carbon, else, and between N, O and F; what is shorter than
# the first is a sketch
SKETCH, TRIPLE_CC, TRIPLE, DOUBLE, DOUBLE_NOF = 0.72, 0.85, 0.88, 0.98, 1.03
CONTACT_CLASH = 0.5  # fraction of the sum of van der Waals radii, further apart than NEAR_BONDS
BRIDGE_CLASH, BRIDGE_FULL = 0.44, 1.2  # the same for hydrogen and N, O or F, 1.2 Å
NEAR_BONDS = 3
BENT = -0.82  # cosine of 145 degrees: the angle of a carbon with two neighbours is larger
MAX_BARE = 2  # carbons without hydrogens; a carbene or an aryne has one or two
VALENCES = {1: 1, 6: 4, 7: 3, 8: 2, 9: 1}
MOST_BONDS = {1: 1, 6: 4, 7: 4, 8: 3, 9: 1}
NONMETALS = [1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53]  # closed shells are the rule
FLAT = 0.1  # smallest singular value of the directions of four bonds; 1.15 in a tetrahedron
CLOSED_SHELLS = "the models support neutral closed-shell molecules only"


def check_supported_elements(numbers: np.ndarray, elements: Sequence[int]) -> None:
    """Raise InputError unless every atomic number in `numbers` (N,) is one of `elements`."""
    unseen = sorted(set(numbers.tolist()) - set(elements))
    if unseen:
        known = " ".join(chemical_symbols[z] for z in elements)
        raise InputError(
            f"element {chemical_symbols[unseen[0]]} is not in the training set ({known});"
            " train on molecules with this element, or remove it here"
        )


def check_timestep(numbers: np.ndarray, timestep_fs: float) -> None:
    """Raise InputError if the timestep is too long for the fastest vibration of the atoms (N,)."""
    limit, why = (1.0, ", as X-H bonds vibrate in 9 fs") if 1 in numbers else (4.0, "")
    if not 0 < timestep_fs <= limit:
        raise InputError(f"timestep_fs {timestep_fs} is not in (0, {limit}] fs{why}; take 0.5")


def check_positions(atoms: Atoms) -> None:
    """Raise InputError for positions or a cell that are not finite, or very far away."""
    inside = abs(atoms.positions) < MAX_COORDINATE_A
    if not np.isfinite(atoms.cell.array).all() or not inside.all():
        raise InputError(
            f"a position or the cell is not finite, or beyond {MAX_COORDINATE_A:g} Å; correct it"
        )


def check_charge(atoms: Atoms) -> None:
    """Raise InputError for a charge, in `info` or as the sum of initial charges."""
    partial = round(float(atoms.get_initial_charges().sum()))  # of rounded charges
    for given in (atoms.info.get("charge", 0), partial):
        try:
            charge = round(float(given), 1)
        except (TypeError, ValueError):
            raise InputError(f"charge {given!r} is not a number; correct or remove it") from None
        if charge:
            raise InputError(f"charge {charge:+g}: {CLOSED_SHELLS}; add or remove protons")


def unpaired_electrons(atoms: Atoms, labels: np.ndarray | None = None) -> str:
    """Return why the atoms have unpaired electrons, or "": a spin in `info`, magnetic moments, an
    odd number of electrons or an oxygen molecule.

    labels (N,) int: the molecule of each atom; all atoms are one by default.
    """
    if str(spin := atoms.info.get("spin", 1)) not in ("0", "1", "0.0", "1.0"):
        return f"spin {spin}"  # 0 and 1 are singlets, by 2S and by 2S + 1
    if moments := round(float(np.abs(atoms.get_initial_magnetic_moments()).sum()), 1):
        return f"magnetic moments of {moments:g}"
    labels = np.zeros(len(atoms), int) if labels is None else labels
    electrons = np.bincount(labels, atoms.numbers)
    metallic = np.bincount(labels, ~np.isin(atoms.numbers, NONMETALS)) > 0
    oxygen = (electrons == 16) & (np.bincount(labels, atoms.numbers == 8) == 2)
    for label in np.flatnonzero(((electrons % 2 == 1) & ~metallic) | oxygen):
        where = np.flatnonzero(labels == label)
        name = f"{atoms[where].get_chemical_formula()} with atom {where[0]}"
        if oxygen[label]:
            return f"{name} is a triplet"
        count = f"{name} has {electrons[label]:.0f} electrons"
        return f"{count}, as a radical, as an ion or without a hydrogen"
    return ""


class Pairs(NamedTuple):
    """Pairs of close atoms, each in both directions."""

    first: np.ndarray  # (P,)
    second: np.ndarray  # (P,)
    length: np.ndarray  # (P,) Å
    ratio: np.ndarray  # (P,) length / sum of covalent radii

    def up_to(self, ratio: float) -> "Pairs":
        """Return the pairs with at most this ratio."""
        return Pairs(*(values[self.ratio <= ratio] for values in self))

    def graph(self, count: int) -> csr_array:
        """Return the matrix (N, N) with the number of pairs of each two of `count` atoms."""
        shape = count, count
        return coo_array((np.ones(len(self.first)), (self.first, self.second)), shape).tocsr()

    def degree(self, count: int) -> np.ndarray:
        """Return the number of pairs (N,) of each of `count` atoms."""
        return np.bincount(self.first, minlength=count)


def close_pairs(atoms: Atoms) -> Pairs:
    """Return the pairs of atoms of one molecule, or of two that clash; they may be periodic."""
    radii = covalent_radii[atoms.numbers]
    contact = np.nan_to_num(CONTACT_CLASH * vdw_radii[atoms.numbers])
    first, second, length = neighbor_list("ijd", atoms, np.maximum(APART * radii, contact))
    return Pairs(first, second, length, length / (radii[first] + radii[second]))


def check_geometry(atoms: Atoms) -> None:
    """Raise InputError for no atoms, positions that are not finite, and atoms that clash.

    Atoms clash if they are much closer than a bond, or if they are not near each other along bonds
    and much closer than van der Waals contact, or if an atom has too many bonds.
    """
    if not (count := len(atoms)):
        raise InputError("no atoms; correct the file")
    check_positions(atoms)
    numbers, pairs = atoms.numbers, close_pairs(atoms)
    valence = np.array([VALENCES.get(z, count) for z in numbers])
    bonds = pairs.up_to(BONDED)
    near = step = bonds.graph(count)
    for _ in range(NEAR_BONDS - 1):
        near = near @ step + near
    # as numbers of pairs, since a sparse matrix cannot be read at no pair
    far = ~np.isin(
        pairs.first * count + pairs.second, np.ravel_multi_index(near.nonzero(), (count, count))
    )
    contact = vdw_radii[numbers][pairs.first] + vdw_radii[numbers][pairs.second]
    full, ends = bonds.degree(count) >= valence, numbers[np.stack([pairs.first, pairs.second])]
    bridge = (ends == 1).any(0) & np.isin(ends, (7, 8, 9)).any(0)  # strong hydrogen bonds
    closest, full_clash = np.where(
        bridge, [[BRIDGE_CLASH], [BRIDGE_FULL]], [[CONTACT_CLASH], [FULL_CLASH]]
    )
    clash = (pairs.ratio > STRETCHED) & (pairs.length < closest * contact)
    clash |= full[pairs.first] & full[pairs.second] & (pairs.ratio < full_clash)
    for place in np.flatnonzero((clash & far) | (pairs.ratio < SHORTEST)):
        a, b = pairs.first[place], pairs.second[place]
        raise InputError(
            f"atoms {a} ({atoms.symbols[a]}) and {b} ({atoms.symbols[b]}) clash:"
            f" {pairs.length[place]:.2f} Å; give 3-D coordinates in Å, and the right cell"
        )
    judged = np.isin(numbers, list(VALENCES))
    degree = np.bincount(bonds.first, judged[bonds.first] & judged[bonds.second], count)
    for a in np.flatnonzero(degree > [MOST_BONDS.get(z, count) for z in numbers]):
        raise InputError(
            f"atom {a} ({atoms.symbols[a]}) has {degree[a]:.0f} bonds: atoms overlap; give 3-D"
            " coordinates in Å, and the right cell"
        )


def check_supported(atoms: Atoms, elements: Sequence[int], closed_shells: bool = True) -> None:
    """Raise InputError unless models trained on `elements` describe these atoms at the start of a
    simulation; warn of what is unusual.

    Raises for an element, a charge, unpaired electrons (if the training set has `closed_shells`
    only), missing hydrogens and a flat sketch. Warns of zwitterions and of single open valences.
    """
    check_supported_elements(atoms.numbers, elements)
    check_charge(atoms)
    pairs = close_pairs(atoms)
    _, labels = connected_components(pairs.up_to(APART).graph(len(atoms)))
    if closed_shells and (reason := unpaired_electrons(atoms, labels)):
        raise InputError(f"{reason}; {CLOSED_SHELLS}")
    first, second, vector = neighbor_list("ijD", atoms, BOND_RADII_A[atoms.numbers])
    unit = vector / np.linalg.norm(vector, axis=1)[:, None]
    _check_sketch(atoms, first, unit)
    _check_valences(atoms, pairs, labels, _check_carbons(atoms, labels, first, second, unit))


def _check_valences(atoms: Atoms, pairs: Pairs, labels: np.ndarray, bare: list[int]) -> None:
    """Compare the bonds of each atom, as double and triple as their lengths allow, with its
    valence. labels (N,) int: the molecule of each atom; bare: carbons that lack hydrogens.
    """
    count, numbers, bonds = len(atoms), atoms.numbers, pairs.up_to(BROKEN)
    judged = np.isin(numbers, list(VALENCES))
    valence, degree = np.array([VALENCES.get(z, 0) for z in numbers]), bonds.degree(count)
    ends = numbers[np.stack([bonds.first, bonds.second])]
    double = bonds.ratio < np.where((ends > 6).all(0), DOUBLE_NOF, DOUBLE)
    extra = double.astype(int) + (bonds.ratio < np.where((ends == 6).all(0), TRIPLE_CC, TRIPLE))
    extra[(ends == 1).any(0) | (bonds.ratio < SKETCH)] = 0
    excess = np.where(judged, (degree - valence).clip(0), 0)  # N+ and O+, next to N-, O- or C-
    # carbon monoxide and isocyanides: C- has a lone pair
    carbide = (ends[0] == 6) & (ends[1] > 6) & (extra == 2) & (degree[bonds.first] == 1)
    filled = degree + np.bincount(bonds.first, extra + excess[bonds.second] + carbide, count)
    missing = (valence - filled).clip(0).astype(int)
    missing[~judged | (numbers == 1)] = 0
    missing[bonds.first[~judged[bonds.second]]] = 0
    missing[bare] = missing[bare].clip(1)
    total, heavy = np.bincount(labels, missing), np.bincount(labels, numbers > 1)
    alone = judged & (np.bincount(labels)[labels] == 1)
    found = np.flatnonzero(missing)
    names = ", ".join(f"{n} ({atoms.symbols[n]})" for n in found[:3]) + ", ..." * (len(found) > 3)
    if alone.any() or (total > 3 + heavy / 5).any():
        raise InputError(
            f"too few bonds of atoms {names}: hydrogens are missing; add them, in 3-D coordinates"
        )
    if len(found):
        log.warning(
            "open valences of atoms %s, as in a carbene, a biradical or without hydrogens; %s",
            names, CLOSED_SHELLS,
        )  # fmt: skip
    for atom in np.flatnonzero((numbers == 7) & (pairs.up_to(BONDED).degree(count) == 4)):
        beside = bonds.second[bonds.first == atom]
        if not (degree[beside] < valence[beside]).any():
            log.warning(
                "atom %d (N) has four bonds, as in a zwitterion: the models describe molecules in"
                " vacuum, where a proton may move; the neutral form is safer", atom,
            )  # fmt: skip


def _check_carbons(
    atoms: Atoms, labels: np.ndarray, first: np.ndarray, second: np.ndarray, unit: np.ndarray
) -> list[int]:
    """Return carbons that lack hydrogens. Raise InputError for more than MAX_BARE of them, and for
    a carboxylate in a molecule without N.

    A carbon with two neighbours has one line with them, a carbon with one is bonded to N or O.
    labels (N,) int: the molecule of each atom. unit (P, 3): direction of the bond from each atom
    `first` (P,) to `second` (P,).
    """
    numbers, degree = atoms.numbers, np.bincount(first, minlength=len(atoms))
    bare = []
    for atom in np.flatnonzero((numbers == 6) & (degree > 0) & (degree < 4)):
        mine = np.flatnonzero(first == atom)
        others = second[mine]
        bent = len(mine) == 2 and unit[mine[0]] @ unit[mine[1]] > BENT
        if bent or (len(mine) == 1 and numbers[others[0]] == 6):
            bare.append(int(atom))
        oxygens = others[(numbers[others] == 8) & (degree[others] == 1)]
        if len(mine) == 3 and len(oxygens) > 1 and 7 not in numbers[labels == labels[atom]]:
            raise InputError(
                f"atoms {oxygens[0]} and {oxygens[1]} (O) at atom {atom} (C) have one bond each, as"
                f" in an ion; {CLOSED_SHELLS}; add protons"
            )
    names = ", ".join(f"{atom} (C)" for atom in bare[:3])
    if len(bare) > MAX_BARE:
        raise InputError(
            f"too few bonds of atoms {names}: hydrogens are missing; add them, in 3-D coordinates"
        )
    return bare


def _check_sketch(atoms: Atoms, first: np.ndarray, unit: np.ndarray) -> None:
    """Raise InputError if four bonds of an atom are in one plane; bonds as in `_check_carbons`."""
    for atom in np.flatnonzero(np.bincount(first, minlength=len(atoms)) == 4):
        if atoms.numbers[atom] not in (6, 7):
            continue
        if np.linalg.svd(unit[first == atom], compute_uv=False)[-1] < FLAT:
            raise InputError(
                f"atom {atom} ({atoms.symbols[atom]}) and its four neighbours are in one plane, as"
                " in a 2-D sketch; give 3-D coordinates"
            )


def fixed_atoms(atoms: Atoms) -> np.ndarray:
    """Return whether each atom (N,) is held at its place by a constraint FixAtoms.

    Raises InputError for another constraint and if no atom can move.
    """
    fixed = np.zeros(len(atoms), bool)
    for constraint in atoms.constraints:
        if not isinstance(constraint, FixAtoms):
            raise InputError(
                f"constraint {type(constraint).__name__}: dynamics supports FixAtoms only;"
                " remove it, or fix whole atoms"
            )
        fixed[constraint.index] = True
    if len(atoms) and fixed.all():
        raise InputError("all atoms are fixed; at least one must move")
    return fixed


def starts_with_velocities(
    atoms: Atoms, velocities: str, ensemble: str = "nvt", replicas: int = 1
) -> bool:
    """Return whether `md.velocities` takes the initial velocities from the atoms.

    Raises InputError if it asks for velocities that the atoms do not have, and for replicas that
    are identical, as they start with the same velocities and have no noise.
    """
    found = atoms.has("momenta") and bool(atoms.get_momenta().any())
    if velocities == "start" and not found:
        raise InputError("velocities: start, but the structure has none; write velocities: draw")
    taken = found and velocities != "draw"
    if taken and ensemble == "nve" and replicas > 1:
        raise InputError(
            "velocities: in nve, replicas with the velocities of the structure are identical;"
            " write replicas: 1, or velocities: draw"
        )
    return taken
