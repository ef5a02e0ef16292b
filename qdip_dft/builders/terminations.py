"""Terminations of a film as pairs of chemical layers, bottom and top, stoichiometric or symmetric.

A film is bounded by two cuts.  The lower one, k, keeps the images p ≥ k_j of ion j (whole numbers, in lattice planes);
the upper one, l, those below l_j + n.  The closing m = l − k counts the images by which ion j exceeds n lattice
planes: m = 0 for a stoichiometric film, m = 1 on the ions of one layer for a film that ends with that layer on both
faces.  An operation g of the crystal that turns the plane over carries the image p of ion j onto the image T_j − p of
ion g(j), so the film that it maps onto itself has l_g(j) = T_j − k_j + 1.

Organic cations may break every such operation.  Then two cuts are paired whose faces show the same chemical layer and
break about the same bond valence: symmetric by layers only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from operator import itemgetter

import numpy as np

from qdip_dft.builders.cleavage import EQUAL_COST, find_terminations
from qdip_dft.builders.ions import IonicCrystal
from qdip_dft.builders.lattice_planes import Cut, LatticePlane, TaskerType, classify_plane, planar_cuts, survey_plane
from qdip_dft.builders.orientation import plane_spacing_ang
from qdip_dft.model.snapping import rank

SIMILAR_COST = 0.05
"""Of films whose broken valences differ by less, the one with the fewest closing ions is named first."""


class SymmetryKind(StrEnum):
    """Why both faces of a film count as the same."""

    OPERATION = "operation"
    """An operation of the crystal turns the film over onto itself."""
    LAYERS = "layers"
    """Both faces show the same chemical layer; orientations of the cations differ."""


@dataclass(frozen=True, slots=True)
class TerminationPair:
    """How a film ends at its bottom (towards the dot) and at its top.

    Parameters
    ----------
    bottom, top
        Chemical layers, such as ``PbI2`` and ``FAI``.
    bottom_charge_e, top_charge_e
        Formal charge of these layers per 1 × 1 cell in e.
    cut
        The lower cut: the lattice plane that each ion of the oriented cell is counted to.
    closing
        Images of each ion beyond whole lattice planes; all zero when stoichiometric.
    charge_e
        Formal charge of the film per 1 × 1 cell in e; not zero: it must be completed before it can be built.
    dipole_e_ang
        What one more lattice plane adds to the dipole per 1 × 1 cell, |Σ q z| in e·Å.
    broken_valence
        Bond valence broken per 1 × 1 cell, the mean of both faces.
    symmetry
        Whether both faces are the same, and why; None: they differ.
    tasker_type
        The stacking of the lattice plane.
    n_closing_formula_units
        Whole formula units of the closing per 1 × 1 cell.
    excess
        Ions of the closing beyond these, per 1 × 1 cell, by label.
    completion
        How a charged film was made neutral, such as ``added-halide``; None: as the bulk ends.
    n_completing
        Ions added or removed per 1 × 1 cell and face for that.
    """

    bottom: str
    top: str
    bottom_charge_e: int
    top_charge_e: int
    cut: Cut
    closing: Cut
    charge_e: int
    dipole_e_ang: float
    broken_valence: float
    symmetry: SymmetryKind | None
    tasker_type: TaskerType
    n_closing_formula_units: int
    excess: dict[str, int]
    completion: str | None = None
    n_completing: int = 0

    @property
    def name(self) -> str:
        """Both layers, bottom first, such as ``FAI|FAI``, and how they were completed."""
        pair = f"{self.bottom}|{self.top}"
        return pair if self.completion is None else f"{pair} ({self.n_completing} {self.completion})"

    @property
    def is_symmetric(self) -> bool:
        """Whether both faces are the same."""
        return self.symmetry is not None

    @property
    def is_stoichiometric(self) -> bool:
        """Whether the film holds whole formula units only."""
        return not self.excess

    @property
    def excess_in_words(self) -> str:
        """Excess per 1 × 1 cell, such as ``+1 FAI``; ``none`` for a stoichiometric film."""
        return describe_excess(self.excess)


@dataclass(frozen=True, slots=True)
class Terminations:
    """What a plane offers.

    Parameters
    ----------
    pairs
        Stoichiometric ones first, as `find_terminations` sorts them, then symmetric ones, cheapest first.
    reasons
        Why something that a user may look for does not exist.
    """

    pairs: tuple[TerminationPair, ...]
    reasons: tuple[str, ...]


def list_terminations(oriented: IonicCrystal) -> Terminations:
    """Return the terminations of a plane as pairs of chemical layers, and why others do not exist.

    Listed are the stoichiometric films without a dipole, the symmetric films that follow from the same cuts, and
    symmetric films of charged layers, which have to be completed or passivated.  Of several cuts with the same two
    layers the one that breaks the least bond valence is kept.

    Parameters
    ----------
    oriented
        The oriented primitive cell of the plane, without a cut.
    """
    plane = survey_plane(oriented)
    nonpolar = [termination.cut for termination in find_terminations(oriented)]
    polar = [cut for cut in planar_cuts(oriented) if plane.is_polar(cut)]
    pairs = [describe_pair(plane, cut, cut) for cut in nonpolar]
    for cuts in (nonpolar, polar):
        symmetric = [describe_pair(plane, lower, upper) for lower, upper in _pair_symmetric(plane, cuts)]
        pairs += _in_order([pair for pair in symmetric if any(pair.closing)])
    kept: dict[str, TerminationPair] = {}
    for pair in pairs:
        kept.setdefault(pair.name, pair)
    return Terminations(pairs=tuple(kept.values()), reasons=tuple(_state_reasons(plane, tuple(kept.values()))))


def _in_order(pairs: Sequence[TerminationPair]) -> list[TerminationPair]:
    """Order by the broken valence; of nearly equal ones the film with the fewest closing ions comes first."""
    coarse, fine = (rank((p.broken_valence for p in pairs), tolerance=t) for t in (SIMILAR_COST, EQUAL_COST))
    keyed = ((near, sum(p.closing), cost, p.cut, p) for near, cost, p in zip(coarse, fine, pairs, strict=True))
    return [pair for *_, pair in sorted(keyed, key=itemgetter(0, 1, 2, 3))]


def _pair_symmetric(plane: LatticePlane, cuts: Sequence[Cut]) -> Iterator[tuple[Cut, Cut]]:
    """Yield lower and upper cuts of films with the same faces: by operation, otherwise by layers."""
    if plane.turns:
        yield from ((cut, turn.mirror_cut(cut)) for cut in cuts for turn in plane.turns)
    else:
        yield from (pair for pair in product(cuts, cuts) if plane.has_like_faces(*pair) and not plane.has_field(*pair))


def describe_pair(plane: LatticePlane, lower: Cut, upper: Cut) -> TerminationPair:
    """Return everything that is said about a film between two cuts.

    Parameters
    ----------
    plane
        The lattice plane.
    lower, upper
        The two cuts; the upper one is moved by whole lattice planes so that no closing count is negative.
    """
    difference = np.array(upper) - np.array(lower)
    closing = tuple((difference - difference.min()).tolist())
    oriented = plane.oriented
    upper = tuple((np.array(lower) + closing).tolist())
    n_formula_units, excess = _count_excess(oriented, closing)
    return TerminationPair(
        bottom=plane.name_face(lower, is_bottom=True),
        top=plane.name_face(upper, is_bottom=False),
        bottom_charge_e=plane.layer_charge_e(lower, is_bottom=True),
        top_charge_e=plane.layer_charge_e(upper, is_bottom=False),
        cut=lower,
        closing=closing,
        charge_e=round(float(oriented.charges @ closing)),
        dipole_e_ang=abs(plane.face_charge_e(lower) + plane.face_charge_e(upper)) / 2 * plane_spacing_ang(oriented),
        broken_valence=0.5 * (plane.broken_valence(lower) + plane.broken_valence(upper)),
        symmetry=_find_symmetry(plane, lower, upper),
        tasker_type=classify_plane(plane),
        n_closing_formula_units=n_formula_units,
        excess=excess,
    )


def _find_symmetry(plane: LatticePlane, lower: Cut, upper: Cut) -> SymmetryKind | None:
    """Return whether an operation carries one cut onto the other, up to whole lattice planes, or both look alike."""
    for turn in plane.turns:
        if len(set((np.array(turn.mirror_cut(lower)) - np.array(upper)).tolist())) == 1:
            return SymmetryKind.OPERATION
    return SymmetryKind.LAYERS if plane.has_like_faces(lower, upper) else None


def _count_excess(oriented: IonicCrystal, closing: Sequence[int]) -> tuple[int, dict[str, int]]:
    """Return the whole formula units of a closing and the ions beyond them by label, cations first.

    The formula units are as many as leave no label negative: of AX and BX2 only one is ever in excess.
    """
    ions = sorted(zip(oriented.ions, closing, strict=True), key=lambda pair: (pair[0].charge < 0, pair[0].label))
    closing_counts, cell_counts = Counter[str](), Counter[str]()
    for ion, extra in ions:
        closing_counts[ion.label] += extra
        cell_counts[ion.label] += 1
    n_units_per_cell = int(np.gcd.reduce(list(cell_counts.values())))
    unit = {label: count // n_units_per_cell for label, count in cell_counts.items()}
    n_units = min(closing_counts[label] // count for label, count in unit.items())
    excess = {label: closing_counts[label] - n_units * count for label, count in unit.items()}
    return n_units, {label: count for label, count in excess.items() if count}


def describe_excess(excess: Mapping[str, int]) -> str:
    """Return an excess in words, such as ``+2 FAI``; ``none`` for a stoichiometric film."""
    if not excess:
        return "none"
    divisor = int(np.gcd.reduce(list(excess.values())))
    return f"+{divisor} " + "".join(
        label + (str(count // divisor) if count > divisor else "") for label, count in excess.items()
    )


def _state_reasons(plane: LatticePlane, pairs: Sequence[TerminationPair]) -> Iterator[str]:
    """Yield why a kind of termination that a user may look for is not in the list."""
    if not any(pair.is_stoichiometric for pair in pairs):
        yield "no stoichiometric film: Σ q z of a lattice plane vanishes for no assignment of whole ions"
    symmetric = [pair for pair in pairs if pair.is_symmetric]
    if not symmetric:
        yield f"no symmetric film: {_why_not_symmetric(plane)}"
    elif all(pair.charge_e for pair in symmetric):
        yield "no symmetric film of neutral faces: the layers are charged; passivate or complete them"
    elif all(pair.is_stoichiometric or pair.charge_e for pair in symmetric):
        yield "no neutral symmetric film with an excess: the film without one has two equal faces already"


def _why_not_symmetric(plane: LatticePlane) -> str:
    if plane.turns:
        return "no cut between chemical layers fits any of the operations that turn the plane over"
    reason = "no operation of the crystal turns the plane over"
    for lower, upper in product(planar_cuts(plane.oriented), repeat=2):
        bottom, top = plane.name_face(lower, is_bottom=True), plane.name_face(upper, is_bottom=False)
        if bottom == top:
            broken = [f"{plane.broken_valence(cut):.2f}" for cut in (lower, upper)]
            return f"{reason}, and {bottom}|{top} faces differ in dangling bonds ({' and '.join(broken)} valence units)"
    return f"{reason}, and no two faces show the same chemical layer"
