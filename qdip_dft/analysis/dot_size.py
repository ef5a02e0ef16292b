"""From the energies per area of a film to dots in a host: which radius and which loading keep the black phase.

Dots of radius R that fill the share x of the volume leave, for each area of their surface,

    n = V_host / (v A_dot) = R (1 − x) / (3 x v f)

formula units of host, each of volume v; f = 1 for a sphere, otherwise the surface of the dot over that of the sphere of
equal volume.  Per formula unit of host

    ΔE = Δe_bulk + s Δe_strain + Δσ / n,

where Δσ leaves out the free face of a film (an embedded host has none) and s is the share of the host that is strained
as the film is, so that ΔE tends to the bulk difference for x → 0.  With a range L, the thickness of the shell around a
dot that holds the strain energy (`qdip_dft.analysis.strain_map`), s = (L A_dot/V_host) (1 + L/R + L²/3R²).  Without a
strain map it follows from isotropic elasticity: around a misfitting sphere the strain falls as (R/r)³, so the energy
density as (R/r)⁶, whose integral over the host is the density at the dot times the volume of the dot: s = x/(1 − x)
(J. D. Eshelby, Proc. R. Soc. Lond. A 241, 376 (1957)).  s never exceeds 1.

Assumptions: every facet binds like the computed one; edges and corners are left out; dots do not touch; the host
between them is thick enough for σ to hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from math import sqrt

import numpy as np

from qdip_dft.analysis.coverage import Side
from qdip_dft.analysis.uncertainty import combine
from qdip_dft.errors import StudyError
from qdip_dft.model.stabilization import CandidateResult, DecompositionResult, StabilizationDoc
from qdip_dft.model.study import Environment
from qdip_dft.model.uncertainty import EmbeddedInterface, TermErrors
from qdip_dft.units import MEV_PER_EV


@dataclass(frozen=True, slots=True)
class Dots:
    """Dots in a host.

    Parameters
    ----------
    radius_ang
        Radius R of a sphere of the dot's volume in Å.
    loading
        Volume fraction x of the dots, between 0 and 1.
    shape
        Surface of the dot over that of the sphere of equal volume, f ≥ 1.
    """

    radius_ang: float
    loading: float
    shape: float = 1.0


def count_host_per_area(radius_ang: float, loading: float, *, volume_ang3_per_fu: float, shape: float = 1.0) -> float:
    """Return n, the formula units of host per Å² of dot surface.

    Parameters
    ----------
    radius_ang
        Radius R of a sphere of the dot's volume in Å.
    loading
        Volume fraction x of the dots, between 0 and 1.
    volume_ang3_per_fu
        Volume v of a formula unit of the host in Å³.
    shape
        Surface of the dot over that of the sphere of equal volume, f ≥ 1.
    """
    _require_physical(radius_ang=radius_ang, loading=loading)
    return radius_ang * (1.0 - loading) / (3.0 * loading * volume_ang3_per_fu * shape)


def measure_wulff_shape(energy_ratio: float) -> float:
    """Return f, the surface of a rock-salt dot's Wulff shape over that of the sphere of equal volume.

    The shape is bounded by {100} planes at a distance of 1 and {111} planes at that of the ratio: an octahedron below
    1/√3, a cube above √3, truncated between.

    Parameters
    ----------
    energy_ratio
        γ(111)/γ(100) of the passivated facets.
    """
    if energy_ratio <= 0:
        raise StudyError(
            f"a ratio of surface energies of {energy_ratio:g}",
            limit="γ(111)/γ(100) must be positive",
            why="a surface that costs nothing has no shape",
            remedy="give 0.6 for an octahedron, 1 for a truncated one, 1.7 for a cube",
        )
    from scipy.spatial import ConvexHull, HalfspaceIntersection

    cube = np.vstack([np.eye(3), -np.eye(3)])
    octahedron = np.array(list(product((-1.0, 1.0), repeat=3))) / sqrt(3.0)
    distances = np.concatenate([np.ones(6), np.full(8, energy_ratio)])
    planes = np.column_stack([np.vstack([cube, octahedron]), -distances])
    hull = ConvexHull(HalfspaceIntersection(planes, np.zeros(3)).intersections)
    return float(hull.area / (36.0 * np.pi * hull.volume**2) ** (1 / 3))


def _require_physical(*, radius_ang: float, loading: float) -> None:
    if radius_ang > 0 and 0 < loading < 1:
        return
    raise StudyError(
        f"dots of radius {radius_ang:g} Å at a volume fraction of {loading:g}",
        limit="the radius must be positive, the volume fraction between 0 and 1",
        why="without host, or without dots, there is nothing to stabilize",
        remedy="give the loading as a fraction, such as 0.1 for 10 % of the volume",
    )


@dataclass(frozen=True, slots=True)
class DotsInHost:
    """Black − competitor of a host with dots, for any radius and loading.

    Parameters
    ----------
    bulk_ev_per_fu, strain_ev_per_fu, interface_ev_per_ang2
        Δe_bulk, Δe_strain and Δσ.
    covariance
        Of these three, as rows.
    volume_ang3_per_fu
        Volume v of a formula unit.
    not_estimated
        Sources of error that nobody looked at; defaults stand for them.
    strain_range_ang
        Range L of the strain; None: isotropic elasticity.
    """

    bulk_ev_per_fu: float
    strain_ev_per_fu: float
    interface_ev_per_ang2: float
    covariance: tuple[tuple[float, float, float], ...]
    volume_ang3_per_fu: float
    not_estimated: tuple[str, ...] = ()
    strain_range_ang: float | None = None

    def share_strained(self, dots: Dots) -> float:
        """s, the share of the host that is strained as the film is."""
        if self.strain_range_ang is None:
            return min(1.0, dots.loading / (1.0 - dots.loading))
        reach, radius = self.strain_range_ang, dots.radius_ang
        shell_fu_per_ang2 = reach * (1.0 + reach / radius + reach**2 / (3.0 * radius**2)) / self.volume_ang3_per_fu
        return min(1.0, shell_fu_per_ang2 / self.count_host(dots))

    def count_host(self, dots: Dots) -> float:
        """n, the formula units of host per Å² of dot."""
        return count_host_per_area(
            dots.radius_ang, dots.loading, volume_ang3_per_fu=self.volume_ang3_per_fu, shape=dots.shape
        )

    def difference_ev_per_fu(self, dots: Dots) -> float:
        """Black − competitor in eV per formula unit of host; negative: the black phase is favoured."""
        strain = self.share_strained(dots) * self.strain_ev_per_fu
        return self.bulk_ev_per_fu + strain + self.interface_ev_per_ang2 / self.count_host(dots)

    def uncertainty_ev_per_fu(self, dots: Dots) -> float:
        """Standard uncertainty, of the numbers and of the model, with that of s.

        Without a strain map that is all of the strain's part; with one, what half the size of a formula unit more or
        less does, which is the resolution of such a map.
        """
        slopes = np.array([1.0, self.share_strained(dots), 1.0 / self.count_host(dots)])
        variance = float(slopes @ np.array(self.covariance) @ slopes)
        return sqrt(max(variance, 0.0) + (self._error_of_share(dots) * self.strain_ev_per_fu) ** 2)

    def _error_of_share(self, dots: Dots) -> float:
        if self.strain_range_ang is None:
            return self.share_strained(dots)
        half_ang = self.volume_ang3_per_fu ** (1 / 3) / 2
        ends = (max(self.strain_range_ang - half_ang, 0.0), self.strain_range_ang + half_ang)
        low, high = (replace(self, strain_range_ang=end).share_strained(dots) for end in ends)
        return (high - low) / 2

    def find_critical_radius_ang(self, dots: Dots) -> float | None:
        """The radius at which the preference changes at a loading; None within 1 Å to 10 µm."""
        return _find_last_zero(lambda radius: self.difference_ev_per_fu(replace(dots, radius_ang=radius)), 1.0, 1e5)

    def find_critical_loading(self, dots: Dots) -> float | None:
        """The volume fraction at which the preference changes for a radius; None where there is none."""
        odds = _find_last_zero(
            lambda odds: self.difference_ev_per_fu(replace(dots, loading=1.0 / (1.0 + odds))), 1e-3, 1e9
        )
        return None if odds is None else 1.0 / (1.0 + odds)


def _find_last_zero(function: Callable[[float], float], low: float, high: float) -> float | None:
    """Return the largest zero of a function between two positive ends."""
    from scipy.optimize import brentq

    places = np.geomspace(low, high, 400)
    signs = np.sign([function(place) for place in places])
    changes = np.flatnonzero(signs[1:] != signs[:-1])
    if not len(changes):
        return None
    return float(brentq(function, places[changes[-1]], places[changes[-1] + 1], xtol=1e-12, rtol=1e-12))


def survey_dots(document: StabilizationDoc, *, strain_range_ang: float | None = None) -> DotsInHost | None:
    """What the answer of a document says about dots in a host; None where a term, or how sure it is, is missing.

    Parameters
    ----------
    document
        A result of formula version 2.
    strain_range_ang
        Range L of the strain from a strain map; None: that of the study, else isotropic elasticity.
    """
    answer, stated = document.stabilization, document.uncertainty
    if stated is None or stated.critical is None or stated.embedded is None or document.formula_version == 1:
        return None
    if answer.bulk_ev_per_fu is None:
        return None
    return DotsInHost(
        bulk_ev_per_fu=answer.bulk_ev_per_fu,
        strain_ev_per_fu=stated.critical.strained_ev_per_fu - answer.bulk_ev_per_fu,
        interface_ev_per_ang2=stated.embedded.difference_mev_per_ang2 / MEV_PER_EV,
        covariance=_collect_covariance(combine(filter(None, (stated.difference, stated.model_error))), stated.embedded),
        volume_ang3_per_fu=stated.critical.volume_ang3_per_fu,
        not_estimated=stated.not_estimated,
        strain_range_ang=document.study.strain_range_ang if strain_range_ang is None else strain_range_ang,
    )


def _collect_covariance(errors: TermErrors, embedded: EmbeddedInterface) -> tuple[tuple[float, float, float], ...]:
    """Return the covariance of Δe_bulk, Δe_strain and Δσ; the split of a film's faces is an error of its own."""
    bulk = errors.bulk_ev_per_fu**2
    interface = (embedded.uncertainty_mev_per_ang2 / MEV_PER_EV) ** 2
    bulk_strain = errors.bulk_strain_covariance_ev2 or 0.0
    strain = max(errors.strained_ev_per_fu**2 - bulk - 2.0 * bulk_strain, 0.0)
    bulk_interface = errors.bulk_interface_covariance_ev2_per_ang2 or 0.0
    strain_interface = errors.strain_interface_covariance_ev2_per_ang2 or 0.0
    return (
        (bulk, bulk_strain, bulk_interface),
        (bulk_strain, strain, strain_interface),
        (bulk_interface, strain_interface, interface),
    )


