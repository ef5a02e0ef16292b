"""What the registry scans of a study found about each candidate."""

from __future__ import annotations

from qdip_dft.builders.candidate_registries import find_point
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import RegistryScanId
from qdip_dft.model.interface import Candidate
from qdip_dft.model.orientation import AS_CUT
from qdip_dft.model.registry import OuterRegistry, RegistryFinding, RegistryScan, UpperFinding
from qdip_dft.units import MEV_PER_EV


def find_registry_scan(resolution: Resolution, candidate: Candidate) -> RegistryScan | None:
    """The scan that decides on a candidate's registry, if there is one and it is made."""
    asked = candidate.registry_scan
    return None if asked is None else resolution.registry_scans.get(RegistryScanId(asked))


def describe_registry(resolution: Resolution, candidate: Candidate) -> RegistryFinding | None:
    """What the scan of a candidate's registry found; None where nothing was compared.

    Parameters
    ----------
    resolution
        What was calculated.
    candidate
        The candidate.
    """
    scan = find_registry_scan(resolution, candidate)
    if scan is None:
        return None
    point = find_point(candidate, scan)
    return RegistryFinding(
        key=scan.key,
        theory=scan.theory,
        n_positions=scan.n_positions,
        n_failed=len(scan.failures),
        n_impossible=len(scan.impossible),
        displacement_area_ang2=scan.displacement_area_ang2,
        rank=None if point is None else candidate.place,
        turn=(AS_CUT if point is None else point.turn).name,
        gap_offset_ang=0.0 if point is None else point.gap_offset_ang,
        gap_ang=None if point is None else point.gap_ang,
        above_best_mev_per_ang2=None
        if point is None
        else MEV_PER_EV * (point.energy_ev - scan.best[0].energy_ev) / scan.area_ang2,
        failure=scan.failure,
        upper=None if point is None else _describe_upper(point.outer, scan.area_ang2),
        **_spread(scan, candidate.n_formula_units),
    )


def _describe_upper(outer: OuterRegistry | None, area_ang2: float) -> UpperFinding | None:
    if outer is None:
        return None
    return UpperFinding(
        n_positions=outer.n_positions,
        range_mev_per_ang2=MEV_PER_EV * outer.range_ev / area_ang2,
        gap_offset_ang=outer.gap_offset_ang,
        gap_ang=outer.gap_ang,
    )


def _spread(scan: RegistryScan, n_formula_units: int) -> dict[str, float | None]:
    """Return range and deviation of the energies per area and per formula unit of the study's film."""
    spread: dict[str, float | None] = {}
    for name, value_ev in (("range", scan.range_ev), ("deviation", scan.deviation_ev)):
        per_area = None if value_ev is None else MEV_PER_EV * value_ev / scan.area_ang2
        spread[f"{name}_mev_per_ang2"] = per_area
        spread[f"{name}_ev_per_fu"] = None if value_ev is None else value_ev / n_formula_units
    return spread
