"""Which step of a study a finished calculation answers: the same atoms at the same places.

Sites may be listed in any order and in any periodic image.  A slab of GPAW may lie elsewhere along its normal, because
its dipole layer sits at the edge of the cell: a rigid shift changes no energy.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qdip_dft.engines.code_run import find_vacuum
from qdip_dft.engines.evaluation import FloatArray
from qdip_dft.model.keys import POSITION_ROUNDING_ANG
from qdip_dft.model.structure import Arrangement, StructureRecord

LARGEST_START_OFFSET_ANG = 1.0
"""So far may an atom lie from its place in a step that the user names: further away it is another structure."""


@dataclass(frozen=True, slots=True)
class SiteMatch:
    """How the sites of a finished calculation correspond to those of a step.

    Parameters
    ----------
    order
        For each site of the step, the number of the site in the files.
    offsets
        From each site of the step to its counterpart in fractions of the lattice, nearest image, shape (atoms, 3).
    largest_ang
        Length of the largest of these, in Å.
    """

    order: NDArray[np.int_]
    offsets: FloatArray
    largest_ang: float


def match_sites(structure: StructureRecord, found: Arrangement, *, tolerance_ang: float) -> SiteMatch | str:
    """Return how the sites correspond, or in one clause why the structures are not the same.

    Parameters
    ----------
    structure
        Of a step.
    found
        Of a finished calculation.
    tolerance_ang
        How far a site may lie from its counterpart, in Å; lattice vectors must agree to the rounding of the keys.
    """
    difference = describe_composition(structure.arrangement.kinds, found.kinds)
    if difference is not None:
        return difference
    lattice_ang = np.array(structure.lattice_ang)
    stretched = float(np.abs(lattice_ang - found.lattice_ang).max())
    if stretched > POSITION_ROUNDING_ANG:
        return f"its lattice vectors differ by {stretched:.4g} Å"
    places = np.asarray(np.linalg.solve(found.lattice_ang.T, found.positions_ang.T).T, dtype=np.float64)
    direct = _pair(structure, found.kinds, places, lattice_ang)
    shifted = _pair(structure, found.kinds, np.asarray(places - _slab_shift(structure, found, places)), lattice_ang)
    best = min(direct, shifted, key=lambda match: match.largest_ang)
    if best.largest_ang > tolerance_ang:
        return f"an atom of it lies {best.largest_ang:.4g} Å from its place"
    return best


def describe_composition(asked: tuple[str, ...], found: tuple[str, ...]) -> str | None:
    """Return both compositions in words where they differ."""
    if Counter(asked) == Counter(found):
        return None
    words = [" ".join(f"{s}{n}" for s, n in sorted(Counter(each).items())) for each in (found, asked)]
    return f"it holds {words[0]} instead of {words[1]}"


def _pair(structure: StructureRecord, kinds: tuple[str, ...], places: FloatArray, lattice_ang: FloatArray) -> SiteMatch:
    """Return the pairing of sites of one kind with the least sum of squared distances."""
    from scipy.optimize import linear_sum_assignment

    order = np.zeros(structure.n_atoms, dtype=int)
    offsets = np.zeros((structure.n_atoms, 3))
    for kind in set(kinds):
        ours = np.flatnonzero([each == kind for each in structure.arrangement.kinds])
        theirs = np.flatnonzero([each == kind for each in kinds])
        between = places[theirs][None, :, :] - np.array(structure.frac_coords)[ours][:, None, :]
        between -= np.round(between)
        rows, columns = linear_sum_assignment((np.linalg.norm(between @ lattice_ang, axis=2)) ** 2)
        order[ours[rows]] = theirs[columns]
        offsets[ours[rows]] = between[rows, columns]
    largest = float(np.linalg.norm(offsets @ lattice_ang, axis=1).max(initial=0.0))
    return SiteMatch(order=order, offsets=offsets, largest_ang=largest)


def _slab_shift(structure: StructureRecord, found: Arrangement, places: FloatArray) -> FloatArray:
    """Return how far the vacuum of a slab lies from that of the step, along the third vector."""
    ours = find_vacuum(structure)
    theirs = find_vacuum(
        StructureRecord(lattice_ang=found.lattice_ang.tolist(), species=found.species, frac_coords=places.tolist())
    )
    return np.array([0.0, 0.0, 0.0 if ours is None or theirs is None else theirs.centre - ours.centre])
