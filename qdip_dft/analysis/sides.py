"""Which two films a study compares, and at which coverage: one rule for selection, ranking and answer.

A candidate stands for its phase if it is the lowest at n* among the valid ones (of the pinned plane, where the study
pins one); the two sides are the lowest black phase and the lowest competitor there.  n* is

* a number, or R (1 − x) / (3 x v) for dots of radius R that fill the share x of the volume, v the volume of a formula
  unit of the relaxed black bulk (the largest of several, which is the smallest n*);
* that of the thinner film: the coverage of the thinner of the two films that are compared *at that n**.  The smallest
  counts where several satisfy this, and the thinnest candidate of all where none does.

The rule names no order, so candidates may be listed in any.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qdip_dft.analysis.coverage import (
    Side,
    evaluate_terms,
    evaluate_total,
    find_own_coverage,
    subtract_interfaces,
)
from qdip_dft.analysis.dot_size import count_host_per_area
from qdip_dft.model.stabilization import CandidateResult, DecompositionResult, Stabilization, StabilizationDoc
from qdip_dft.model.study import DotCoverage, PhaseRole, StudySpec
from qdip_dft.model.terms import Terms

NO_TERMS = Terms.add_up(None, None, None, None)


@dataclass(frozen=True, slots=True)
class Sides:
    """The two sides of the comparison; None where a side has nothing valid.

    Parameters
    ----------
    black
        The black film.
    competitor
        A film of a competing phase, or the products of a decomposition.
    """

    black: CandidateResult | None
    competitor: Side | None

    @property
    def films(self) -> tuple[CandidateResult, ...]:
        """The sides that are films, the black one first."""
        return tuple(side for side in (self.black, self.competitor) if isinstance(side, CandidateResult))


def list_eligible(study: StudySpec, results: Iterable[CandidateResult]) -> list[CandidateResult]:
    """Candidates that may stand for their phase: valid, and of the pinned plane where the study pins one."""
    return [
        result
        for result in results
        if result.is_valid
        and result.coverage_fu_per_ang2 is not None
        and study.find_pinned_plane(result.candidate.phase) in (None, result.candidate.film_plane)
    ]


def list_uncompared(study: StudySpec, results: Iterable[CandidateResult]) -> tuple[str, ...]:
    """Film planes that a study asks for and of which no film may stand for its phase, such as ``FAPbI3-delta(100)``.

    They were not built (no common cell) or their films did not hold (strain, phase, molecules).  One of them may be
    lower than the film that was compared: an answer holds for the planes that were.

    Parameters
    ----------
    study
        The study; of a phase with a pinned plane only that one is asked for.
    results
        All candidates on one facet.
    """
    compared = {(result.candidate.phase, result.candidate.film_plane) for result in list_eligible(study, results)}
    return tuple(
        f"{asked.phase}({plane})"
        for asked in study.films
        for plane in asked.planes
        if study.find_pinned_plane(asked.phase) in (None, plane) and (asked.phase, plane) not in compared
    )


def order_by_energy(results: Iterable[CandidateResult], coverage_fu_per_ang2: float) -> list[CandidateResult]:
    """Candidates at n*, lowest first; equal ones in an order of their own, whatever the given one was."""
    return sorted(results, key=lambda r: (evaluate_total(r, coverage_fu_per_ang2), r.candidate.id))


def choose_coverage(
    study: StudySpec, results: Sequence[CandidateResult], decomposition: DecompositionResult | None
) -> float | None:
    """n* of a study in formula units of host per Å² of dot; None where no candidate is valid.

    Parameters
    ----------
    study
        The study with its choice of coverage.
    results
        All candidates on one facet.
    decomposition
        The host as other compounds; None: the study names none.
    """
    eligible = list_eligible(study, results)
    if not eligible:
        return None
    if isinstance(study.coverage, float):
        return study.coverage
    if isinstance(study.coverage, DotCoverage):
        return _count_around_dots(study.coverage, eligible)
    own = sorted({n for result in eligible if (n := result.coverage_fu_per_ang2) is not None})
    consistent = (n for n in own if _find_thinner(_pick_sides(eligible, decomposition, n)) == n)
    return next(consistent, own[0])


def find_coverage(doc: StabilizationDoc) -> float | None:
    """n* of a document; in formula version 1, which had none, the one that its study asks for today."""
    stored = doc.stabilization.coverage_fu_per_ang2
    return choose_coverage(doc.study, doc.candidates, doc.decomposition) if stored is None else stored


def _count_around_dots(asked: DotCoverage, eligible: Sequence[CandidateResult]) -> float | None:
    black = (result for result in eligible if result.candidate.role is PhaseRole.BLACK)
    volumes = [result.volume_ang3_per_fu for result in black if result.volume_ang3_per_fu is not None]
    if not volumes:
        return None
    return count_host_per_area(asked.dot_radius_ang, asked.loading, volume_ang3_per_fu=max(volumes))


def _find_thinner(sides: Sides) -> float | None:
    present = (side for side in (sides.black, sides.competitor) if side is not None)
    return min((n for side in present if (n := find_own_coverage(side)) is not None), default=None)


def select_candidates(
    study: StudySpec, results: Sequence[CandidateResult], coverage_fu_per_ang2: float | None
) -> list[CandidateResult]:
    """The results with a mark on the one that stands for each phase: the lowest at n* of those that may."""
    if coverage_fu_per_ang2 is None:
        return [result.model_copy(update={"is_selected": False}) for result in results]
    best: dict[str, CandidateResult] = {}
    for result in order_by_energy(list_eligible(study, results), coverage_fu_per_ang2):
        best.setdefault(result.candidate.phase, result)
    return [r.model_copy(update={"is_selected": best.get(r.candidate.phase) is r}) for r in results]


def choose_sides(
    results: Sequence[CandidateResult], decomposition: DecompositionResult | None, coverage_fu_per_ang2: float | None
) -> Sides:
    """The two sides that are compared: the lowest at n* among what stands for the phases of each role.

    Parameters
    ----------
    results
        Candidates, those that stand for their phase marked.
    decomposition
        The host as other compounds, which competes as well.
    coverage_fu_per_ang2
        n*; None where no candidate is valid.
    """
    if coverage_fu_per_ang2 is None:
        return Sides(None, _require_complete(decomposition))
    return _pick_sides([result for result in results if result.is_selected], decomposition, coverage_fu_per_ang2)


def _pick_sides(
    results: Iterable[CandidateResult], decomposition: DecompositionResult | None, coverage_fu_per_ang2: float
) -> Sides:
    films: dict[PhaseRole, list[CandidateResult]] = {role: [] for role in PhaseRole}
    for result in order_by_energy(results, coverage_fu_per_ang2):
        films[result.candidate.role].append(result)
    products = _require_complete(decomposition)
    competitors: list[Side] = [*films[PhaseRole.COMPETITOR][:1], *([] if products is None else [products])]
    return Sides(
        next(iter(films[PhaseRole.BLACK]), None),
        min(competitors, key=lambda side: evaluate_total(side, coverage_fu_per_ang2), default=None),
    )


def _require_complete(decomposition: DecompositionResult | None) -> DecompositionResult | None:
    is_compared = decomposition is not None and decomposition.is_compared and not decomposition.missing
    return decomposition if is_compared else None


def subtract_sides(sides: Sides, coverage_fu_per_ang2: float | None) -> Stabilization:
    """Black − competitor at n*, term by term and per dot area, without a sentence yet.

    Without both sides there are no terms.
    """
    black, competitor, coverage = sides.black, sides.competitor, coverage_fu_per_ang2
    compared = Stabilization(
        **NO_TERMS.model_dump(),
        black=_label_of(black),
        competitor=_label_of(competitor),
        black_id=None if black is None else black.candidate.id,
        competitor_id=competitor.candidate.id if isinstance(competitor, CandidateResult) else None,
        coverage_fu_per_ang2=coverage,
        sentence="",
    )
    if black is None or competitor is None or coverage is None:
        return compared
    left, right = evaluate_terms(black, coverage), evaluate_terms(competitor, coverage)
    found = dict(
        **(left - right).model_dump(),
        black_terms=left,
        competitor_terms=right,
        interface=subtract_interfaces(black, competitor),
    )
    return compared.model_copy(update=found)


def _label_of(side: Side | None) -> str | None:
    if isinstance(side, CandidateResult):
        return side.candidate.label
    return None if side is None else side.label


def find_sides(document: StabilizationDoc, answer: Stabilization | None = None) -> Sides:
    """The two sides that a document compares.

    Parameters
    ----------
    document
        The result on one facet.
    answer
        One of its answers; None: the first.
    """
    given = document.stabilization if answer is None else answer
    black, film = (document.find_candidate(candidate) for candidate in (given.black_id, given.competitor_id))
    is_products = given.competitor is not None and given.competitor_id is None
    return Sides(black, document.decomposition if is_products else film)


def name_side(side: Side | None) -> str | None:
    """A side without its dot, such as ``FAPbI3-alpha(100)`` or ``MAI + PbI2``; None where there is none."""
    if isinstance(side, CandidateResult):
        return side.candidate.title.film_side
    return None if side is None else side.label


def name_competitor(side: Side | None) -> str | None:
    """A competitor as sentences call it, such as ``yellow FAPbI3-delta(001)``."""
    if side is None:
        return None
    is_phase = isinstance(side, CandidateResult) and not side.candidate.apart
    role = "yellow" if is_phase else "decomposition into"
    return f"{role} {name_side(side)}"
