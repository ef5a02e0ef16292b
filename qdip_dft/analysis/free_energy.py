r"""What temperature does to a difference of two phases.

Off the dot, with bulks; on the dot, with the study's stabilization and the vibrations of the strained bulks:

.. math:: \Delta F(T) = \Delta E + \Delta F_\mathrm{vib}(T) + [\Delta F_\mathrm{rot}(T)]

:math:`F_\mathrm{rot}` of an organic cation lies between 0 (frozen) and :math:`-kT \ln W` (free to visit all its W
equivalent orientations), so the difference of two phases is an interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from qdip_dft.model.temperature import PhaseVibrations, TemperatureCurve

Curve = tuple[float | None, ...]


def compare_phases(
    black: PhaseVibrations,
    competitor: PhaseVibrations,
    *,
    static_ev_per_fu: float | None,
    temperatures_k: Sequence[float],
) -> TemperatureCurve:
    """Return black − competitor against temperature, or why there is no such curve.

    Parameters
    ----------
    black, competitor
        The two phases, both strained or both not.
    static_ev_per_fu
        Difference of their potential energies.
    temperatures_k
        The temperatures that their free energies belong to.
    """
    missing = tuple(f"{side.subject}: {why}" for side in (black, competitor) if (why := _why_missing(side)))
    if static_ev_per_fu is None:
        missing = (*missing, "the study has no difference of potential energies")
    lower: Curve = (None,) * len(temperatures_k)
    upper = lower
    if not missing and static_ev_per_fu is not None:
        lower, upper = _interval(black, competitor, static_ev_per_fu)
    return TemperatureCurve(
        black=black.subject,
        competitor=competitor.subject,
        static_ev_per_fu=static_ev_per_fu,
        lower_ev_per_fu=lower,
        upper_ev_per_fu=upper,
        transition_k=_find_transition(lower, upper, temperatures_k),
        missing=missing,
    )


def _why_missing(phase: PhaseVibrations) -> str | None:
    return phase.missing or (phase.harmonic.missing if phase.harmonic is not None else None)


def _interval(black: PhaseVibrations, competitor: PhaseVibrations, static_ev: float) -> tuple[Curve, Curve]:
    vibrations = zip(_vibrational(black), _vibrational(competitor), strict=True)
    middle = [static_ev + mine - theirs for mine, theirs in vibrations]
    lower = tuple(f + g for f, g in zip(middle, _orientational(black), strict=True))
    upper = tuple(f - g for f, g in zip(middle, _orientational(competitor), strict=True))
    return lower, upper


def _vibrational(phase: PhaseVibrations) -> list[float]:
    return [] if phase.harmonic is None else [f for f in phase.harmonic.vibrational_ev_per_fu if f is not None]


def _orientational(phase: PhaseVibrations) -> Sequence[float]:
    return phase.orientation_ev_per_fu or [0.0] * len(_vibrational(phase))


def _find_transition(lower: Curve, upper: Curve, temperatures_k: Sequence[float]) -> tuple[float, float] | None:
    """Return the temperatures where the first and the last bound cross zero; None unless both do."""
    crossings = [t for t in (_find_zero(lower, temperatures_k), _find_zero(upper, temperatures_k)) if t is not None]
    return (min(crossings), max(crossings)) if len(crossings) == 2 else None


def _find_zero(curve: Curve, temperatures_k: Sequence[float]) -> float | None:
    """Return where a curve first changes its sign, between two temperatures on a straight line."""
    points = [(t, f) for t, f in zip(temperatures_k, curve, strict=True) if f is not None]
    for (t_low, f_low), (t_high, f_high) in pairwise(points):
        if f_low * f_high < 0 or (f_low == 0 and f_high != 0):
            return t_low + (t_high - t_low) * f_low / (f_low - f_high)
    return None
