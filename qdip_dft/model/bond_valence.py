"""How strong a bond of given length is: s = exp[(R0 − d) / b] with b = 0.31 Å.

R0 from the atomic parameters of O'Keeffe and Brese, J. Am. Chem. Soc. 113, 3226 (1991).  The
valences of all bonds of an ion add up to about its formal charge (Brown, The Chemical Bond in Inorganic Chemistry,
2002).
"""

from __future__ import annotations

from functools import cache
from math import log, sqrt

from qdip_dft.errors import StructureError

SOFTNESS_ANG = 0.31
"""b in the bond-valence equation, Å."""


_SIZE_AND_SOFTNESS = {
    "Ag": (1.12, 1.42), "Al": (1.13, 1.47), "As": (1.21, 2.23), "B": (0.79, 1.6), "Ba": (1.88, 0.97),
    "Be": (0.81, 1.47), "Bi": (1.54, 1.67), "Br": (1.13, 2.58), "C": (0.78, 2.0), "Ca": (1.5, 1.04),
    "Cd": (1.28, 1.46), "Ce": (1.68, 1.08), "Cl": (0.99, 2.74), "Co": (1.09, 1.7), "Cr": (1.16, 1.56),
    "Cs": (2.05, 0.86), "Cu": (0.87, 1.75), "Dy": (1.54, 1.1), "Er": (1.51, 1.11), "Eu": (1.62, 1.01),
    "F": (0.58, 3.98), "Fe": (1.16, 1.64), "Ga": (1.14, 1.82), "Gd": (1.58, 1.11), "Ge": (1.21, 1.51),
    "H": (0.38, 0.89), "Hf": (1.42, 1.23), "Hg": (1.32, 1.44), "Ho": (1.53, 1.1), "I": (1.33, 2.38),
    "In": (1.34, 1.49), "Ir": (1.37, 1.55), "K": (1.73, 0.91), "La": (1.71, 1.08), "Li": (1.0, 0.97),
    "Lu": (1.47, 1.14), "Mg": (1.21, 1.23), "Mn": (1.17, 1.6), "Mo": (1.37, 1.3), "N": (0.72, 2.61),
    "Na": (1.36, 1.01), "Nb": (1.4, 1.23), "Nd": (1.64, 1.07), "Ni": (1.04, 1.75), "O": (0.63, 3.15),
    "P": (1.09, 1.96), "Pb": (1.53, 1.55), "Pd": (1.11, 1.35), "Pr": (1.66, 1.07), "Rb": (1.84, 0.89),
    "Re": (1.37, 1.46), "Rh": (1.18, 1.54), "Ru": (1.21, 1.42), "S": (1.03, 2.35), "Sb": (1.41, 1.72),
    "Sc": (1.34, 1.2), "Se": (1.18, 2.51), "Si": (1.12, 1.58), "Sm": (1.61, 1.07), "Sn": (1.37, 1.72),
    "Sr": (1.66, 0.99), "Ta": (1.39, 1.33), "Tb": (1.56, 1.1), "Te": (1.4, 2.72), "Th": (1.7, 1.11),
    "Ti": (1.27, 1.32), "Tl": (1.62, 1.44), "Tm": (1.5, 1.11), "U": (1.59, 1.22), "V": (1.21, 1.45), "W": (1.38, 1.4),
    "Y": (1.52, 1.11), "Yb": (1.49, 1.06), "Zn": (1.07, 1.66), "Zr": (1.43, 1.22),
}  # fmt: skip
"""Size in Å and electronegativity parameter of each element: table 1 of O'Keeffe and Brese.

They are written down here because pymatgen, which has them too, takes a second to load its tables.
"""


@cache
def bond_valence_radius_ang(first: str, second: str) -> float:
    """Return R0 of two elements in Å.

    Raises
    ------
    StructureError
        If the table has no parameters for an element.
    """
    for symbol in (first, second):
        if symbol not in _SIZE_AND_SOFTNESS:
            raise StructureError(
                f"element {symbol} has no bond-valence parameters",
                limit="the table of O'Keeffe and Brese (1991) covers the common elements",
                why="broken bonds could not be counted",
                remedy="replace the element or extend the table with a published value",
            )
    (r, c), (r_other, c_other) = _SIZE_AND_SOFTNESS[first], _SIZE_AND_SOFTNESS[second]
    mixing = (sqrt(c) - sqrt(c_other)) ** 2 / (c * r + c_other * r_other)
    return float(r + r_other - r * r_other * mixing)


def bond_length_ang(first: str, second: str, valence: float) -> float:
    """Return the length of a bond of given valence in Å."""
    return bond_valence_radius_ang(first, second) - SOFTNESS_ANG * log(valence)
