"""What the package knows about elements, each fact once: radii, bonds, halides, organic elements."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

ORGANIC_ELEMENTS = frozenset({"H", "C", "N", "O"})
"""Elements whose short contacts are covalent bonds of a molecule."""

CARBON_PARTNERS = frozenset({"B", "P", "S", "Se", "F", "Cl", "Br", "I"})
"""Elements that belong to a molecule where they are bonded to its carbon, as in SCN⁻ or a fluorinated cation."""

ALKALI_METALS = frozenset({"Li", "Na", "K", "Rb", "Cs"})

HALIDES = ("F", "Cl", "Br", "I")

CHALCOGENIDES = ("O", "S", "Se", "Te")

ANIONS = frozenset({*HALIDES, *CHALCOGENIDES})
"""Elements that take the anion's part in a salt."""

BOND_RATIO = 1.25
"""Two atoms are bonded when closer than this times the sum of their covalent radii."""

CLOSEST_COVALENT_RATIO = 0.75
"""Atoms that are nearer than this times the sum of their covalent radii overlap."""

CLOSEST_OXO_RATIO = 0.65
"""The same for oxygen or nitrogen on a transition metal, lanthanide or actinide: U=O of uranyl, 1.77 Å, has 0.68."""

MIN_HYDROGEN_HALIDE_ANG = 2.5
"""Shortest H···X contact that is built; hydrogen bonds in iodide perovskites are 2.5 to 2.8 Å long."""

SHORTEST_HYDROGEN_HALIDE_ANG = {"I": 2.5, "Br": 2.26, "Cl": 2.11, "F": 1.63}
"""Shortest sound H···X contact: that of iodide less the difference of the ionic radii (Shannon, Acta Cryst. A 32, 751
(1976), coordination VI: I 2.20, Br 1.96, Cl 1.81, F 1.33 Å).  MAPbBr3 and MAPbCl3 relax to 2.36 and 2.22 Å."""

CONTACT_RADII_ANG = {
    "Pb": 1.19, "Sn": 1.18, "Cs": 1.74, "Rb": 1.61, "Na": 1.02, "Cd": 0.95, "Zn": 0.74, "Ag": 1.15, "Cu": 0.77,
    "In": 0.80, "I": 2.06, "Br": 1.82, "Cl": 1.67, "S": 1.84, "Se": 1.98, "Te": 2.21, "O": 1.40, "H": 0.70,
    "C": 1.70, "N": 1.55, "P": 1.80,
}  # fmt: skip
"""Ionic radii in Å, which only set the start: Shannon, Acta Cryst. A 32, 751 (1976), coordination VI (I: fitted to
3.2 Å Pb–I contacts); H of a cation from H···I 2.76 Å; C, N, P van der Waals, Bondi, J. Phys. Chem. 68, 441 (1964)."""

DEFAULT_CONTACT_RADIUS_ANG = 1.5
"""Contact radius of an element that is not in the table, Å."""


def contact_radii_ang(species: Sequence[str]) -> NDArray[np.float64]:
    """Contact radius of each atom in Å."""
    return np.array([CONTACT_RADII_ANG.get(symbol, DEFAULT_CONTACT_RADIUS_ANG) for symbol in species])


def covalent_radii_ang(species: Sequence[str]) -> NDArray[np.float64]:
    """Covalent radius of each atom in Å (Cordero et al., Dalton Trans. 2008, 2832)."""
    return np.array([_covalent_radius_ang(symbol) for symbol in species], dtype=np.float64)


@cache
def _covalent_radius_ang(symbol: str) -> float:
    from ase.data import atomic_numbers, covalent_radii

    return float(covalent_radii[atomic_numbers[symbol]])


def closest_ratio(first: str, second: str) -> float:
    """How near two elements may be, in sums of their covalent radii, before their atoms overlap."""
    is_oxo = {first, second} & {"O", "N"} and (_has_d_or_f_shell(first) or _has_d_or_f_shell(second))
    return CLOSEST_OXO_RATIO if is_oxo else CLOSEST_COVALENT_RATIO


@cache
def _has_d_or_f_shell(symbol: str) -> bool:
    """Whether an element is a transition metal, lanthanide or actinide: groups 3 to 11."""
    from ase.data import atomic_numbers

    number = atomic_numbers[symbol]
    return any(low <= number <= high for low, high in ((21, 29), (39, 47), (57, 79), (89, 111)))
