"""How strong a bond of given length is: s = exp[(R0 − d) / b] with b = 0.31 Å.

R0 from the atomic parameters of O'Keeffe and Brese, J. Am. Chem. Soc. 113, 3226 (1991), as shipped with pymatgen.  The
valences of all bonds of an ion add up to about its formal charge (Brown, The Chemical Bond in Inorganic Chemistry,
2002).
"""

from __future__ import annotations

from functools import cache
from math import log, sqrt

from qdip_dft.errors import StructureError

SOFTNESS_ANG = 0.31
"""b in the bond-valence equation, Å."""


@cache
def bond_valence_radius_ang(first: str, second: str) -> float:
    """Return R0 of two elements in Å.

    Raises
    ------
    StructureError
        If the table has no parameters for an element.
    """
    from pymatgen.analysis.bond_valence import BV_PARAMS
    from pymatgen.core import Element

    for symbol in (first, second):
        if Element(symbol) not in BV_PARAMS:
            raise StructureError(
                f"element {symbol} has no bond-valence parameters",
                limit="the table of O'Keeffe and Brese (1991) covers the common elements",
                why="broken bonds could not be counted",
                remedy="replace the element or extend the table with a published value",
            )
    a, b = BV_PARAMS[Element(first)], BV_PARAMS[Element(second)]
    mixing = (sqrt(a["c"]) - sqrt(b["c"])) ** 2 / (a["c"] * a["r"] + b["c"] * b["r"])
    return float(a["r"] + b["r"] - a["r"] * b["r"] * mixing)


def bond_length_ang(first: str, second: str, valence: float) -> float:
    """Return the length of a bond of given valence in Å."""
    return bond_valence_radius_ang(first, second) - SOFTNESS_ANG * log(valence)
