"""From the energies per area of a film to dots in a host: which radius and which loading keep the black phase.

Dots of radius R that fill the share x of the volume leave, for each area of their surface,

    n = V_host / (v A_dot) = R (1 − x) / (3 x v f)

formula units of host, each of volume v; f = 1 for a sphere, otherwise the surface of the dot over that of the sphere of
equal volume.  With the line of the films, ΔE(n) = Δe + Δσ/n per formula unit, where Δσ leaves out the free face of the
film: an embedded host has none.

Assumptions: all of the host is strained as the film is; every facet binds like the computed one; edges, corners and
the strain field's decay are left out; dots do not touch; the host between them is thick enough for the line to hold.
"""

from __future__ import annotations

from itertools import product
from math import sqrt

import numpy as np

from qdip_dft.errors import StudyError
from qdip_dft.model.stabilization import CandidateResult, DecompositionResult
from qdip_dft.model.uncertainty import EmbeddedInterface

Side = CandidateResult | DecompositionResult


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


def embedded_difference_ev_per_fu(
    strained_ev_per_fu: float,
    interface_ev_per_ang2: float,
    *,
    radius_ang: float,
    loading: float,
    volume_ang3_per_fu: float,
    shape: float = 1.0,
) -> float:
    """Return black − competitor of a host with dots, in eV per formula unit of host; negative favours black."""
    n = count_host_per_area(radius_ang, loading, volume_ang3_per_fu=volume_ang3_per_fu, shape=shape)
    return strained_ev_per_fu + interface_ev_per_ang2 / n


def find_critical_radius_ang(
    critical_fu_per_ang2: float, loading: float, *, volume_ang3_per_fu: float, shape: float = 1.0
) -> float:
    """Return the radius in Å at which the preference changes at a loading.

    Parameters
    ----------
    critical_fu_per_ang2
        n*, the zero of the line.
    loading, volume_ang3_per_fu, shape
        As for `count_host_per_area`.
    """
    _require_physical(radius_ang=1.0, loading=loading)
    return 3.0 * loading * volume_ang3_per_fu * shape * critical_fu_per_ang2 / (1.0 - loading)


def find_critical_loading(
    critical_fu_per_ang2: float, radius_ang: float, *, volume_ang3_per_fu: float, shape: float = 1.0
) -> float:
    """Return the volume fraction at which the preference changes for dots of a radius."""
    _require_physical(radius_ang=radius_ang, loading=0.5)
    return radius_ang / (radius_ang + 3.0 * volume_ang3_per_fu * shape * critical_fu_per_ang2)


def embed_interface(
    black: CandidateResult, competitor: Side, *, interface_mev_per_ang2: tuple[float, float]
) -> EmbeddedInterface | None:
    """Return Δσ without the free faces of the films; None where an energy is missing.

    A film's surface energy S counts both of its faces.  Where both end alike, the free one has S/2.  Where they differ,
    only the sum is defined: any share between none and all of it is possible, so S/2 is taken with the standard
    uncertainty S/√12 of a rectangular distribution (GUM 4.3.7).

    Parameters
    ----------
    black, competitor
        The two sides; bulk compounds have no faces.
    interface_mev_per_ang2
        Δσ of the films with its standard uncertainty.
    """
    sigma, u_sigma = interface_mev_per_ang2
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
