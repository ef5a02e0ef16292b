"""Films at one coverage.

A film of n formula units of host per dot area costs, per formula unit,

    e(n) = e_bulk + e_strain + σ/n,     σ = n_own (surface + binding),

with its own terms at its own coverage n_own.  σ holds minus the energy of the bare dot facet, which two films share
only if they cover it with equal amounts of host.  So everything that is compared is evaluated at one coverage n*
(`qdip_dft.analysis.sides` chooses it).
"""

from __future__ import annotations

from qdip_dft.model.stabilization import (
    CandidateResult,
    DecompositionResult,
    InterfaceEnergies,
    StabilizationDoc,
)
from qdip_dft.model.terms import Terms
from qdip_dft.model.uncertainty import VariedFilm
from qdip_dft.units import ev_per_ang2_to_j_per_m2, ev_per_ang2_to_mev_per_ang2

Side = CandidateResult | DecompositionResult
Film = Side | VariedFilm


def find_own_coverage(film: Film) -> float | None:
    """Formula units of host per Å² of dot as computed; None for bulk compounds off the dot, or an unknown area."""
    return None if isinstance(film, DecompositionResult) else film.coverage_fu_per_ang2


def as_compared(film: Film) -> Film:
    """A film with the terms of the lowest termination and orientation that were computed of it."""
    choice = film.lowest_choice if isinstance(film, CandidateResult) else None
    if choice is None:
        return film
    return film.model_copy(update={**choice.model_dump(exclude={"name"}), "lowest_choice": None})


def find_bulk(film: Film) -> float | None:
    """Bulk term in eV per formula unit as it is compared: the engine's, moved by the reference where there is one."""
    shift = 0.0 if isinstance(film, DecompositionResult) else film.bulk_shift_ev_per_fu or 0.0
    return None if film.bulk_ev_per_fu is None else film.bulk_ev_per_fu + shift


def evaluate_terms(film: Film, coverage_fu_per_ang2: float) -> Terms:
    """Terms of a film as one of n* formula units per dot area would have them; missing ones stay missing.

    The bulk is the anchored one where there is a reference.

    What the strain of the dot costs belongs to the dot area, like σ, and is shared by as many formula units.

    Parameters
    ----------
    film
        A candidate, a variation of one, or bulk compounds off the dot, which have no σ.
    coverage_fu_per_ang2
        n* in formula units of host per Å² of dot.
    """
    film = as_compared(film)
    own = 0.0 if isinstance(film, DecompositionResult) else find_own_coverage(film)
    surface, binding = (
        None if term is None or own is None else own / coverage_fu_per_ang2 * term
        for term in (film.surface_ev_per_fu, film.binding_ev_per_fu)
    )
    return Terms.add_up(find_bulk(film), _strain_at(film, own, coverage_fu_per_ang2), surface, binding)


def _strain_at(film: Film, own_fu_per_ang2: float | None, coverage_fu_per_ang2: float) -> float | None:
    strain, of_dot = film.strain_ev_per_fu, find_dot_strain(film)
    if strain is None or own_fu_per_ang2 is None or not of_dot:
        return strain
    return strain + (own_fu_per_ang2 / coverage_fu_per_ang2 - 1.0) * of_dot


def find_dot_strain(film: Film) -> float:
    """The dot's share of the strain term in eV per formula unit of this very film; zero where it has none."""
    return 0.0 if isinstance(film, DecompositionResult) else film.dot_strain_ev_per_fu or 0.0


def split_line(film: Film) -> tuple[float, float] | None:
    """The line e(n) = e + a/n of a film: bulk + strain of the film in eV/f.u., and what belongs to the area in eV/Å².

    That is σ and the strain of the dot.  None where a term or the area is missing.
    """
    film = as_compared(film)
    sigma, own, bulk = interface_ev_per_ang2(film), find_own_coverage(film) or 0.0, find_bulk(film)
    if sigma is None or bulk is None or film.strain_ev_per_fu is None:
        return None
    of_dot = find_dot_strain(film)
    return bulk + film.strain_ev_per_fu - of_dot, sum(sigma) + own * of_dot


def evaluate_total(film: Film, coverage_fu_per_ang2: float) -> float:
    """Total of a film at n* in eV per formula unit; infinite where a term is missing."""
    total = evaluate_terms(film, coverage_fu_per_ang2).total_ev_per_fu
    return float("inf") if total is None else total


def compared_terms(doc: StabilizationDoc, film: Film) -> Terms:
    """Terms of a film as the answer of its document compares them: at n*, or its own in formula version 1."""
    coverage = doc.stabilization.coverage_fu_per_ang2
    if doc.formula_version == 1 or coverage is None:
        return Terms(**{name: getattr(film, name) for name in Terms.model_fields})
    return evaluate_terms(film, coverage)


def interface_ev_per_ang2(film: Film) -> tuple[float, float] | None:
    """σ_surf and σ_bind in eV/Å²; zero for bulk compounds off the dot, None where a term or the area is missing."""
    film = as_compared(film)
    own = 0.0 if isinstance(film, DecompositionResult) else find_own_coverage(film)
    if own is None or film.surface_ev_per_fu is None or film.binding_ev_per_fu is None:
        return None
    return own * film.surface_ev_per_fu, own * film.binding_ev_per_fu


def interface_energies(film: Film) -> InterfaceEnergies | None:
    """σ_surf, σ_bind and σ of a film in both units; None where one is missing."""
    parts = interface_ev_per_ang2(film)
    return None if parts is None else _write_interface(*parts)


def subtract_interfaces(black: Film, competitor: Film) -> InterfaceEnergies | None:
    """Black − competitor per dot area; None where one is missing."""
    left, right = interface_ev_per_ang2(black), interface_ev_per_ang2(competitor)
    if left is None or right is None:
        return None
    return _write_interface(left[0] - right[0], left[1] - right[1])


def _write_interface(surface_ev_per_ang2: float, binding_ev_per_ang2: float) -> InterfaceEnergies:
    named = {
        "surface": surface_ev_per_ang2,
        "binding": binding_ev_per_ang2,
        "interface": surface_ev_per_ang2 + binding_ev_per_ang2,
    }
    return InterfaceEnergies(
        **{f"{name}_mev_per_ang2": ev_per_ang2_to_mev_per_ang2(energy) for name, energy in named.items()},
        **{f"{name}_j_per_m2": ev_per_ang2_to_j_per_m2(energy) for name, energy in named.items()},
    )
