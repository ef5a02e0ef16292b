"""Whether the stabilization no longer depends on a setting: the rungs of a ladder, compared two by two.

A total energy converges slowly and to no purpose: what is published is a difference, in which most of the error of
either side cancels.  So one setting at a time is refined, all others as the study has them, until the stabilization
changes by less than a target in two successive steps; the value before these two steps is then enough.

A thicker film is another question: its stabilization follows ΔE(n) = Δe_strained + Δσ / n however thick it is
(`qdip_dft.analysis.thickness`).  What must not depend on the number of layers is the energy of its faces,
N (surface + binding).  The terms of every thickness are therefore evaluated at the coverage n* of the first one.  Films
whose two faces do not feel each other then agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from qdip_dft.analysis.coverage import evaluate_terms
from qdip_dft.analysis.sides import find_sides
from qdip_dft.model.stabilization import CandidateResult, DecompositionResult, StabilizationDoc
from qdip_dft.model.terms import Terms
from qdip_dft.units import MEV_PER_EV

STEPS_WITHIN_TARGET = 2
"""So many successive changes must stay below the target: one may be small by accident."""


class Quantity(StrEnum):
    """What a user asks to be converged."""

    LAYERS = "layers"
    """Thickness of the film, and thickness of the dot slab."""
    VACUUM = "vacuum"
    """Vacuum above every slab."""
    KPOINTS = "kpoints"
    """Distance of the k-points."""
    CUTOFF = "cutoff"
    """Kinetic-energy cutoff of the plane waves."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a study.

    Parameters
    ----------
    key
        Its place in the study file, such as ``film.min_thickness_ang``.
    word
        What it is called in ids of results, such as ``film``.
    unit
        Its unit.
    decimals
        Digits that it is given to.
    """

    key: str
    word: str
    unit: str
    decimals: int

    def round(self, value: float) -> float:
        """Return a value as it is written into a study."""
        return round(value, self.decimals)


FILM = Setting("film.min_thickness_ang", "film", "Å", 2)
DOT = Setting("dot.min_thickness_ang", "dot", "Å", 2)
VACUUM = Setting("vacuum_ang", "vacuum", "Å", 1)
K_SPACING = Setting("engine.settings.k_spacing_per_ang", "kspacing", "1/Å", 4)
CUTOFF = Setting("engine.settings.cutoff_ev", "cutoff", "eV", 0)

SETTINGS_OF: dict[Quantity, tuple[Setting, ...]] = {
    Quantity.LAYERS: (FILM, DOT),
    Quantity.VACUUM: (VACUUM,),
    Quantity.KPOINTS: (K_SPACING,),
    Quantity.CUTOFF: (CUTOFF,),
}
"""The settings behind each word."""


@dataclass(frozen=True, slots=True)
class Rung:
    """The stabilization at one value of a setting.

    Parameters
    ----------
    value
        The value.
    terms
        Black − competitor on each facet at n* of the first value, in eV per formula unit; None where a side is missing
        or another film is compared than at the first value.
    reasons
        Why something is missing, by facet.
    """

    value: float
    terms: dict[str, Terms | None]
    reasons: dict[str, str]

    @property
    def is_complete(self) -> bool:
        """Return whether every facet has a stabilization."""
        return all(terms is not None and terms.total_ev_per_fu is not None for terms in self.terms.values())


@dataclass(frozen=True, slots=True)
class Ladder:
    """One setting, refined step by step.

    Parameters
    ----------
    setting
        The setting.
    target_ev_per_fu
        Largest change that is accepted, in eV per formula unit.
    rungs
        What was found, coarse to fine.
    """

    setting: Setting
    target_ev_per_fu: float
    rungs: tuple[Rung, ...] = ()

    def climb(self, rung: Rung) -> Ladder:
        """Return the ladder with one rung more."""
        return Ladder(self.setting, self.target_ev_per_fu, (*self.rungs, rung))

    @property
    def changes_ev_per_fu(self) -> tuple[float | None, ...]:
        """Return by how much each rung differs from the one before, the largest of all facets."""
        return tuple(_find_largest_change(before, after) for before, after in pairwise(self.rungs))

    @property
    def converged_value(self) -> float | None:
        """Return the value from which on the stabilization changed by less than the target twice; None if none did."""
        small = [change is not None and abs(change) < self.target_ev_per_fu for change in self.changes_ev_per_fu]
        if len(small) < STEPS_WITHIN_TARGET or not all(small[-STEPS_WITHIN_TARGET:]):
            return None
        return self.rungs[-1 - STEPS_WITHIN_TARGET].value

    @property
    def is_finished(self) -> bool:
        """Return whether another rung can say nothing new: it is converged, or a result is missing."""
        return self.converged_value is not None or any(not rung.is_complete for rung in self.rungs)

    def describe(self) -> str:
        """Return the outcome in one sentence."""
        target = f"{MEV_PER_EV * self.target_ev_per_fu:g} meV per formula unit"
        if self.converged_value is not None:
            value = f"{self.converged_value:g} {self.setting.unit}"
            return f"{self.setting.key} is converged at {value}: two finer values change less than {target}."
        missing = [reason for rung in self.rungs for reason in rung.reasons.values()]
        if missing:
            return f"{self.setting.key} is not converged: {missing[0]}"
        return f"{self.setting.key} is not converged to {target} in {len(self.rungs)} values; raise --max-steps."


def make_rung(value: float, documents: Sequence[StabilizationDoc], first: Sequence[StabilizationDoc]) -> Rung:
    """Return what the results at one value say, at the coverage of the first value.

    Parameters
    ----------
    value
        The value of the setting.
    documents
        Results at this value, one per facet.
    first
        Those at the first value, in the same order.
    """
    terms: dict[str, Terms | None] = {}
    reasons: dict[str, str] = {}
    for document, reference in zip(documents, first, strict=True):
        terms[document.dot_plane] = express_for(document, reference)
        if document.stabilization.total_ev_per_fu is None:
            reasons[document.dot_plane] = document.stabilization.sentence
        elif terms[document.dot_plane] is None:
            reasons[document.dot_plane] = _say_other_films(document, reference)
    return Rung(value, terms, reasons)


def express_for(document: StabilizationDoc, reference: StabilizationDoc) -> Terms | None:
    """Black − competitor of a result at the coverage n* of another one.

    None where the two do not compare the same films, or one is missing.
    """
    now, before, coverage = find_sides(document), find_sides(reference), reference.stabilization.coverage_fu_per_ang2
    pairs = ((now.black, before.black), (now.competitor, before.competitor))
    if coverage is None or not all(_are_alike(side, original) for side, original in pairs):
        return None
    black, competitor = (evaluate_terms(side, coverage) for side, _ in pairs if side)
    return black - competitor


def _are_alike(side: CandidateResult | DecompositionResult | None, original: object) -> bool:
    """Return whether two sides are there and are the same but for the setting that is refined."""
    if isinstance(side, CandidateResult) and isinstance(original, CandidateResult):
        return _list_choices(side) == _list_choices(original)
    return isinstance(side, DecompositionResult) and isinstance(original, DecompositionResult)


def _list_choices(film: CandidateResult) -> tuple[str | int, ...]:
    candidate = film.candidate
    return candidate.dot_plane, candidate.phase, candidate.film_plane, candidate.termination, candidate.place


def _say_other_films(document: StabilizationDoc, reference: StabilizationDoc) -> str:
    now, before = document.stabilization, reference.stabilization
    films = f"{now.black} and {now.competitor}, at the first value {before.black} and {before.competitor}"
    return f"here the difference is that of {films}; leave the study one plane per phase."


def _find_largest_change(before: Rung, after: Rung) -> float | None:
    changes = [_subtract_totals(before.terms[facet], after.terms[facet]) for facet in after.terms]
    known = [change for change in changes if change is not None]
    return max(known, key=abs) if len(known) == len(changes) and known else None


def _subtract_totals(before: Terms | None, after: Terms | None) -> float | None:
    if before is None or after is None or before.total_ev_per_fu is None or after.total_ev_per_fu is None:
        return None
    return after.total_ev_per_fu - before.total_ev_per_fu
