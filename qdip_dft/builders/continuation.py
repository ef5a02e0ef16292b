"""Thicker versions of an interface that start where the relaxed interface lies.

The energies of several thicknesses lie on one line only if all belong to the same structure of the interface.  A
relaxation finds the minimum that is nearest to its start; started anew, a thicker film may end in another one.  So
every ion that the thinner interface has, too, is displaced as its counterpart was when that relaxed,

    x(start) = x(joined slabs) + [x(relaxed) − x(joined slabs)] of the counterpart,

and the added layers are displaced as a whole, by the mean of the outermost layer that they continue.  A molecule is
also turned as its counterpart was.  It does not take the counterpart's orientation: a layer that was the face of the
thin film lies inside the thick one, and molecules that stand as at a face stay there, in a minimum of their own.

A face that sank as it relaxed may lie where the added layer belongs.  Where ions would overlap, a smaller share of
every displacement is taken over, none of it at last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qdip_dft.builders.ions import Array, Ion, IonicCrystal
from qdip_dft.errors import InterfaceError


@dataclass(frozen=True, slots=True)
class Counterparts:
    """Which ion of the thinner slab each ion of a thicker one continues.

    Parameters
    ----------
    indices
        Index in the thinner slab; for added ions that of the same ion in the outermost layer.
    is_added
        Whether the thinner slab lacks the ion.
    """

    indices: NDArray[np.int_]
    is_added: NDArray[np.bool_]


def match_film(n_images: Sequence[int], n_thin_images: Sequence[int], *, is_flipped: bool) -> Counterparts:
    """Return the counterparts of a film whose ions are ordered by the ion of the reference, then by height.

    Parameters
    ----------
    n_images, n_thin_images
        How often each ion of the strained-bulk reference is stacked in the thicker and in the thinner film.
    is_flipped
        Whether the upper end of the stack touches the dot, so that layers are added at the lower one.
    """
    indices, is_added, first = [], [], 0
    for count, thin_count in zip(n_images, n_thin_images, strict=True):
        images = np.arange(count) - (count - thin_count if is_flipped else 0)
        kept = np.clip(images, 0, thin_count - 1)
        indices.append(first + kept)
        is_added.append(images != kept)
        first += thin_count
    return Counterparts(np.concatenate(indices), np.concatenate(is_added))


def match_dot(n_ions: int, n_thin_ions: int, *, n_added_planes: int) -> Counterparts:
    """Return the counterparts of a dot slab: its added planes come first, all others follow in the same order.

    Parameters
    ----------
    n_ions, n_thin_ions
        Ions of the thicker and of the thinner slab.
    n_added_planes
        Lattice planes that the thinner slab lacks, all of the same ions.
    """
    n_added = n_ions - n_thin_ions
    added = np.arange(n_added) % (n_added // n_added_planes) if n_added else np.arange(0)
    is_added = np.arange(n_ions) < n_added
    return Counterparts(np.concatenate([added, np.arange(n_thin_ions)]), is_added)


def continue_interface(
    joined: IonicCrystal,
    *,
    thin: IonicCrystal,
    relaxed: IonicCrystal,
    dot: Counterparts,
    film: Counterparts,
    share: float = 1.0,
) -> IonicCrystal:
    """Return a thicker interface at the place and with the distortions of the relaxed thinner one.

    Molecules are turned as their counterparts were.  The third vector, which relaxes where the film is embedded,
    changes as that of the thinner interface did.

    Parameters
    ----------
    joined
        The thicker interface as joined from its relaxed slabs, ions of the dot first.
    thin, relaxed
        The thinner interface as joined, and relaxed, on one in-plane cell.
    dot, film
        The counterparts of the ions of either slab.
    share
        How much of every displacement and turn is taken over, from 0 to 1.

    Raises
    ------
    InterfaceError
        If a molecule fell apart when the thinner interface relaxed.
    """
    _require_same_ions(thin, relaxed)
    n_thin_dot = int((~dot.is_added).sum())
    moved_ang = _displacements_ang(thin, relaxed)
    parts = (dot, 0), (film, n_thin_dot)
    displacements = np.vstack([_continue(moved_ang[first:], part) for part, first in parts])
    sources = np.concatenate([np.where(part.is_added, -1, part.indices + first) for part, first in parts])
    ions = tuple(
        ion if source < 0 else _turn_as(ion, thin.ions[source], relaxed.ions[source], share)
        for ion, source in zip(joined.ions, sources, strict=True)
    )
    centres = joined.centres_ang + share * displacements
    lattice = joined.lattice_ang + share * relaxed.lattice_ang - share * thin.lattice_ang
    return IonicCrystal.at(lattice, ions, centres)


def _displacements_ang(thin: IonicCrystal, relaxed: IonicCrystal) -> Array:
    """Return how far each ion moved, to its nearest image."""
    moved = relaxed.frac_centres - thin.frac_centres
    unwrapped = thin.frac_centres + moved - np.round(moved)
    return np.asarray(unwrapped @ relaxed.lattice_ang - thin.centres_ang)


def _continue(moved_ang: Array, part: Counterparts) -> Array:
    """Return the displacement of every ion of a slab, added ones by the mean of the layer that they continue."""
    displacements = moved_ang[part.indices]
    if part.is_added.any():
        displacements[part.is_added] = moved_ang[np.unique(part.indices[part.is_added])].mean(axis=0)
    return displacements


def _turn_as(ion: Ion, before: Ion, after: Ion, share: float) -> Ion:
    """Return the ion after a share of the rotation that carries its counterpart's atoms best from before to after."""
    if len(ion.species) == 1:
        return ion
    from scipy.spatial.transform import Rotation

    rotation, _ = Rotation.align_vectors(after.offsets_ang, before.offsets_ang)
    return ion.rotated((rotation**share).as_matrix())


def _require_same_ions(thin: IonicCrystal, relaxed: IonicCrystal) -> None:
    if [ion.species for ion in thin.ions] == [ion.species for ion in relaxed.ions]:
        return
    raise InterfaceError(
        "the relaxed interface holds other ions than it was built from",
        limit="thicker films start from the relaxed interface, ion by ion",
        why="a molecule that fell apart or joined another has no counterpart",
        remedy="look at the relaxed interface (`qdip show`), or set film.thicknesses and dot.thicknesses to 1",
    )
