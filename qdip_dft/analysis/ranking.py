"""The candidates of a phase against each other, and what they are together at a temperature.

A dot is covered by many patches of film, each with one plane, termination and registry.  At a temperature T they occur
with Boltzmann weights of the energy of a patch, which is extensive: the larger the patch, the more the lowest candidate
wins.  They are compared at the coverage n* of the answer (`qdip_dft.analysis.sides`), where a film has the energy e(n*)
per formula unit and n* e(n*) per area; a patch of area a has the weight w ∝ exp(−a n* e(n*) / kT), and the mean total
is Σ w e(n*).

Assumed: patches do not interact, and nothing but the energy at rest differs (no vibrations, no borders of patches).
Energies that the level of theory cannot tell apart (`model.resolution`) give weights that mean as little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qdip_dft.analysis.coverage import evaluate_total
from qdip_dft.analysis.sides import find_coverage, order_by_energy
from qdip_dft.model.stabilization import CandidateResult, StabilizationDoc
from qdip_dft.model.study import EnsembleSpec, OrientationPolicy, PhaseRole
from qdip_dft.units import BOLTZMANN_EV_PER_K, MEV_PER_EV


@dataclass(frozen=True, slots=True)
class RankedCandidate:
    """A candidate among those of its phase.

    Parameters
    ----------
    result
        The candidate.
    total_ev_per_fu
        Its total at n*.
    above_ev_per_fu, above_mev_per_ang2
        The same above the lowest candidate, and per area.
    weight
        Boltzmann weight, 0 to 1.
    """

    result: CandidateResult
    total_ev_per_fu: float
    above_ev_per_fu: float
    above_mev_per_ang2: float
    weight: float


@dataclass(frozen=True, slots=True)
class PhaseRanking:
    """The valid candidates of a phase, lowest first.

    Parameters
    ----------
    phase, role, policy
        The phase, its role, and which plane stands for it.
    coverage_fu_per_ang2
        n* at which they are compared.
    candidates
        At least one.
    """

    phase: str
    role: PhaseRole
    policy: OrientationPolicy
    coverage_fu_per_ang2: float
    candidates: tuple[RankedCandidate, ...]

    @property
    def mean_total_ev_per_fu(self) -> float:
        """Return the total averaged with the weights."""
        return sum(ranked.weight * ranked.total_ev_per_fu for ranked in self.candidates)


def rank_candidates(doc: StabilizationDoc) -> tuple[PhaseRanking, ...]:
    """Return the ranking of every phase that a candidate stands for, in the order of the study."""
    coverage = find_coverage(doc)
    if coverage is None:
        return ()
    rankings = []
    for spec in doc.study.phases:
        own = [result for result in doc.candidates if result.candidate.phase == spec.phase and result.is_valid]
        if any(result.is_selected for result in own):
            ranked = _rank(own, coverage, doc.study.ensemble)
            rankings.append(PhaseRanking(spec.phase, spec.role, spec.orientation, coverage, ranked))
    return tuple(rankings)


def average_stabilization_ev_per_fu(doc: StabilizationDoc) -> float | None:
    """Return black − competitor of the averages over the candidates at n*; None where a side has none.

    The phase of lowest average stands for its role, and decomposition products for themselves.
    """
    rankings = rank_candidates(doc)
    sides = {role: [r.mean_total_ev_per_fu for r in rankings if r.role is role] for role in PhaseRole}
    products = doc.decomposition
    if rankings and products is not None and products.total_ev_per_fu is not None:
        sides[PhaseRole.COMPETITOR].append(evaluate_total(products, rankings[0].coverage_fu_per_ang2))
    if not all(sides.values()):
        return None
    return min(sides[PhaseRole.BLACK]) - min(sides[PhaseRole.COMPETITOR])


def weigh(energies_ev: Sequence[float], *, temperature_k: float) -> tuple[float, ...]:
    """Return the Boltzmann weights of energies in eV; they add up to one."""
    relative = np.array(energies_ev) - min(energies_ev)
    factors = np.exp(-relative / (BOLTZMANN_EV_PER_K * temperature_k))
    return tuple((factors / factors.sum()).tolist())


def _rank(
    own: Sequence[CandidateResult], coverage_fu_per_ang2: float, ensemble: EnsembleSpec
) -> tuple[RankedCandidate, ...]:
    ordered = order_by_energy(own, coverage_fu_per_ang2)
    totals = [evaluate_total(result, coverage_fu_per_ang2) for result in ordered]
    patches_ev = [ensemble.patch_area_ang2 * coverage_fu_per_ang2 * total for total in totals]
    weights = weigh(patches_ev, temperature_k=ensemble.temperature_k)
    return tuple(
        RankedCandidate(
            result=result,
            total_ev_per_fu=total,
            above_ev_per_fu=total - totals[0],
            above_mev_per_ang2=MEV_PER_EV * coverage_fu_per_ang2 * (total - totals[0]),
            weight=weight,
        )
        for result, total, weight in zip(ordered, totals, weights, strict=True)
    )
