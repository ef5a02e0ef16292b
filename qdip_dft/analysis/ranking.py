"""The candidates of a phase against each other, and what they are together at a temperature.

A dot is covered by many patches of film, each with one plane, termination and place.  At a temperature T they occur
with Boltzmann weights of the energy of a patch, which is extensive: the larger the patch, the more the lowest candidate
wins.  Candidates differ in area and formula units, so they are compared at the same amount of host per area, n of the
candidate that stands for the phase.  A film of n formula units per area has the energy per area

    g = n e_strained + σ,     e_strained = bulk + strain,     σ = N (surface + binding) / A,

and a patch of area a has the weight w ∝ exp(−a g / kT).  The mean total is Σ w (e_strained + σ / n).

Assumed: patches do not interact, films are as thick as the one that stands for the phase, and nothing but the energy at
rest differs (no vibrations, no borders of patches).  Energies that the level of theory cannot tell apart
(`RESOLUTION_EV_PER_FU`) give weights that mean as little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qdip_dft.model.stabilization import CandidateResult, StabilizationDoc
from qdip_dft.model.study import OrientationPolicy, PhaseRole
from qdip_dft.units import BOLTZMANN_EV_PER_K, MEV_PER_EV


@dataclass(frozen=True, slots=True)
class RankedCandidate:
    """A candidate among those of its phase.

    Parameters
    ----------
    result
        The candidate.
    total_ev_per_fu
        Its total for as many formula units per area as the candidate that stands for the phase.
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
    formula_units_per_ang2
        n at which they are compared.
    candidates
        At least one.
    """

    phase: str
    role: PhaseRole
    policy: OrientationPolicy
    formula_units_per_ang2: float
    candidates: tuple[RankedCandidate, ...]

    @property
    def mean_total_ev_per_fu(self) -> float:
        """Return the total averaged with the weights."""
        return sum(ranked.weight * ranked.total_ev_per_fu for ranked in self.candidates)


def rank_candidates(doc: StabilizationDoc) -> tuple[PhaseRanking, ...]:
    """Return the ranking of every phase that a candidate stands for, in the order of the study."""
    rankings = []
    for spec in doc.study.phases:
        own = [result for result in doc.candidates if result.candidate.phase == spec.phase and result.is_valid]
        standing = next((result for result in own if result.is_selected), None)
        density = None if standing is None else find_density_per_ang2(standing)
        if density is not None:
            ranked = _rank(own, density, doc)
            rankings.append(PhaseRanking(spec.phase, spec.role, spec.orientation, density, ranked))
    return tuple(rankings)


def average_stabilization_ev_per_fu(doc: StabilizationDoc) -> float | None:
    """Return black − competitor of the averages over the candidates; None where a side has none.

    The phase of lowest average stands for its role, and decomposition products for themselves.
    """
    rankings = rank_candidates(doc)
    sides = {role: [r.mean_total_ev_per_fu for r in rankings if r.role is role] for role in PhaseRole}
    products = doc.decomposition
    if products is not None and products.total_ev_per_fu is not None:
        sides[PhaseRole.COMPETITOR].append(products.total_ev_per_fu)
    if not all(sides.values()):
        return None
    return min(sides[PhaseRole.BLACK]) - min(sides[PhaseRole.COMPETITOR])


def find_density_per_ang2(result: CandidateResult) -> float | None:
    """Return the formula units per Å² of interface."""
    return None if result.area_ang2 is None else result.n_formula_units / result.area_ang2


def find_film_energy_ev_per_ang2(result: CandidateResult, density_per_ang2: float) -> float:
    """Return g = n e_strained + σ of a complete candidate for n formula units per Å², in eV/Å²."""
    own_density = find_density_per_ang2(result)
    values = (result.bulk_ev_per_fu, result.strain_ev_per_fu, result.surface_ev_per_fu, result.binding_ev_per_fu)
    bulk, strain, surface, binding = (0.0 if value is None else value for value in values)
    return density_per_ang2 * (bulk + strain) + (own_density or 0.0) * (surface + binding)


def weigh(energies_ev: Sequence[float], *, temperature_k: float) -> tuple[float, ...]:
    """Return the Boltzmann weights of energies in eV; they add up to one."""
    relative = np.array(energies_ev) - min(energies_ev)
    factors = np.exp(-relative / (BOLTZMANN_EV_PER_K * temperature_k))
    return tuple((factors / factors.sum()).tolist())


def _rank(own: list[CandidateResult], density: float, doc: StabilizationDoc) -> tuple[RankedCandidate, ...]:
    films = sorted(((find_film_energy_ev_per_ang2(r, density), i) for i, r in enumerate(own)))
    ensemble = doc.study.ensemble
    patches_ev = [ensemble.patch_area_ang2 * energy for energy, _ in films]
    weights = weigh(patches_ev, temperature_k=ensemble.temperature_k)
    lowest = films[0][0]
    return tuple(
        RankedCandidate(
            result=own[index],
            total_ev_per_fu=energy / density,
            above_ev_per_fu=(energy - lowest) / density,
            above_mev_per_ang2=MEV_PER_EV * (energy - lowest),
            weight=weight,
        )
        for (energy, index), weight in zip(films, weights, strict=True)
    )
