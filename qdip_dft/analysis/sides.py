"""Which two films a study compares: the candidate that stands for each phase, then the best phase of each side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from qdip_dft.model.stabilization import CandidateResult, DecompositionResult, Stabilization, StabilizationDoc
from qdip_dft.model.study import PhaseRole, StudySpec
from qdip_dft.model.terms import Terms


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
    competitor: CandidateResult | DecompositionResult | None

    @property
    def films(self) -> tuple[CandidateResult, ...]:
        """The sides that are films, the black one first."""
        return tuple(side for side in (self.black, self.competitor) if isinstance(side, CandidateResult))


def select_candidates(study: StudySpec, results: Sequence[CandidateResult]) -> list[CandidateResult]:
    """The results with a mark on the one that stands for each phase.

    That is the valid candidate of lowest total, among those of the pinned plane where the study pins one.
    """
    best: dict[str, CandidateResult] = {}
    for result in results:
        phase = result.candidate.phase
        is_eligible = study.find_pinned_plane(phase) in (None, result.candidate.film_plane)
        if is_eligible and result.is_valid and (phase not in best or _total(result) < _total(best[phase])):
            best[phase] = result
    return [r.model_copy(update={"is_selected": best.get(r.candidate.phase) is r}) for r in results]


def choose_sides(results: Sequence[CandidateResult], decomposition: DecompositionResult | None) -> Sides:
    """The two sides that are compared: the lowest total among what stands for the phases of each role.

    Parameters
    ----------
    results
        Candidates, those that stand for their phase marked.
    decomposition
        The host as other compounds, which competes as well.
    """
    phase = _lowest_of(results, PhaseRole.COMPETITOR)
    products = decomposition if decomposition is not None and not decomposition.missing else None
    competitors = [side for side in (phase, products) if side is not None]
    return Sides(_lowest_of(results, PhaseRole.BLACK), min(competitors, key=_total, default=None))


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


def name_side(side: CandidateResult | DecompositionResult | None) -> str | None:
    """A side without its dot, such as ``FAPbI3-alpha(100)`` or ``MAI + PbI2``; None where there is none."""
    if isinstance(side, CandidateResult):
        return side.candidate.title.film_side
    return None if side is None else side.label


def name_competitor(side: CandidateResult | DecompositionResult | None) -> str | None:
    """A competitor as sentences call it, such as ``yellow FAPbI3-delta(001)``."""
    if side is None:
        return None
    role = "yellow" if isinstance(side, CandidateResult) else "decomposition into"
    return f"{role} {name_side(side)}"


def _lowest_of(results: Sequence[CandidateResult], role: PhaseRole) -> CandidateResult | None:
    selected = [r for r in results if r.is_selected and r.candidate.role is role]
    return min(selected, key=_total, default=None)


def _total(result: Terms) -> float:
    return inf if result.total_ev_per_fu is None else result.total_ev_per_fu
