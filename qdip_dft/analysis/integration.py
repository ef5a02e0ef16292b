"""The integral over λ of a thermodynamic integration, with its error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

import numpy as np

from qdip_dft.analysis.averages import Average

N_COUPLINGS = 5
"""Gauss and Legendre's rule with five points is exact for polynomials of the ninth degree."""


def list_couplings() -> tuple[float, ...]:
    """Return the values of λ, none of them 0 or 1."""
    points, _ = np.polynomial.legendre.leggauss(N_COUPLINGS)
    return tuple(((points + 1) / 2).tolist())


@dataclass(frozen=True, slots=True)
class Integral:
    """∫⟨U − U_ref⟩ dλ.

    Parameters
    ----------
    value, error
        In the unit of the averages.  The error joins the statistical ones with that of the rule, for which stands how
        much the value changes when a parabola through every other point is integrated instead: an upper estimate.
    """

    value: float
    error: float


def integrate_couplings(averages: Sequence[Average]) -> Integral:
    """Return the integral of averages at the values of `list_couplings`."""
    _, weights = np.polynomial.legendre.leggauss(N_COUPLINGS)
    means = np.array([average.mean for average in averages])
    value = float(weights @ means / 2)
    statistical = float(np.linalg.norm(weights / 2 * np.array([average.error for average in averages])))
    return Integral(value, hypot(statistical, _rule_error(means, value)))


def _rule_error(means: np.ndarray, value: float) -> float:
    places = np.array(list_couplings())
    parabola = np.polynomial.Polynomial.fit(places[::2], means[::2], 2).integ()
    return abs(float(parabola(1.0) - parabola(0.0)) - value)
