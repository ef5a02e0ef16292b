"""The answer of a study in one sentence: which phase wins, by how much, on which facet, and which term decides."""

from __future__ import annotations

from collections.abc import Sequence

from qdip_dft.analysis.numbers import write_signed
from qdip_dft.model.calculation import Level
from qdip_dft.model.resolution import RESOLUTION_EV_PER_FU, do_models_disagree, find_limit_ev_per_fu
from qdip_dft.model.term_names import TERM_NAMES
from qdip_dft.model.terms import Terms

CANCELLATION_SHARE = 0.75
"""From this share on, the terms that disfavour the winner are said to cancel nearly what favours it."""

_LEVEL_WORDS = {
    Level.TEST: "toy potential: no physical meaning",
    Level.SCREENING: "screening",
    Level.COMPOSITE: "DFT energies at machine-learned geometries",
    Level.DFT: "DFT",
}


def answer_in_words(
    difference: Terms,
    *,
    facet: str,
    black: str | None,
    competitor: str | None,
    level: Level,
    missing: Sequence[str] = (),
    has_competitor: bool = True,
    uncertainty_ev_per_fu: float | None = None,
    models_ev_per_fu: Sequence[float] = (),
) -> str:
    """Return the answer in one sentence.

    The winner is the phase with the lower total.  A difference within ``RESOLUTION_EV_PER_FU`` of the level, or within
    twice its standard uncertainty, or whose sign depends on the model, is too close to call.
    The deciding term is the largest one that has the sign of the total.

    Parameters
    ----------
    difference
        Black − competitor, term by term, in eV per formula unit; negative: the black phase is favoured.
    facet
        Dot and plane, such as ``PbS(111)``.
    black, competitor
        The two sides as `analysis.sides` names them, such as ``FAPbI3-alpha(100)`` and ``yellow FAPbI3-delta(001)``;
        None where a side has nothing valid.
    level
        How far the energies may be trusted.
    missing
        Why a side or a term is missing, one reason each.
    has_competitor
        Whether the study compares the black phase with anything.
    uncertainty_ev_per_fu
        Standard uncertainty of the total; None where nothing was varied to find it.
    models_ev_per_fu
        Totals that other models give.

    Returns
    -------
    str
        One sentence with its full stop.
    """
    total_ev_per_fu = difference.total_ev_per_fu
    if not has_competitor and black is not None:
        level_words = _LEVEL_WORDS[level]
        return f"On {facet} the film {black} stands alone: the study names no competitor ({level_words})."
    if black is None or competitor is None or total_ev_per_fu is None:
        return _say_undecided(facet=facet, black=black, competitor=competitor, missing=missing)
    films = f"black {black}", competitor
    u, models = uncertainty_ev_per_fu, models_ev_per_fu
    if abs(total_ev_per_fu) <= find_limit_ev_per_fu(level, u):
        return _say_too_close(total_ev_per_fu, films=films, facet=facet, level=level, uncertainty_ev_per_fu=u)
    if do_models_disagree(total_ev_per_fu, models):
        return _say_models_disagree(total_ev_per_fu, models, films=films, facet=facet, uncertainty_ev_per_fu=u)
    winner, loser = films if total_ev_per_fu < 0 else films[::-1]
    return (
        f"On {facet} the {winner} lies {_write_with_error(abs(total_ev_per_fu), u)} eV/f.u. below the {loser} "
        f"({_LEVEL_WORDS[level]}); {_say_what_decides(difference, total_ev_per_fu)}."
    )


def join_bounds(ax_rich: str, bx2_rich: str, *, ax: str, bx2: str) -> str:
    """Return the answers at both bounds of the chemical potentials; one sentence where they are the same.

    Parameters
    ----------
    ax_rich, bx2_rich
        The sentences at both bounds.
    ax, bx2
        The compounds that are about to precipitate there.
    """
    return ax_rich if ax_rich == bx2_rich else f"{ax}-rich: {ax_rich} {bx2}-rich: {bx2_rich}"


def find_deciding_term(difference: Terms) -> str | None:
    """Return the name of the largest term that has the sign of the total; None where one is missing or all are zero."""
    contributions = difference.known()
    total_ev_per_fu = difference.total_ev_per_fu
    if total_ev_per_fu is None or total_ev_per_fu == 0 or len(contributions) < len(TERM_NAMES):
        return None
    direction = 1 if total_ev_per_fu > 0 else -1
    return max(contributions, key=lambda name: direction * contributions[name])


def _say_undecided(*, facet: str, black: str | None, competitor: str | None, missing: Sequence[str]) -> str:
    sides = [role for role, label in (("black phase", black), ("competitor", competitor)) if label is None]
    lacking = f"no valid candidate of the {' and the '.join(sides)}" if sides else "a term is missing"
    reasons = "; ".join(reason.rstrip(".") for reason in missing)
    return f"Undecided on {facet}: {lacking}{f' ({reasons})' if reasons else ''}."


def _write_with_error(value: float, uncertainty_ev_per_fu: float | None, *, is_signed: bool = False) -> str:
    """Return a number with its standard uncertainty, where there is one."""
    number = write_signed(value) if is_signed else f"{value:.3f}"
    return number if uncertainty_ev_per_fu is None else f"{number} ± {uncertainty_ev_per_fu:.3f}"


def _say_too_close(
    total_ev_per_fu: float,
    *,
    films: tuple[str, str],
    facet: str,
    level: Level,
    uncertainty_ev_per_fu: float | None = None,
) -> str:
    resolution = RESOLUTION_EV_PER_FU[level]
    limit = find_limit_ev_per_fu(level, uncertainty_ev_per_fu)
    why = (
        f"this level ({_LEVEL_WORDS[level]}) resolves {resolution} eV/f.u."
        if limit == resolution
        else f"that is less than twice the uncertainty ({_LEVEL_WORDS[level]})."
    )
    return (
        f"On {facet} the {films[0]} and the {films[1]} are too close to call: they differ by "
        f"{_write_with_error(total_ev_per_fu, uncertainty_ev_per_fu, is_signed=True)} eV/f.u. "
        f"(black − competitor), and {why}"
    )


def _say_models_disagree(
    total_ev_per_fu: float,
    models_ev_per_fu: Sequence[float],
    *,
    films: tuple[str, str],
    facet: str,
    uncertainty_ev_per_fu: float | None,
) -> str:
    others = ", ".join(map(write_signed, models_ev_per_fu))
    return (
        f"Undecided on {facet}: the {films[0]} and the {films[1]} differ by "
        f"{_write_with_error(total_ev_per_fu, uncertainty_ev_per_fu, is_signed=True)} eV/f.u. (black − competitor), "
        f"but other models give {others}."
    )


def _say_what_decides(difference: Terms, total_ev_per_fu: float) -> str:
    """Name the deciding term, and the balance when gains and costs nearly cancel."""
    term = find_deciding_term(difference)
    if term is None:
        return "its terms are not complete"
    contributions = difference.known()
    direction = 1 if total_ev_per_fu > 0 else -1
    gain = sum(value for value in contributions.values() if value * direction > 0)
    cost = sum(value for value in contributions.values() if value * direction < 0)
    decision = f"{term} decides ({write_signed(contributions[term])} eV/f.u.)"
    if abs(cost) < CANCELLATION_SHARE * abs(gain):
        return decision
    return f"{decision}, but the terms nearly cancel ({write_signed(gain)} against {write_signed(cost)} eV/f.u.)"
