"""Conversion factors against CODATA 2018, and against the constants of SciPy and ASE."""

import math

import ase.units
import pytest
from scipy import constants

from nnpipe import units

# CODATA 2018, https://doi.org/10.1103/RevModPhys.93.025010, table XXXI, SI units. The first five
# are exact by definition of the SI.
E, H, C = 1.602176634e-19, 6.62607015e-34, 299792458.0
BOLTZMANN, AVOGADRO = 1.380649e-23, 6.02214076e23
HARTREE, BOHR = 4.3597447222071e-18, 5.29177210903e-11
EPSILON_0, AMU = 8.8541878128e-12, 1.66053906660e-27
FACTORS = {
    "HARTREE": HARTREE / E,
    "BOHR": BOHR * 1e10,
    "DEBYE": 1e-21 / C / E * 1e10,
    "CAL_PER_MOL": 4.184 / AVOGADRO / E,
    "INVERSE_CM": H * C * 100 / E,
    "JOULE": 1 / E,
    "BOLTZMANN": BOLTZMANN / E,
    "COULOMB": E / (4 * math.pi * EPSILON_0) * 1e10,
    "SPEED_OF_LIGHT": C * 1e2 * 1e-15,
    "FREQUENCY": math.sqrt(E / 1e-20 / AMU) / (2 * math.pi * C * 100),
}
SCIPY = {
    "HARTREE": constants.value("Hartree energy in eV"),
    "BOHR": constants.value("Bohr radius") / constants.angstrom,
    "DEBYE": 1e-21 / constants.c / constants.e / constants.angstrom,
    "CAL_PER_MOL": constants.calorie / constants.N_A / constants.eV,
    "INVERSE_CM": 100 * constants.value("inverse meter-electron volt relationship"),
    "JOULE": 1 / constants.e,
    "BOLTZMANN": constants.value("Boltzmann constant in eV/K"),
    "COULOMB": constants.e / (4 * math.pi * constants.epsilon_0) / constants.angstrom,
    "SPEED_OF_LIGHT": constants.c / constants.centi * constants.femto,
    "FREQUENCY": math.sqrt(constants.eV / constants.angstrom**2 / constants.atomic_mass)
    / (2 * math.pi * constants.c / constants.centi),
}


def of_ase(codata: str) -> dict[str, float]:
    """Return the factors, from ASE's constants in a version of CODATA."""
    ase_units = ase.units.create_units(codata)
    return {
        "HARTREE": ase_units["Hartree"],
        "BOHR": ase_units["Bohr"],
        "DEBYE": ase_units["Debye"],
        "CAL_PER_MOL": ase_units["kcal"] / ase_units["mol"] / 1000,
        "INVERSE_CM": ase_units["invcm"],
        "JOULE": ase_units["J"],
        "BOLTZMANN": ase_units["kB"],
        "COULOMB": ase_units["Hartree"] * ase_units["Bohr"],
        "SPEED_OF_LIGHT": ase_units["_c"] * 1e2 * 1e-15,
        "FREQUENCY": ase_units["_hbar"]
        * 1e10
        / math.sqrt(ase_units["_e"] * ase_units["_amu"])
        / ase_units["invcm"],
    }


def test_units_are_all_tested():
    held = {name for name, value in vars(units).items() if isinstance(value, float)}
    assert held == FACTORS.keys() | {"ASE_FS", "ASE_BOLTZMANN"}
    assert FACTORS.keys() == SCIPY.keys() == of_ase("2018").keys()


@pytest.mark.parametrize("name", FACTORS)
def test_units_are_codata_2018(name):
    assert getattr(units, name) == pytest.approx(FACTORS[name], rel=1e-12)


@pytest.mark.parametrize("name", SCIPY)
def test_units_agree_with_scipy(name):
    """SciPy has CODATA 2018 or, since 1.15, CODATA 2022, which differs by 1.4e-9 at most (amu)."""
    assert getattr(units, name) == pytest.approx(SCIPY[name], rel=1.5e-9)


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize(("codata", "relative"), [("2018", 1e-9), ("2014", 3.5e-7)])
def test_units_agree_with_ase(name, codata, relative):
    """ASE's default is CODATA 2014, older than the SI of 2019, which fixed e, h, k and N_A."""
    assert getattr(units, name) == pytest.approx(of_ase(codata)[name], rel=relative)


def test_units_of_dynamics_are_those_of_ase():
    assert ase.units.fs == units.ASE_FS
    assert ase.units.kB == units.ASE_BOLTZMANN


def test_units_of_data_sets():
    """All units of energy and length of ASE."""
    ase_units = ase.units.create_units("2018")
    ase_units |= {unit: ase_units[unit[:-4]] / ase_units["mol"] for unit in ("kcal/mol", "kJ/mol")}
    ase_units |= {"meV": ase_units["eV"] / 1e3, "Å": 1.0, "pm": ase_units["nm"] / 1e3}
    for unit, factor in {**units.ENERGY, **units.LENGTH}.items():
        assert factor == pytest.approx(ase_units[unit], rel=1e-9), unit
    assert units.force_factor("Hartree/Bohr") == pytest.approx(51.42206747, rel=1e-8)
    assert units.force_factor("-kcal/mol/Ang") == pytest.approx(-4184 / AVOGADRO / E)


def test_units_are_consistent_with_each_other():
    """A Hartree is e²/(4 pi epsilon_0 a0); a photon of 1 cm^-1 has the period 1 / (c cm^-1)."""
    assert pytest.approx(units.HARTREE, rel=1e-9) == units.COULOMB / units.BOHR
    assert pytest.approx(H / E / 1e-15 * units.SPEED_OF_LIGHT, rel=1e-12) == units.INVERSE_CM


def test_units_are_printed_in_readable_sizes():
    assert units.readable("eV") == (1000.0, "meV")
    assert units.readable("eV/Å") == (1000.0, "meV/Å")
    assert units.readable("e Å") == (1.0, "e Å")
