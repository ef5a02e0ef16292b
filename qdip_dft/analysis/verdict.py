"""Who wins, as one word: what can be counted, coloured and compared between results."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from qdip_dft.model.resolution import do_models_disagree, find_limit_ev_per_fu

if TYPE_CHECKING:
    from qdip_dft.model.stabilization import StabilizationDoc


class Verdict(StrEnum):
    """The outcome of a study on one facet."""

    BLACK = "black favoured"
    """The black phase lies lower by more than its level of theory resolves."""
    COMPETITOR = "competitor favoured"
    """The competitor does."""
    TOO_CLOSE = "too close to call"
    """They differ by less than the level or the error bar resolves, or models disagree about the sign."""
    UNDECIDED = "undecided"
    """A side has no valid candidate, or a term is missing."""
    ALONE = "no competitor"
    """The study names nothing to compare with."""


def judge(doc: StabilizationDoc) -> Verdict:
    """Return who wins, by the sign of black − competitor and by what the level of theory resolves."""
    stated = doc.uncertainty if doc.uncertainty is not None and doc.uncertainty.is_asked else None
    return judge_numbers(
        doc.stabilization.total_ev_per_fu,
        level=doc.level,
        has_competitor=doc.study.has_competitor,
        error_ev_per_fu=None if stated is None else stated.difference.total_ev_per_fu,
        models_ev_per_fu=() if stated is None else [model.total_ev_per_fu for model in stated.models],
    )


def judge_numbers(
    total_ev_per_fu: float | None,
    *,
    level: str,
    has_competitor: bool,
    error_ev_per_fu: float | None,
    models_ev_per_fu: Sequence[float],
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
    error_ev_per_fu
        Standard uncertainty of the total; None where nothing was varied to find it.
    models_ev_per_fu
        Totals that other models give.
    """
    if not has_competitor:
        return Verdict.ALONE
    if total_ev_per_fu is None:
        return Verdict.UNDECIDED
    if abs(total_ev_per_fu) <= find_limit_ev_per_fu(level, error_ev_per_fu):
        return Verdict.TOO_CLOSE
    if do_models_disagree(total_ev_per_fu, models_ev_per_fu):
        return Verdict.TOO_CLOSE
    return Verdict.BLACK if total_ev_per_fu < 0 else Verdict.COMPETITOR
