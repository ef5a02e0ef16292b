"""Who wins, as one word: what can be counted, coloured and compared between results."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from qdip_dft.model.resolution import find_limit_ev_per_fu

if TYPE_CHECKING:
    from qdip_dft.model.stabilization import StabilizationDoc


class Verdict(StrEnum):
    """The outcome of a study on one facet."""

    BLACK = "black favoured"
    """The black phase lies lower by more than twice the error."""
    COMPETITOR = "competitor favoured"
    """The competitor does."""
    UNDECIDED = "undecided"
    """They differ by less than twice the error of the numbers and the model."""
    INCOMPLETE = "incomplete"
    """A side has no valid candidate, or a term is missing."""
    ALONE = "no competitor"
    """The study names nothing to compare with."""


def judge(doc: StabilizationDoc) -> Verdict:
    """Return who wins, by the sign of black − competitor and by its error."""
    stated = doc.uncertainty if doc.uncertainty is not None and doc.uncertainty.is_stated else None
    model = None if stated is None else stated.model_error
    return judge_numbers(
        doc.stabilization.total_ev_per_fu,
        level=doc.level,
        has_competitor=doc.study.has_competitor,
        numerical_ev_per_fu=None if stated is None else stated.difference.total_ev_per_fu,
        model_ev_per_fu=None if model is None else model.total_ev_per_fu,
    )


def judge_numbers(
    total_ev_per_fu: float | None,
    *,
    level: str,
    has_competitor: bool,
    numerical_ev_per_fu: float | None,
    model_ev_per_fu: float | None,
) -> Verdict:
    """Return who wins, from the numbers alone.

    Parameters
    ----------
    total_ev_per_fu
        Black − competitor in eV per formula unit; None where it is missing.
    level
        How far the energies may be trusted: a value of `Level`.
    has_competitor
        Whether the study compares the black phase with anything.
    numerical_ev_per_fu, model_ev_per_fu
        Both parts of its standard uncertainty; None where they are not stated.
    """
    if not has_competitor:
        return Verdict.ALONE
    if total_ev_per_fu is None:
        return Verdict.INCOMPLETE
    limit = find_limit_ev_per_fu(level, numerical_ev_per_fu=numerical_ev_per_fu, model_ev_per_fu=model_ev_per_fu)
    if abs(total_ev_per_fu) <= limit:
        return Verdict.UNDECIDED
    return Verdict.BLACK if total_ev_per_fu < 0 else Verdict.COMPETITOR
