"""Conversion factors into the units of the library: eV, Å, amu, fs, K, e.

Source: CODATA 2018, https://doi.org/10.1103/RevModPhys.93.025010. No other file holds a factor.
"""

HARTREE = 27.211386245988  # eV
BOHR = 0.529177210903  # Å
DEBYE = 0.20819433270935594  # e·Å
CAL_PER_MOL = 4.336410424180094e-05  # eV
INVERSE_CM = 1.2398419843320026e-04  # eV
JOULE = 6.241509074460763e18  # eV
BOLTZMANN = 8.617333262145179e-05  # eV/K
COULOMB = 14.399645478425668  # eV·Å/e²: 1 / (4 pi epsilon_0)
SPEED_OF_LIGHT = 2.99792458e-5  # cm/fs
FREQUENCY = 521.4708983725064  # cm^-1: (eV/Å²/amu)^0.5 / (2 pi c)
# Dynamics uses ASE's factors (CODATA 2014, 4e-7 from the above), so that it agrees with ASE's own
# integrators to rounding: an Atoms object stores velocities in them and computes its temperature.
ASE_FS = 0.09822694788464063  # Å·(amu/eV)^0.5, ASE's unit of time, in a femtosecond
ASE_BOLTZMANN = 8.617330337217213e-05  # eV/K
# units that a data set may have: energies per molecule, lengths, forces
ENERGY = {
    "eV": 1.0, "Hartree": HARTREE, "kcal/mol": 1e3 * CAL_PER_MOL,
    "kJ/mol": 1e3 * CAL_PER_MOL / 4.184, "Ha": HARTREE, "Ry": HARTREE / 2, "Rydberg": HARTREE / 2,
    "meV": 1e-3, "invcm": INVERSE_CM, "J": JOULE, "kJ": 1e3 * JOULE, "kcal": 4184 * JOULE,
}  # fmt: skip
LENGTH = {"Ang": 1.0, "Bohr": BOHR, "Angstrom": 1.0, "Å": 1.0, "nm": 10.0, "pm": 0.01, "m": 1e10}
FORCE = {f"{e}/{length}": ENERGY[e] / LENGTH[length] for e in ENERGY for length in LENGTH}


def force_factor(unit: str) -> float:
    """Return the factor from `unit`, of FORCE, into eV/Å; with a minus before it, of gradients."""
    return -FORCE[unit[1:]] if unit.startswith("-") else FORCE[unit]


def readable(unit: str) -> tuple[float, str]:
    """Return the factor and the unit in which errors of a quantity in `unit` are printed.

    Errors in eV are printed in meV, all others in `unit`.
    """
    return (1e3, unit.replace("eV", "meV")) if unit.startswith("eV") else (1.0, unit)
