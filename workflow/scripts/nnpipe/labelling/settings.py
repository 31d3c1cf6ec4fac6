"""Settings of the geometries that are labelled."""

from typing import Annotated

from pydantic import Field

from ..schema import section, setting

Factor = Annotated[float, Field(strict=True, ge=0)]


@section
class Settings:
    """How many geometries of a molecule are drawn, and how."""

    geometries: int = setting(
        3, "labelled geometries per training molecule, besides its minimum", ge=1
    )
    small_ring_factors: tuple[Factor, ...] = setting(
        (1.0, 1.0, 1.5, 6.0, 12.0, 18.0),
        "factors of the number of geometries, for 0, 1, 2, ... rings of 3 or 4 atoms that share a"
        " bond; strained cages are rare and break easily",
        min_length=1,
    )
    tiny_molecule_factor: float = setting(
        18.0,
        "multiplies geometries of molecules with 1 or 2 heavy atoms, in place of"
        " small_ring_factors; their geometries do not occur in larger molecules",
        ge=0,
    )
    smarts: tuple[str, ...] = setting(
        ("c1ccccc1",), "patterns of molecules that get more geometries than others"
    )
    smarts_factor: float = setting(
        4.0, "factor of the number of geometries of molecules that match one of labels.smarts", ge=0
    )
    temperature_min_k: float = setting(
        50.0, "lowest temperature; the logarithm of the temperature is drawn uniformly", "K", gt=0
    )
    temperature_max_k: float = setting(
        1500.0, "highest temperature of the displacements", "K", gt=0, le=5000
    )
    torsion_fraction: float = setting(
        0.25, "fraction of geometries with one bond turned by any angle", ge=0, le=1
    )
    strain_fraction: float = setting(
        0.1,
        "fraction of geometries with one bond compressed or stretched; larger in small rings",
        ge=0,
        le=1,
    )
    seed: int = setting(0, "seed of the geometries", ge=0, le=2**31 - 1)

    def __post_init__(self) -> None:
        if self.temperature_min_k > self.temperature_max_k:
            raise ValueError(
                f"temperature_min_k: {self.temperature_min_k} is above temperature_max_k,"
                f" {self.temperature_max_k}; lower it"
            )
        if self.torsion_fraction + self.strain_fraction > 1:
            raise ValueError(
                f"torsion_fraction: {self.torsion_fraction} and strain_fraction,"
                f" {self.strain_fraction}, sum to more than 1; lower one"
            )
