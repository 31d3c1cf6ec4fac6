"""Elements and isotopes of atoms, by their names in files."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers, chemical_symbols
from ase.formula import Formula

from ..errors import InputError

HYDROGEN = {"D": 2, "T": 3}  # mass numbers
# labels that begin with one of these letters mean its element, whatever the second letter is, but
ONE_LETTER = "CHNOPS"
TWO_LETTERS = ("Cl", "Se", "Si")


class Element(NamedTuple):
    """An element, or one of its isotopes."""

    z: int
    isotope: int = 0  # mass number; 0 is the natural mixture

    @property
    def symbol(self) -> str:
        """The symbol of the element, which is H for deuterium."""
        return chemical_symbols[self.z]

    @property
    def mass(self) -> float:
        """The mass, amu; 0 if there is no such isotope."""
        if not self.isotope:
            return float(atomic_masses[self.z])
        from rdkit.Chem import GetPeriodicTable

        return GetPeriodicTable().GetMassForIsotope(self.z, self.isotope)


@lru_cache(maxsize=1000)  # a trajectory repeats its names in every frame
def element(name: str) -> Element:
    """Return the element of O, o, O1, O2-, 8, D or 2H.

    Raises InputError for a name that is not an element or isotope.
    """
    if re.fullmatch("[0-9]{1,3}", name) and 0 < int(name) < len(chemical_symbols):
        return Element(int(name))
    match = re.fullmatch(r"(\d*)([A-Za-z]{1,2})([^A-Za-z].*)?", name)
    number, symbol = (int(match[1] or 0), match[2].capitalize()) if match else (0, "")
    if symbol in HYDROGEN and not number:
        return Element(1, HYDROGEN[symbol])
    found = Element(atomic_numbers.get(symbol, 0), number)
    if not found.z or not found.mass:
        raise InputError(f"{name!r} is not an element or isotope; correct or remove the atom")
    return found


def element_of_label(label: str, residue: str) -> Element:
    """Return the element of an atom by its label in a residue.

    CA is carbon, in residue CA calcium; HW1 is hydrogen, FE iron. Raises InputError for a label
    that begins with no element.
    """
    letters = re.sub(r"^[^A-Za-z]*([A-Za-z]*).*", r"\1", label)
    first, two = letters[:1].upper(), letters[:2].capitalize()
    is_ion = letters.upper() == re.sub("[^A-Z]", "", residue.upper())
    is_symbol = letters[1:2].islower()
    if letters == "D":
        return Element(1, HYDROGEN["D"])
    if (first not in ONE_LETTER or is_ion or is_symbol or two in TWO_LETTERS) and (
        two in atomic_numbers
    ):
        return Element(atomic_numbers[two])
    if not atomic_numbers.get(first):
        raise InputError(f"label {label!r} begins with no element; correct or remove the atom")
    return Element(atomic_numbers[first])


def atoms_of(elements: Sequence[Element], positions: Sequence, **others: Any) -> Atoms:
    """Return atoms with the masses of their isotopes; positions (N, 3) Å."""
    numbers = [one.z for one in elements]
    atoms = Atoms(numbers, np.reshape(np.array(positions, float), (-1, 3)), **others)
    set_masses(atoms, elements)
    return atoms


def set_masses(atoms: Atoms, elements: Sequence[Element]) -> None:
    """Give the atoms their masses in place, if one of them is an isotope."""
    if any(one.isotope for one in elements):
        atoms.set_masses([one.mass for one in elements])


def formula(elements: Sequence[Element]) -> str:
    """Return the formula of atoms, in Hill's order."""
    return Formula.from_list([one.symbol for one in elements]).format("hill")
