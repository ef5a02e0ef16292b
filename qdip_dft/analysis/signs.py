"""The four signs by which Masi et al. explain why a dot keeps a perovskite black, held against a result.

Masi et al., ACS Energy Lett. 2020, 5, 418: the competitor is the lower bulk; strain costs the competitor more; binding
lowers both, the black phase more; the sum is in favour of black.  They are statements about the materials and facets of
its authors: another result is as good an answer.  All terms are those at the coverage n* of the comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

from qdip_dft.model.stabilization import Stabilization

SIGNS = {
    "bulk": "competitor lower",
    "strain": "costs the competitor more",
    "binding": "lowers both, black more",
    "total": "black lower",
}
"""What each term does according to the paper."""


@dataclass(frozen=True, slots=True)
class Sign:
    """One of the signs.

    Parameters
    ----------
    term
        The term that it is about.
    claim
        What the paper says.
    black_ev_per_fu, competitor_ev_per_fu, difference_ev_per_fu
        The term of both sides, and black − competitor, in eV per formula unit of the host; bulk and sum above the lower
        of the two bulks.
    is_held
        Whether the result has this sign.
    """

    term: str
    claim: str
    black_ev_per_fu: float
    competitor_ev_per_fu: float
    difference_ev_per_fu: float
    is_held: bool


def compare_signs(stabilization: Stabilization) -> tuple[Sign, ...]:
    """Return for each sign whether a result has it; nothing where a side or a term is missing.

    Parameters
    ----------
    stabilization
        Black − competitor at one coverage.
    """
    black, competitor = stabilization.black_terms, stabilization.competitor_terms
    if black is None or competitor is None:
        return ()
    bulks = [side.bulk_ev_per_fu for side in (black, competitor) if side.bulk_ev_per_fu is not None]
    found = []
    for term, claim in SIGNS.items():
        one, other, difference = black[term], competitor[term], stabilization[term]
        if one is None or other is None or difference is None:
            return ()
        zero = min(bulks) if term in ("bulk", "total") else 0.0
        found.append(Sign(term, claim, one - zero, other - zero, difference, _is_held(term, one, other, difference)))
    return tuple(found)


def _is_held(term: str, black: float, competitor: float, difference: float) -> bool:
    if term == "bulk":
        return difference > 0
    return difference < 0 and (term != "binding" or max(black, competitor) < 0)
