"""The four terms of a phase and the stabilization energy, from total energies.

For a film of N formula units in an interface cell of area A (all energies in eV, terms in eV per formula unit):

    bulk    = E(bulk, fully relaxed) / Z
    strain  = E(strained bulk) / N_ref − bulk + [E(dot slab) − E(unstrained dot slab)] / N
    surface = [E(film slab) − N · E(strained bulk) / N_ref − Σ Δn μ] / N
    binding = [E(interface) − E(film slab) − E(dot slab)] / N

The dot slab is that on the interface cell; where it is strained there, what that costs is part of the strain.  The sum
is [E(interface) − E(unstrained dot slab) − Σ Δn μ] / N, whatever the reference states: the identity is checked for
every result.  A film between two dots has twice the area of the cell in contact, and its interface holds one dot slab
for the two: surface pays both faces of the film, binding joins both.  Of a decomposition product on the dot, N counts
formula units of the host, and the bulk holds the products off the dot besides.  Σ Δn μ is the energy of the film's
excess in its reservoirs (`surfaces`); zero for stoichiometric films.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from qdip_dft.errors import LevelOfTheoryError, StudyError
from qdip_dft.model.calculation import LevelOfTheory
from qdip_dft.model.terms import Terms
from qdip_dft.units import ev_per_ang2_to_j_per_m2, ev_per_ang2_to_mev_per_ang2

IDENTITY_TOLERANCE_EV = 1e-9
"""Largest rounding error of the sum of the four terms, per formula unit."""


@dataclass(frozen=True, slots=True)
class CandidateEnergies:
    """Total energies of the parts of one candidate in eV; None where the calculation is missing.

    Parameters
    ----------
    bulk_ev, n_bulk
        Relaxed bulk of the phase and its formula units Z.
    strained_bulk_ev, n_strained_bulk
        Strained bulk in the interface cell and its formula units N_ref.
    film_slab_ev, dot_slab_ev, interface_ev
        The slabs and the interface.
    n_film
        Formula units N of the film.
    excess_ev
        Σ Δn μ, the energy of the film's excess in its reservoirs.
    dot_strain_ev
        E(dot slab) − E(the same slab on its own lattice); zero if the dot takes no strain.
    apart_ev_per_fu
        Bulk energy of the decomposition products that lie off the dot, per formula unit of the host.
    """

    bulk_ev: float | None
    n_bulk: int
    strained_bulk_ev: float | None
    n_strained_bulk: int
    film_slab_ev: float | None
    dot_slab_ev: float | None
    interface_ev: float | None
    n_film: int
    excess_ev: float | None = 0.0
    dot_strain_ev: float | None = 0.0
    apart_ev_per_fu: float | None = 0.0


@dataclass(frozen=True, slots=True)
class StrainShares:
    """What film and dot pay for their strain, in eV per formula unit of the film; None where it is missing."""

    film_ev_per_fu: float | None
    dot_ev_per_fu: float | None


def share_strain(energies: CandidateEnergies) -> StrainShares:
    """Film: E(strained bulk)/N_ref − bulk.  Dot: [E(dot slab) − E(the same slab on its own lattice)]/N."""
    strained = _divide(energies.strained_bulk_ev, energies.n_strained_bulk)
    return StrainShares(
        film_ev_per_fu=_subtract(strained, _divide(energies.bulk_ev, energies.n_bulk)),
        dot_ev_per_fu=_divide(energies.dot_strain_ev, energies.n_film),
    )


def compute_terms(energies: CandidateEnergies) -> Terms:
    """Return the four terms and their sum; a term whose energies are missing is None."""
    bulk = _add(_divide(energies.bulk_ev, energies.n_bulk), energies.apart_ev_per_fu)
    strained = _divide(energies.strained_bulk_ev, energies.n_strained_bulk)
    film = _divide(energies.film_slab_ev, energies.n_film)
    excess = _divide(energies.excess_ev, energies.n_film)
    dot = _divide(energies.dot_slab_ev, energies.n_film)
    interface = _divide(energies.interface_ev, energies.n_film)
    shares = share_strain(energies)
    strain = _add(shares.film_ev_per_fu, shares.dot_ev_per_fu)
    surface = _subtract(_subtract(film, strained), excess)
    binding = _subtract(_subtract(interface, film), dot)
    return Terms.add_up(bulk, strain, surface, binding)


def identity_residual_ev(terms: Terms, energies: CandidateEnergies) -> float | None:
    """Return N·total − [E(interface) − E(unstrained dot slab) − Σ Δn μ] in eV, zero up to rounding.

    None where a term is missing.

    Raises
    ------
    ArithmeticError
        If the four terms do not add up to 1e-9 eV per formula unit: a defect of this package, never of the input.
    """
    dot_ev = _subtract(energies.dot_slab_ev, energies.dot_strain_ev)
    parts = (energies.interface_ev, dot_ev, energies.excess_ev, energies.apart_ev_per_fu, terms.total_ev_per_fu)
    if any(part is None for part in parts):
        return None
    interface_ev, dot_ev, excess_ev, apart, total = (float(part) for part in parts if part is not None)
    residual_ev = energies.n_film * (total - apart) - (interface_ev - dot_ev - excess_ev)
    if abs(residual_ev) > IDENTITY_TOLERANCE_EV * energies.n_film:
        raise ArithmeticError(f"the four terms miss the total by {residual_ev:.3g} eV")
    return residual_ev


def per_area(
    term_ev_per_fu: float | None, *, n_film: int, area_ang2: float | None
) -> tuple[float | None, float | None]:
    """Return a term times N / A, in meV/Å² and in J/m²."""
    if term_ev_per_fu is None or area_ang2 is None:
        return None, None
    energy = term_ev_per_fu * n_film / area_ang2
    return ev_per_ang2_to_mev_per_ang2(energy), ev_per_ang2_to_j_per_m2(energy)


def balance_decomposition(host: Mapping[str, float], products: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return how many formula units of each product one formula unit of the host falls apart into.

    Parameters
    ----------
    host
        Atoms of each element in one formula unit of the host.
    products
        The same for every product, by name.

    Raises
    ------
    StudyError
        If the products cannot make up the host, or not in one way only.
    """
    elements = sorted({*host, *(element for product in products.values() for element in product)})
    matrix = np.array([[product.get(element, 0.0) for product in products.values()] for element in elements])
    target = np.array([host.get(element, 0.0) for element in elements])
    amounts, _, rank, _ = np.linalg.lstsq(matrix, target, rcond=None)
    if rank < len(products) or not np.allclose(matrix @ amounts, target, atol=1e-8) or np.any(amounts <= 0):
        raise StudyError(
            f"the host cannot fall apart into {' + '.join(products)}",
            limit="the products must have the host's elements in positive amounts that follow from the compositions",
            why="energies of different amounts of matter cannot be subtracted",
            remedy="name compounds that add up to the host, such as MAI and PbI2 for MAPbI3",
        )
    return {name: float(amount) for name, amount in zip(products, amounts, strict=True)}


def require_one_theory(theories: Iterable[LevelOfTheory]) -> LevelOfTheory | None:
    """Return the level of theory shared by all energies of a difference; None if there are none.

    Raises
    ------
    LevelOfTheoryError
        If two energies differ in anything that changes an energy.
    """
    shared: LevelOfTheory | None = None
    for theory in theories:
        if shared is None:
            shared = theory
        elif theory != shared:
            _refuse_mixture(shared, theory)
    return shared


def _refuse_mixture(first: LevelOfTheory, second: LevelOfTheory) -> None:
    left, right = first.model_dump(), second.model_dump()
    differing = [f"{name}: {left[name]} and {right[name]}" for name in left if left[name] != right[name]]
    raise LevelOfTheoryError(
        f"energies of two levels of theory in one difference ({'; '.join(differing)})",
        limit="engine, version, functional, dispersion, weights and settings must be equal",
        why="the difference of two zero points would be booked as physics",
        remedy="rerun the older part of the study with the present engine",
    )


def _add(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


def _divide(energy_ev: float | None, count: int) -> float | None:
    return None if energy_ev is None else energy_ev / count


def _subtract(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second
