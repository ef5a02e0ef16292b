"""By how much each term would have to be wrong for the other phase to win."""

from __future__ import annotations

from dataclasses import dataclass

from qdip_dft.model.term_names import TERM_NAMES
from qdip_dft.model.terms import Terms


@dataclass(frozen=True, slots=True)
class Margin:
    """One term of black − competitor against the answer.

    Parameters
    ----------
    term
        Such as ``binding``.
    value_ev_per_fu
        The term.
    flips_at_ev_per_fu
        Its value at which black and competitor are equal, all other terms kept: the term minus the total.
    share
        The change up to there over the size of the term; None for a term that is zero.  Below 1 an error of less than
        the term itself reverses the answer.
    """

    term: str
    value_ev_per_fu: float
    flips_at_ev_per_fu: float
    share: float | None


def find_margins(difference: Terms) -> tuple[Margin, ...]:
    """Return the margin of every term of a complete difference; none of one that lacks a term."""
    total, contributions = difference.total_ev_per_fu, difference.known()
    if total is None or len(contributions) < len(TERM_NAMES):
        return ()
    return tuple(
        Margin(term, value, value - total, abs(total / value) if value != 0 else None)
        for term, value in contributions.items()
    )
