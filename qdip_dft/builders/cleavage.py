"""Terminations of a stoichiometric film: cleavage planes that break the least bond valence and leave no dipole.

A termination counts every ion j of the oriented cell to a lattice plane: whole numbers k_j shift ion j by k_j stacking
vectors.  A bond of valence v between ion i and ion j in the plane n above crosses |n − k_j + k_i| cleavage planes.
Stacking the shifted cell gives a slab of n formula units per plane without a macroscopic field only when the
polarization change vanishes (Tasker, J. Phys. C 12, 4977 (1979)): Σ q_j (z_j + k_j d) = 0.  The search is the integer
program

    minimize  Σ_bonds f v |n − k_j + k_i|  +  ε Σ_j |z_j/d + k_j − h|    subject to  |Σ q_j (z_j/d + k_j)| ≤ tolerance,

which is solved exactly: planar cuts, corrugated cuts that spare covalent chains, and the transfer of half the surface
charge from one face to the other (Tasker type III) are all special cases.  h is the height that the film is centred on
and f = 1.5 for bonds of the framework, so that chains of octahedra stay whole where soft contacts can break instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from qdip_dft.builders.bonds import find_bonds
from qdip_dft.builders.ions import Array, IonicCrystal, name_composition
from qdip_dft.builders.minimum_cut import Aim, BondNetwork, Shifts, find_cheapest_cuts
from qdip_dft.model.snapping import rank, wrap

POLARITY_TOLERANCE_E = 0.2
"""Largest |Σ q z| / d of a non-polar film in e: allows for ions that are slightly off their ideal planes."""

CORRUGATION_WEIGHTS = (0.005, 1.0)
"""ε: a small one prefers the flattest of equally good cuts, a large one finds the best flat cut at each height."""

FRAMEWORK_CHARGE_E = 2
"""Ions of at least this charge build the framework; monovalent ones fill it."""

FRAMEWORK_WEIGHT = 1.5
"""f: a metal–halide bond is worth this much more than a contact of the same valence to a monovalent cation."""

EQUAL_COST = 1e-3
"""Cuts whose costs are closer than this, in valence units, are equally good."""

LAYER_THICKNESS_ANG = 1.5
"""Depth of the outermost chemical layer of a non-polar face, counted from the outermost centre."""

LAYER_TOLERANCE_ANG = 0.35
"""Centres closer in height than this belong to one layer."""


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
        """Termination in words, bottom first."""
        return f"{self.bottom}|{self.top}"


def find_terminations(oriented: IonicCrystal) -> tuple[Termination, ...]:
    """Return the distinct non-polar terminations of an oriented cell, cheapest first.

    The cost is the broken bond valence, bonds of the framework weighted by `FRAMEWORK_WEIGHT`.

    Parameters
    ----------
    oriented
        The oriented primitive cell, without a cut.

    Returns
    -------
    tuple of Termination
        Empty when the plane is polar for every assignment of whole ions, as PbS(111) is.
    """
    charge_shift = _compensating_shift(oriented)
    if charge_shift is None:
        return ()
    network = _bond_network(oriented)
    aims = [Aim(height + 0.5, weight) for height, weight in product(_candidate_heights(oriented), CORRUGATION_WEIGHTS)]
    cuts = [cut for cut in find_cheapest_cuts(network, aims, charge_shift=charge_shift) if cut is not None]
    distinct = dict.fromkeys(tuple(k - min(cut) for k in cut) for cut in cuts)
    costs = rank((_cost(network, cut) for cut in distinct), tolerance=EQUAL_COST)
    found = [(cost, _describe(oriented, network, cut)) for cost, cut in zip(costs, distinct, strict=True)]
    return tuple(t for _, t in sorted(found, key=lambda pair: (pair[0], pair[1].bottom, pair[1].cut)))


def _compensating_shift(oriented: IonicCrystal) -> int | None:
    """Return the whole Σ q k that removes the dipole Σ q z / d, in e; None if no shift of whole ions does."""
    dipole = float(oriented.charges @ oriented.frac_centres[:, 2])
    quantum = int(np.gcd.reduce(np.abs(oriented.charges).astype(int))) or 1
    charge_shift = -quantum * round(dipole / quantum)
    return charge_shift if abs(dipole + charge_shift) <= POLARITY_TOLERANCE_E else None


def _bond_network(oriented: IonicCrystal) -> BondNetwork:
    """Return the bonds of the cell, those between the same ions and planes as one."""
    costs: dict[tuple[int, int, int], float] = {}
    for bond in find_bonds(oriented):
        contact = (bond.first, bond.second, bond.translation[2])
        costs[contact] = costs.get(contact, 0.0) + bond.valence * _weight(oriented, bond.first, bond.second)
    contacts = np.array(list(costs), dtype=int).reshape(-1, 3)
    return BondNetwork(
        heights=oriented.frac_centres[:, 2],
        charges=oriented.charges,
        first=contacts[:, 0],
        second=contacts[:, 1],
        planes=contacts[:, 2].astype(float),
        costs=np.array(list(costs.values())),
    )


def _weight(oriented: IonicCrystal, first: int, second: int) -> float:
    """Return what a bond of unit valence between two ions is worth."""
    largest_charge = max(abs(oriented.ions[first].charge), abs(oriented.ions[second].charge))
    return FRAMEWORK_WEIGHT if largest_charge >= FRAMEWORK_CHARGE_E else 1.0


def unit_valences(oriented: IonicCrystal) -> BondNetwork:
    """Return the bonds of the cell with their bond valences as costs, to count what any cut breaks."""
    network = _bond_network(oriented)
    return replace(network, costs=_unweighted(oriented, network))


def _unweighted(oriented: IonicCrystal, network: BondNetwork) -> Array:
    bonds = zip(network.first, network.second, network.costs, strict=True)
    return np.array([cost / _weight(oriented, i, j) for i, j, cost in bonds])


def _candidate_heights(oriented: IonicCrystal) -> list[float]:
    """Return the mid-heights of the gaps between layers, in stacking vectors."""
    spacing = oriented.lattice_ang[2, 2]
    heights = np.sort(wrap(oriented.frac_centres[:, 2]))
    following = np.append(heights[1:], heights[0] + 1.0)
    is_gap = (following - heights) * spacing > LAYER_TOLERANCE_ANG
    return [float(h) for h in (0.5 * (heights + following))[is_gap]] or [float(heights[0]) - 0.25]


def _cost(network: BondNetwork, cut: Shifts) -> float:
    return float(network.count_crossings(np.array(cut)) @ network.costs)


def _describe(oriented: IonicCrystal, network: BondNetwork, cut: Shifts) -> Termination:
    heights = oriented.frac_centres[:, 2] + np.array(cut)
    return Termination(
        cut=cut,
        broken_valence=float(network.count_crossings(np.array(cut)) @ _unweighted(oriented, network)),
        polarity_e=abs(float(oriented.charges @ heights)),
        bottom=name_layer(oriented, heights, is_bottom=True),
        top=name_layer(oriented, heights, is_bottom=False),
    )


def name_layer(
    oriented: IonicCrystal, heights: Array, *, is_bottom: bool, thickness_ang: float = LAYER_THICKNESS_ANG
) -> str:
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
    return name_composition([ion.label for ion in layer], anions={ion.label for ion in layer if ion.charge < 0})
