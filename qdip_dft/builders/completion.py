"""Charged films made neutral: halides added to both faces, or monovalent cations taken from them.

A symmetric film that ends with charged layers, such as Pb|Pb or CsPbI|CsPbI of a perovskite, carries half of its charge
on each face.  Two variants take it away: halides on the sites where the crystal would continue (``added-halide``), or
vacancies of the monovalent cations that lie nearest to the face (``a-vacancy``).  Both faces change alike, so that none
keeps a bound charge and no field arises; the excess of the completed film follows from its ions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from qdip_dft.builders.ions import Array, IonicCrystal
from qdip_dft.builders.lattice_planes import LAYER_GAP_ANG, Cut, LatticePlane, survey_plane
from qdip_dft.builders.orientation import in_plane_vectors, plane_spacing_ang
from qdip_dft.builders.passivation import spread_evenly
from qdip_dft.builders.terminations import TerminationPair, describe_pair
from qdip_dft.errors import ChargeBalanceError
from qdip_dft.model.elements import HALIDES
from qdip_dft.model.study import Completion


def complete_termination(
    oriented: IonicCrystal, pair: TerminationPair, completion: Completion, *, face: str
) -> TerminationPair:
    """Return a charged symmetric termination completed to neutrality.

    Parameters
    ----------
    oriented
        The oriented cell without a cut.
    pair
        The charged termination.
    completion
        The variant.
    face
        Name of the face, for messages.

    Raises
    ------
    ChargeBalanceError
        If the variant makes no sense for this pair.
    """
    plane = survey_plane(oriented)
    n_ions = _count_per_face(plane, pair, completion, face)
    lower = _complete_face(plane, pair.cut, completion, n_ions, is_bottom=True)
    whole = tuple((np.array(pair.cut) + pair.closing).tolist())
    upper = _mirror(plane, pair, lower) or _complete_face(plane, whole, completion, n_ions, is_bottom=False)
    completed = describe_pair(plane, lower, upper)
    if completed.charge_e or plane.is_polar(lower) or plane.has_field(lower, upper):
        raise _refusal(face, pair, completion, "no choice of sites removes the bound charge of both faces")
    return replace(
        completed, bottom=pair.bottom, top=pair.top, completion=completion.value, n_completing=n_ions
    )  # fmt: skip


def list_completions(oriented: IonicCrystal, pairs: Iterable[TerminationPair]) -> Iterator[TerminationPair]:
    """Yield the completed variants of every charged pair that has any."""
    for pair in pairs:
        for completion in Completion:
            if pair.charge_e:
                try:
                    yield complete_termination(oriented, pair, completion, face="")
                except ChargeBalanceError:
                    continue


def _count_per_face(plane: LatticePlane, pair: TerminationPair, completion: Completion, face: str) -> int:
    """Return how many ions each face gains or loses."""
    if pair.charge_e == 0:
        raise _refusal(face, pair, completion, "it is neutral, there is nothing to complete")
    if pair.charge_e < 0:
        raise _refusal(face, pair, completion, f"it carries {pair.charge_e:+d} e, which the variant makes worse")
    if pair.charge_e % 2:
        raise _refusal(face, pair, completion, f"each face carries {pair.charge_e / 2:g} e per 1 × 1 cell")
    n_ions, available = pair.charge_e // 2, len(_eligible(plane.oriented, completion))
    if n_ions > available:
        raise _refusal(face, pair, completion, f"each face needs {n_ions} ions, a lattice plane holds {available}")
    return n_ions


def _eligible(oriented: IonicCrystal, completion: Completion) -> list[int]:
    """Return the ions whose images are added or taken away."""
    if completion is Completion.ADDED_HALIDE:
        return [i for i, ion in enumerate(oriented.ions) if ion.label in HALIDES]
    return [i for i, ion in enumerate(oriented.ions) if ion.charge == 1]


def _complete_face(plane: LatticePlane, cut: Cut, completion: Completion, n_ions: int, *, is_bottom: bool) -> Cut:
    """Return the cut of one face with images of n ions added outside or taken away inside, nearest to it first."""
    is_lowered = is_bottom == (completion is Completion.ADDED_HALIDE)
    ions = _eligible(plane.oriented, completion)
    images = np.array(cut) - is_lowered  # lower cut: image k − 1 lies outside, k inside; upper cut: l and l − 1
    heights_ang = (plane.oriented.frac_centres[:, 2] + images)[ions] * plane_spacing_ang(plane.oriented)
    distances_ang = heights_ang.max() - heights_ang if is_lowered else heights_ang - heights_ang.min()
    chosen = [ions[i] for i in _nearest(plane.oriented, ions, distances_ang, n_ions)]
    return tuple(k + (-1 if is_lowered else 1) * (i in chosen) for i, k in enumerate(cut))


def _nearest(oriented: IonicCrystal, ions: list[int], distances_ang: Array, count: int) -> list[int]:
    """Return the ions nearest to the face; of those in one layer, ones that lie far apart."""
    chosen: list[int] = []
    left = list(range(len(ions)))
    while len(chosen) < count:
        nearest = min(distances_ang[i] for i in left)
        layer = [i for i in left if distances_ang[i] <= nearest + LAYER_GAP_ANG]
        points = oriented.centres_ang[[ions[i] for i in layer]]
        kept = spread_evenly(points, in_plane_vectors(oriented), count=min(count - len(chosen), len(layer)))
        chosen += [layer[i] for i in kept]
        left = [i for i in left if i not in layer]
    return chosen


def _mirror(plane: LatticePlane, pair: TerminationPair, lower: Cut) -> Cut | None:
    """Return the upper cut that an operation of the pair makes of the completed lower one."""
    upper = np.array(pair.cut) + pair.closing
    for turn in plane.turns:
        shifts = set((upper - np.array(turn.mirror_cut(pair.cut))).tolist())
        if len(shifts) == 1:
            return tuple((np.array(turn.mirror_cut(lower)) + shifts.pop()).tolist())
    return None


def _refusal(face: str, pair: TerminationPair, completion: Completion, reason: str) -> ChargeBalanceError:
    return ChargeBalanceError(
        f"{face} with {pair.name} cannot be completed by {completion.value}",
        limit=reason,
        why="the film would stay charged or keep a field",
        remedy="take another completion or termination; `qdip structures terminations` lists those that fit",
    )