def embed_interface(
    black: CandidateResult,
    competitor: Side,
    *,
    interface_mev_per_ang2: tuple[float, float],
    environment: Environment,
) -> EmbeddedInterface | None:
    """Return Δσ without the free faces of the films; None where an energy is missing.

    A film between two dots has none.  A capped film's surface energy S counts both of its faces.  Where both end alike,
    the free one has S/2.  Where they differ, only the sum is defined: any share between none and all of it is possible,
    so S/2 is taken with the standard uncertainty S/√12 of a rectangular distribution (GUM 4.3.7).

    Parameters
    ----------
    black, competitor
        The two sides; bulk compounds have no faces.
    interface_mev_per_ang2
        Δσ of the films with its standard uncertainty.
    environment
        What surrounds the films.
    """
    sigma, u_sigma = interface_mev_per_ang2
    if environment is Environment.EMBEDDED:
        return EmbeddedInterface(
            difference_mev_per_ang2=sigma,
            uncertainty_mev_per_ang2=u_sigma,
            is_split_exact=True,
            finding="the films lie between two dots: there is no free face",
        )
    faces = [(1.0, black), (-1.0, competitor)]
    variance, unequal = u_sigma**2, []
    for sign, side in faces:
        if isinstance(side, DecompositionResult):
            continue
        if side.surface_mev_per_ang2 is None:
            return None
        sigma -= sign * side.surface_mev_per_ang2 / 2
        if not ends_alike(side):
            unequal.append(side.candidate.title.film_side)
            variance += side.surface_mev_per_ang2**2 / 12
    return EmbeddedInterface(
        difference_mev_per_ang2=sigma,
        uncertainty_mev_per_ang2=sqrt(variance),
        is_split_exact=not unequal,
        finding=_say_split(unequal),
    )


def ends_alike(film: CandidateResult) -> bool:
    """Return whether both faces of a film end with the same layer."""
    bottom, _, top = film.candidate.termination.partition("|")
    return bottom == top


def _say_split(unequal: list[str]) -> str:
    if not unequal:
        return "both faces of each film end alike: the free one has half of the surface energy"
    return (
        f"the faces of {' and '.join(unequal)} end differently, so only the sum of their energies is defined: half is "
        "taken for the free face, and any share between none and all counts as its error (rectangular, S/√12)"
    )
