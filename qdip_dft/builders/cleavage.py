"""Terminations of a stoichiometric film: cleavage planes that break the least bond valence and leave no dipole.

A termination counts every ion j of the oriented cell to a lattice plane: whole numbers k_j shift ion j by k_j stacking
vectors.  A bond of valence v between ion i and ion j in the plane n above crosses |n − k_j + k_i| cleavage planes.
Stacking the shifted cell gives a slab of n formula units per plane without a macroscopic field only when the
polarization change vanishes (Tasker, J. Phys. C 12, 4977 (1979)): Σ q_j (z_j + k_j d) = 0.  The search is the integer program

    minimize  Σ_bonds v |n − k_j + k_i|  +  ε Σ_j |z_j/d + k_j − h|     subject to  |Σ q_j (z_j/d + k_j)| ≤ tolerance,

which is exact: planar cuts, corrugated cuts that spare covalent chains, and the transfer of half the surface charge
from one face to the other (Tasker type III) are all special cases.  h is the height that the film is centred on.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, vstack

from qdip_dft.builders.bonds import Bond, find_bonds
from qdip_dft.builders.ions import Array, IonicCrystal

POLARITY_TOLERANCE_E = 0.2
"""Largest |Σ q z| / d of a non-polar film in e: allows for ions that are slightly off their ideal planes."""

CORRUGATION_WEIGHTS = (0.005, 1.0)
"""ε: a small one prefers the flattest of equally good cuts, a large one finds the best flat cut at each height."""

LAYER_TOLERANCE_ANG = 0.35
"""Centres closer in height than this belong to one layer."""

MOST_SHIFTS = 2
"""An ion moves at most this many lattice planes."""


@dataclass(frozen=True, slots=True)
class Termination:
    """One way to cleave a crystal.

    Parameters
    ----------
    cut
        For each ion of the oriented cell, the number of stacking vectors that it is shifted by.
    broken_valence
        Bond valence cut per 1 × 1 surface cell (both faces share it).
    polarity_e
        |Σ q z| / d in e; zero for a film without a macroscopic field.
    bottom, top
        The outermost chemical layers, such as ``PbI2`` and ``FAI``.
    """

    cut: tuple[int, ...]
    broken_valence: float
    polarity_e: float
    bottom: str
    top: str

    @property
    def name(self) -> str:
        """Return the termination in words, bottom first."""
        return f"{self.bottom}|{self.top}"


def find_terminations(oriented: IonicCrystal) -> tuple[Termination, ...]:
    """Return the distinct non-polar terminations of an oriented cell, least broken bond valence first.

    Parameters
    ----------
    oriented
        The oriented primitive cell, without a cut.

    Returns
    -------
    tuple of Termination
        Empty when the plane is polar for every assignment of whole ions, as PbS(111) is.
    """
    bonds = find_bonds(oriented)
    found: dict[tuple[int, ...], Termination] = {}
    for height, weight in product(_candidate_heights(oriented), CORRUGATION_WEIGHTS):
        cut = _solve_cut(oriented, bonds, centre=height + 0.5, corrugation_weight=weight)
        if cut is not None:
            key = tuple(k - min(cut) for k in cut)
            found.setdefault(key, _describe(oriented, bonds, key))
    return tuple(sorted(found.values(), key=lambda t: (round(t.broken_valence, 3), t.bottom, t.cut)))


def _candidate_heights(oriented: IonicCrystal) -> list[float]:
    """Return the mid-heights of the gaps between layers, in stacking vectors."""
    spacing = oriented.lattice_ang[2, 2]
    heights = np.sort(oriented.frac_centres[:, 2] % 1.0)
    following = np.append(heights[1:], heights[0] + 1.0)
    is_gap = (following - heights) * spacing > LAYER_TOLERANCE_ANG
    return [float(h) for h in (0.5 * (heights + following))[is_gap]] or [float(heights[0]) - 0.25]


def _solve_cut(
    oriented: IonicCrystal, bonds: tuple[Bond, ...], *, centre: float, corrugation_weight: float
) -> tuple[int, ...] | None:
    """Solve the integer program; unknowns are k (n ions), t (bonds) and w (n ions)."""
    n, m = len(oriented.ions), len(bonds)
    heights = oriented.frac_centres[:, 2]
    objective = np.concatenate([np.zeros(n), [b.valence for b in bonds], np.full(n, corrugation_weight)])
    bond_rows, bond_limits = _absolute_rows(
        [(b.first, b.second, n + index, float(b.translation[2])) for index, b in enumerate(bonds)], n + m + n
    )
    corrugation_rows, corrugation_limits = _absolute_rows(
        [(j, -1, n + m + j, float(heights[j]) - centre) for j in range(n)], n + m + n
    )
    polarity_row = np.concatenate([oriented.charges, np.zeros(m + n)])
    offset = float(oriented.charges @ heights)
    constraints = [
        LinearConstraint(vstack([bond_rows, corrugation_rows]), lb=np.concatenate([bond_limits, corrugation_limits])),
        LinearConstraint(polarity_row, -POLARITY_TOLERANCE_E - offset, POLARITY_TOLERANCE_E - offset),
    ]
    base = np.round(centre - heights)
    lower = np.concatenate([base - MOST_SHIFTS, np.zeros(m + n)])
    upper = np.concatenate([base + MOST_SHIFTS, np.full(m + n, np.inf)])
    integrality = np.concatenate([np.ones(n), np.zeros(m + n)])
    solution = milp(objective, constraints=constraints, bounds=Bounds(lower, upper), integrality=integrality)
    return tuple(int(round(k)) for k in solution.x[:n]) if solution.success else None


def _absolute_rows(terms: list[tuple[int, int, int, float]], width: int) -> tuple[coo_array, Array]:
    """Return rows for t ≥ |k_plus − k_minus + constant|, two per term; k_minus < 0 means absent."""
    rows, columns, values, limits = [], [], [], []
    for index, (plus, minus, bound, constant) in enumerate(terms):
        for row, sign in ((2 * index, 1.0), (2 * index + 1, -1.0)):
            entries = [(bound, 1.0), (plus, -sign)] + ([(minus, sign)] if minus >= 0 else [])
            for column, value in entries:
                rows.append(row)
                columns.append(column)
                values.append(value)
            limits.append(sign * constant)
    return coo_array((values, (rows, columns)), shape=(2 * len(terms), width)), np.array(limits)


def _describe(oriented: IonicCrystal, bonds: tuple[Bond, ...], cut: tuple[int, ...]) -> Termination:
    broken = sum(b.valence * abs(b.translation[2] - cut[b.second] + cut[b.first]) for b in bonds)
    heights = oriented.frac_centres[:, 2] + np.array(cut)
    return Termination(
        cut=cut,
        broken_valence=float(broken),
        polarity_e=abs(float(oriented.charges @ heights)),
        bottom=name_layer(oriented, heights, is_bottom=True),
        top=name_layer(oriented, heights, is_bottom=False),
    )


def name_layer(oriented: IonicCrystal, heights: Array, *, is_bottom: bool, thickness_ang: float = 1.2) -> str:
    """Return the composition of the outermost chemical layer, cations first, such as ``PbI2``.

    Parameters
    ----------
    oriented
        The cell.
    heights
        Height of each ion in stacking vectors, the cut applied.
    is_bottom
        Whether the lower or the upper face is asked for.
    thickness_ang
        Thickness of the layer in Å.
    """
    inward = (heights - heights.min()) if is_bottom else (heights.max() - heights)
    spacing = oriented.lattice_ang[2, 2]
    layer = [ion for ion, depth in zip(oriented.ions, inward, strict=True) if depth * spacing <= thickness_ang]
    labels = sorted({(-ion.charge, ion.label) for ion in layer}, key=lambda pair: (pair[0] > 0, pair[1]))
    counts = {label: sum(ion.label == label for ion in layer) for _, label in labels}
    divisor = np.gcd.reduce(list(counts.values()))
    return "".join(label + (str(n // divisor) if n > divisor else "") for label, n in counts.items())
