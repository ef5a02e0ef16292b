"""The line through films of several thicknesses, and the size at which the preference changes.

A film of n formula units per area of interface has, with e the energy of its strained bulk and σ that of its faces,

    g(n) = [E(interface) − E(dot slab) − Σ Δn μ] / A = e·n + σ

so three thicknesses give e, σ and their errors by least squares, and e is checked against the strained bulk itself.
For two phases ΔE(n) = Δe + Δσ/n, with its zero at n = −Δσ/Δe.  An interval for this ratio follows from Fieller's
theorem: all n with |Δσ + n Δe| ≤ k u(Δσ + n Δe) (E. C. Fieller, J. R. Stat. Soc. B 16, 175 (1954)).  It has no end
where Δe is not significant, and none at all where neither is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from qdip_dft.analysis.numbers import write_signed
from qdip_dft.model.resolution import COVERAGE_FACTOR
from qdip_dft.model.stabilization import CandidateResult
from qdip_dft.model.uncertainty import (
    SLOPE_TOLERANCE_EV_PER_FU,
    CriticalSize,
    LineFit,
    VariationKind,
    VariedFilm,
)
from qdip_dft.units import MEV_PER_EV

Interval = tuple[float, float | None]
"""Lower and upper end; None: no upper end."""

MIN_POINTS = 3
"""Two points always lie on a line."""


@dataclass(frozen=True, slots=True)
class Line:
    """A least-squares line; errors are None with two points.

    Parameters
    ----------
    slope, intercept
        Of y = slope·x + intercept.
    slope_error, intercept_error
        Standard uncertainties from the residuals, with degrees_of_freedom = points − 2.
    """

    slope: float
    intercept: float
    slope_error: float | None
    intercept_error: float | None
    degrees_of_freedom: int


def fit_line(x: Sequence[float], y: Sequence[float]) -> Line:
    """Return the least-squares line through at least two points with different x."""
    xs, ys = np.array(x, dtype=float), np.array(y, dtype=float)
    mean = xs.mean()
    spread = float(((xs - mean) ** 2).sum())
    slope = float(((xs - mean) * ys).sum() / spread)
    intercept = float(ys.mean() - slope * mean)
    free = len(xs) - 2
    if free < 1:
        return Line(slope, intercept, None, None, free)
    variance = float(((ys - slope * xs - intercept) ** 2).sum()) / free
    return Line(slope, intercept, sqrt(variance / spread), sqrt(variance * (1 / len(xs) + mean**2 / spread)), free)


def fit_thicknesses(base: CandidateResult, variations: Sequence[VariedFilm]) -> LineFit | None:
    """Return the line through a film and its thicker versions; None with fewer than three that count.

    Energies are counted from the relaxed bulk, which moves nothing but the zero of the slope.

    Parameters
    ----------
    base
        The study's own film.
    variations
        Variations that count; those of other films and kinds are passed over.
    """
    own = [s for s in variations if s.film_id == base.candidate.id and s.kind is VariationKind.FILM_THICKNESS]
    if base.area_ang2 is None or base.total_ev_per_fu is None or base.strain_ev_per_fu is None:
        return None
    films: list[CandidateResult | VariedFilm] = [base, *sorted(own, key=lambda film: film.index)]
    if len(films) < MIN_POINTS:
        return None
    n, g = (list(values) for values in zip(*(_point(film) for film in films), strict=True))
    line = fit_line(n, g)
    reference = base.strain_ev_per_fu - (base.dot_strain_ev_per_fu or 0.0)  # the dot's share belongs to the area
    deviation = line.slope - reference
    is_consistent = abs(deviation) <= SLOPE_TOLERANCE_EV_PER_FU
    return LineFit(
        film=base.candidate.label,
        film_id=base.candidate.id,
        role=base.candidate.role,
        fu_per_ang2=tuple(n),
        energy_ev_per_ang2=tuple(g),
        degrees_of_freedom=line.degrees_of_freedom,
        slope_ev_per_fu=line.slope,
        slope_uncertainty_ev_per_fu=line.slope_error,
        intercept_mev_per_ang2=MEV_PER_EV * line.intercept,
        intercept_uncertainty_mev_per_ang2=None if line.intercept_error is None else MEV_PER_EV * line.intercept_error,
        reference_ev_per_fu=reference,
        slope_deviation_ev_per_fu=deviation,
        is_consistent=is_consistent,
        finding=_say_slope(deviation, is_consistent=is_consistent, n_points=len(n)),
    )


def _point(film: CandidateResult | VariedFilm) -> tuple[float, float]:
    """Return n and g of a film, counted from its relaxed bulk."""
    density = film.coverage_fu_per_ang2
    assert density is not None
    assert film.total_ev_per_fu is not None
    assert film.bulk_ev_per_fu is not None
    return density, density * (film.total_ev_per_fu - film.bulk_ev_per_fu)


def _say_slope(deviation_ev_per_fu: float, *, is_consistent: bool, n_points: int) -> str:
    found = (
        f"the slope through {n_points} thicknesses lies {write_signed(MEV_PER_EV * deviation_ev_per_fu, decimals=1)} "
        f"meV/f.u. from the strained bulk"
    )
    if is_consistent:
        return found
    return (
        f"{found}, {MEV_PER_EV * SLOPE_TOLERANCE_EV_PER_FU:.0f} are allowed: the film is not yet bulk inside (raise "
        "film.min_thickness_ang), it distorts as the reference cannot (film.reference_periods: 2) or did not "
        "(symmetry_breaking_ang: 0.2, or a phase that is a minimum), or k-points or forces are not converged"
    )


def find_critical_size(
    *,
    strained_ev_per_fu: tuple[float, float],
    interface_ev_per_ang2: tuple[float, float],
    volume_ang3_per_fu: float,
    n_faces: int = 1,
    covariance: float = 0.0,
) -> CriticalSize:
    """Return where the preference changes, with Fieller's interval.

    Parameters
    ----------
    strained_ev_per_fu, interface_ev_per_ang2
        Δe and Δσ, black − competitor, each with its standard uncertainty.
    volume_ang3_per_fu
        Volume of a formula unit in the strained black film.
    n_faces
        Faces of the dot that a film lies on: a film with n formula units for each of two is 2 n v thick.
    covariance
        Of their errors.
    """
    (e, u_e), (sigma, u_sigma) = strained_ev_per_fu, interface_ev_per_ang2
    critical = -sigma / e if e * sigma < 0 else None
    interval = find_fieller_interval(-sigma, e, u_sigma, u_e, covariance=-covariance)
    layer_ang = volume_ang3_per_fu ** (1 / 3)
    return CriticalSize(
        strained_ev_per_fu=e,
        strained_uncertainty_ev_per_fu=u_e,
        interface_mev_per_ang2=MEV_PER_EV * sigma,
        interface_uncertainty_mev_per_ang2=MEV_PER_EV * u_sigma,
        covariance_ev2_per_ang2=covariance,
        critical_fu_per_ang2=critical,
        interval_fu_per_ang2=interval,
        is_bounded=interval is not None and interval[1] is not None,
        volume_ang3_per_fu=volume_ang3_per_fu,
        layer_ang=layer_ang,
        finding=(
            f"{_say_critical(e, sigma, volume_ang3_per_fu, n_faces=n_faces)}; "
            f"{_say_interval(interval, n_faces * volume_ang3_per_fu)}"
        ),
    )


def find_fieller_interval(
    numerator: float,
    denominator: float,
    u_numerator: float,
    u_denominator: float,
    *,
    covariance: float = 0.0,
    coverage: float = COVERAGE_FACTOR,
) -> Interval | None:
    """Return the interval of a positive ratio a/b: all r > 0 with (a − r b)² ≤ k² (u_a² − 2 r cov + r² u_b²).

    Parameters
    ----------
    numerator, denominator
        a and b.
    u_numerator, u_denominator, covariance
        Their standard uncertainties and the covariance.
    coverage
        Factor k.

    Returns
    -------
    tuple or None
        Both ends; an upper end of None: none.  (0, None): any ratio, which is also what two separate pieces become.
        None: no positive ratio agrees.
    """
    k2 = coverage**2
    a = denominator**2 - k2 * u_denominator**2
    b = numerator * denominator - k2 * covariance
    c = numerator**2 - k2 * u_numerator**2
    root = sqrt(max(b * b - a * c, 0.0))
    if a > 0:  # b is significant: between both roots
        low, high = (b - root) / a, (b + root) / a
        return (max(low, 0.0), high) if high > 0 else None
    if c <= 0 or a == 0:  # neither is: nothing is ruled out for good
        return 0.0, None
    return max((b - root) / a, (b + root) / a), None  # beyond the positive root


def _say_critical(e: float, sigma: float, volume_ang3: float, *, n_faces: int) -> str:
    if e * sigma >= 0:
        winner = "black phase" if e < 0 or sigma < 0 else "competitor"
        return f"no critical thickness: bulk, strain and interfaces favour the {winner}"
    length_ang, layer_ang = -sigma / e * n_faces * volume_ang3, volume_ang3 ** (1 / 3)
    thin = "black phase" if sigma < 0 else "competitor"
    place = " between two dots" if n_faces == 2 else ""
    thickness = f"{length_ang:.1f} Å ({length_ang / layer_ang:.1f} layers)"
    return f"critical thickness{place} {thickness}, below which the {thin} wins"


def _say_interval(interval: Interval | None, volume_ang3: float) -> str:
    if interval is None:
        return "no thickness agrees with a change of sign within about 95 %"
    low, high = interval
    if high is not None:
        return f"interval of about 95 %: {low * volume_ang3:.1f} to {high * volume_ang3:.1f} Å"
    if low > 0:
        return f"interval of about 95 %: from {low * volume_ang3:.1f} Å on, without upper end"
    return "the interval of about 95 % is unbounded: within the errors any thickness may be critical"
