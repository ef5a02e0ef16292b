"""Who wins, as one word: what can be counted, coloured and compared between results."""

from __future__ import annotations

from enum import StrEnum

from qdip_dft.analysis.sentence import (
    do_models_disagree,
    find_error_ev_per_fu,
    find_limit_ev_per_fu,
    list_models_ev_per_fu,
)
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
    if not doc.study.has_competitor:
        return Verdict.ALONE
    total_ev_per_fu = doc.stabilization.total_ev_per_fu
    if total_ev_per_fu is None:
        return Verdict.UNDECIDED
    stated = doc.uncertainty
    if abs(total_ev_per_fu) <= find_limit_ev_per_fu(doc.level, find_error_ev_per_fu(stated)):
        return Verdict.TOO_CLOSE
    if do_models_disagree(total_ev_per_fu, list_models_ev_per_fu(stated)):
        return Verdict.TOO_CLOSE
    return Verdict.BLACK if total_ev_per_fu < 0 else Verdict.COMPETITOR
