"""Checks of one candidate after its relaxations: is it still what was asked for, and how far may it be trusted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qdip_dft.analysis.phases import Connectivity, is_same_phase, measure_connectivity
from qdip_dft.model.elements import CLOSEST_COVALENT_RATIO
from qdip_dft.model.molecules import find_bonds
from qdip_dft.model.neighbours import find_close_pairs
from qdip_dft.model.registry import ONE_REGISTRY_IS_ENOUGH_ANG2, RegistryFinding, UpperFinding
from qdip_dft.model.stabilization import Check
from qdip_dft.model.structure import StructureRecord, Vector
from qdip_dft.units import EV_PER_ANG3_IN_GPA, MEV_PER_EV

LARGE_STRAIN = 0.03
"""Above this strain (fraction) a real interface would rather form misfit dislocations."""

STRAIN_RESOLUTION_EV_PER_FU = 0.002
"""A strain term is zero to within this."""

SOFT_BULK_MODULUS_GPA = 15.0
"""Bulk modulus of a halide perovskite, where the catalogue has none."""

LARGEST_RELAXATION_GAIN_EV_PER_FU = 0.01
"""More energy than this from a residual pressure is no longer small against the differences of phases."""

LARGEST_RESIDUAL_FORCE_EV_PER_ANG = 0.25
"""A larger force means that an atom may gain more than 10 meV by relaxing."""

LARGEST_TRACTION_GPA = 0.2
"""A larger mean force per area between film and dot means that their distance is not relaxed: with a stiffness of the
gap of about 3 GPa/Å, 0.2 GPa leave some 0.07 Å and 0.04 meV/Å²."""

RELAXED_LATTICE_ALLOWANCE = 0.015
"""Strain by which relaxed lattices may exceed the study's limit, which was applied to the catalogue's (fraction):
functionals and potentials miss lattice constants by about one per cent."""


def check_phase(
    structure: StructureRecord, *, expected: Connectivity, sites: frozenset[int] | None, part: str
) -> Check:
    """Return whether the octahedra of a relaxed part are still linked as in the phase.

    Parameters
    ----------
    structure
        The relaxed part.
    expected
        Linkage of the phase's bulk as filed.
    sites
        Sites of the film; None: all.
    part
        Name of the part, for the finding.
    """
    found = measure_connectivity(structure, sites=sites)
    return Check(
        name="phase identity",
        is_passed=is_same_phase(found, expected),
        is_decisive=True,
        finding=f"{part}: {found.describe()}; the phase as filed: {expected.describe()}",
    )


def check_cations(before: StructureRecord, after: StructureRecord, *, part: str) -> Check:
    """Return whether every covalent bond between organic atoms survived and no new one formed."""
    bonds_before, bonds_after = _organic_bonds(before), _organic_bonds(after)
    changed = len(bonds_before ^ bonds_after)
    return Check(
        name="whole cations",
        is_passed=changed == 0,
        is_decisive=True,
        finding=f"{part}: {len(bonds_after)} covalent bonds, {changed} broken or formed",
    )


def _organic_bonds(structure: StructureRecord) -> frozenset[tuple[int, int]]:
    bonds = find_bonds(structure.arrangement)
    return frozenset(zip(bonds.first.tolist(), bonds.second.tolist(), strict=True))


def check_distances(structure: StructureRecord, *, part: str) -> Check:
    """Return whether no two atoms overlap; covalent bonds are longer than the limit as well."""
    atoms = structure.arrangement
    pairs = find_close_pairs(atoms.species, atoms.positions_ang, atoms.lattice_ang, ratio=CLOSEST_COVALENT_RATIO)
    shares = pairs.distances_ang / pairs.covalent_sums_ang(structure.species)
    closest = float(shares.min(initial=np.inf))
    return Check(
        name="distances",
        is_passed=closest >= CLOSEST_COVALENT_RATIO,
        is_decisive=True,
        finding=f"{part}: no two atoms within {CLOSEST_COVALENT_RATIO} of the sum of their covalent radii"
        if closest >= CLOSEST_COVALENT_RATIO
        else f"{part}: two atoms at {closest:.2f} of the sum of their covalent radii",
    )


def check_residual_pressure(
    stress_ev_per_ang3: tuple[Vector, Vector, Vector],
    *,
    volume_ang3_per_fu: float,
    bulk_modulus_gpa: float | None,
    part: str,
) -> Check:
    r"""Return what the lattice of another level costs: the pressure left, and the energy that relaxing it would gain.

    Energies at the geometry of a potential lie above the minimum of their own level.  To second order in the pressure
    :math:`p = -\tfrac13 \operatorname{tr} \sigma` a relaxation of the volume gains :math:`p^2 V / 2B`.

    Parameters
    ----------
    stress_ev_per_ang3
        Stress of a bulk that relaxed with another engine, in eV/Å³, positive in tension.
    volume_ang3_per_fu
        Volume V per formula unit.
    bulk_modulus_gpa
        Bulk modulus B; None: that of a soft perovskite.
    part
        The bulk.
    """
    modulus_gpa = SOFT_BULK_MODULUS_GPA if bulk_modulus_gpa is None else bulk_modulus_gpa
    pressure_gpa = -float(np.trace(stress_ev_per_ang3)) / 3.0 * EV_PER_ANG3_IN_GPA
    gain_ev = pressure_gpa**2 * volume_ang3_per_fu / (2.0 * modulus_gpa) / EV_PER_ANG3_IN_GPA
    finding = (
        f"{part}: {pressure_gpa:+.2f} GPa at the geometry of the other level, about {MEV_PER_EV * gain_ev:.0f} meV per "
        f"formula unit with a bulk modulus of {modulus_gpa:.0f} GPa"
    )
    is_small = gain_ev <= LARGEST_RELAXATION_GAIN_EV_PER_FU
    advice = "relax the lattices with the engine of the energies"
    return advise("residual pressure", finding, is_passed=is_small, advice=advice)


def check_residual_forces(forces_ev_per_ang: Mapping[str, float]) -> Check:
    """Return how far slabs that relaxed at another level of theory are from the minimum of their energies.

    An atom that feels the force F in a well of stiffness k lies F²/2k too high: with k of about 3 eV/Å², 0.25 eV/Å are
    10 meV.

    Parameters
    ----------
    forces_ev_per_ang
        Largest force on a free atom by part, in eV/Å.
    """
    part = max(forces_ev_per_ang, key=lambda name: forces_ev_per_ang[name])
    is_small = forces_ev_per_ang[part] <= LARGEST_RESIDUAL_FORCE_EV_PER_ANG
    finding = f"{part}: {forces_ev_per_ang[part]:.2f} eV/Å at the geometry of the other level"
    advice = "relax with the engine of the energies, from `prerelaxation`"
    return advise("residual forces", finding, is_passed=is_small, advice=advice)


def check_prerelaxation(objections: Mapping[str, str]) -> Check:
    """Return whether every relaxation of a candidate could start from a pre-relaxed structure.

    Parameters
    ----------
    objections
        By part, why its pre-relaxed structure was not taken.
    """
    refused = "; ".join(
        f"{part} started from the structure as built, because {why}" for part, why in objections.items()
    )
    return Check(
        name="pre-relaxation",
        is_passed=not objections,
        is_decisive=False,
        finding=refused or "every relaxation started from the pre-relaxed structure",
    )


def check_registry(*, displacement_area_ang2: float, n_shifts: int, scanned: RegistryFinding | None = None) -> Check:
    """Return whether enough lateral positions of the film were tried, and what a scan found.

    A scan in which registries failed decides: one of those may be the best, and the number another.

    The lattice generated by both strained 1 × 1 lattices has the cell area m·A_dot·A_film/A_cell, with m coincidence
    cells in the interface cell; displacements by it change nothing, so a small area needs one position only.

    Parameters
    ----------
    displacement_area_ang2
        This area in Å².
    n_shifts
        Positions that the study gives.
    scanned
        What a scan found; None: there was none.
    """
    if scanned is not None:
        return Check(
            name="registry",
            is_passed=scanned.rank is not None and not scanned.n_failed,
            is_decisive=bool(scanned.n_failed),
            finding=describe_place(scanned),
        )
    is_enough = displacement_area_ang2 <= ONE_REGISTRY_IS_ENOUGH_ANG2 or n_shifts > 1
    finding = f"{n_shifts} lateral position(s) for {displacement_area_ang2:.1f} Å² of distinct displacements"
    advice = "the binding may be better elsewhere: leave out film.registries"
    return advise("registry", finding, is_passed=is_enough, advice=advice)


def describe_place(found: RegistryFinding) -> str:
    """Return in words how many registries were compared, how much they differ and which one was taken."""
    compared = f"{found.n_positions} positions on {found.displacement_area_ang2:.1f} Å² compared"
    if found.rank is None:
        return f"{compared} without an energy ({found.failure}); nothing is built on it"
    spread = f"spread {found.range_mev_per_ang2:.1f} meV/Å² ({found.range_ev_per_fu:.3f} eV/f.u.)"
    above = f"{found.above_best_mev_per_ang2:.1f} meV/Å² above the best, " if found.rank > 1 else ""
    failed = f", {found.n_failed} of them failed and may be better" if found.n_failed else ""
    failed += f", {found.n_impossible} impossible" if found.n_impossible else ""
    lower = (
        f"{compared}{failed}, {spread}; registry {found.rank}: {above}{found.turn}, unrelaxed gap {found.gap_ang:.2f} Å"
    )
    return lower if found.upper is None else f"{lower}; {_describe_upper(found.upper)}"


def _describe_upper(upper: UpperFinding) -> str:
    return (
        f"upper face: {upper.n_positions} positions, spread {upper.range_mev_per_ang2:.1f} meV/Å², "
        f"unrelaxed gap {upper.gap_ang:.2f} Å"
    )


def check_strain(strains: tuple[float, float], *, limit: float, part: str) -> tuple[Check, Check]:
    """Return whether the strains with the relaxed lattices keep the study's limit, and whether they are realistic.

    The common cell was searched on the catalogue's lattices; an engine whose lattices differ much from them would
    build a film that nobody asked for.

    Parameters
    ----------
    strains
        Principal strains with the relaxed lattices (fraction).
    limit
        Largest strain that the study allows (fraction).
    part
        ``film`` or ``dot``.
    """
    largest = max(strains, key=abs)
    is_kept, is_realistic = abs(largest) <= limit + RELAXED_LATTICE_ALLOWANCE, abs(largest) <= LARGE_STRAIN
    finding = f"largest principal strain {largest:+.2%}"
    unlikely = f"above {LARGE_STRAIN:.0%} a coherent film is unlikely"
    misfit = f"the study allows {limit:.0%}, the engine's lattices do not fit"
    return (
        advise(f"{part} strain limit", finding, is_passed=is_kept, advice=misfit, is_decisive=True),
        advise(f"{part} strain", finding, is_passed=is_realistic, advice=unlikely),
    )


def check_gap(*, traction_ev_per_ang3: float) -> Check:
    """Return whether film and dot have found their distance.

    A relaxation ends when no atom feels much, but a whole film may still be pulled: the sum of the forces on its atoms
    along the normal, divided by the area, is the traction across the interface and must be as small as the stress of a
    relaxed bulk.

    Parameters
    ----------
    traction_ev_per_ang3
        Mean force per area on the film along the normal in eV/Å³; positive: pushed away from the dot.
    """
    traction_gpa = traction_ev_per_ang3 * EV_PER_ANG3_IN_GPA
    is_small = abs(traction_gpa) <= LARGEST_TRACTION_GPA
    finding = f"traction across the interface {traction_gpa:+.2f} GPa"
    advice = "the distance of film and dot is not relaxed, use a finer preset"
    return advise("gap", finding, is_passed=is_small, advice=advice)


def check_strain_term(strain_ev_per_fu: float) -> Check:
    """Return whether straining the phase costs energy, as it must for a phase that is a minimum in every cell.

    The strained bulk has a larger cell than the bulk: octahedra may tilt and cations may turn in ways that the bulk
    cell forbids.  What the phase gains so is part of its strain term and belongs to every film of it.
    """
    is_cost = strain_ev_per_fu >= -STRAIN_RESOLUTION_EV_PER_FU
    finding = f"{MEV_PER_EV * strain_ev_per_fu:+.0f} meV per formula unit"
    advice = "in the larger cell tilting or turning gains more than the strain costs"
    return advise("strain term", finding, is_passed=is_cost, advice=advice)


def advise(name: str, finding: str, *, is_passed: bool, advice: str, is_decisive: bool = False) -> Check:
    """Return a check with what was found and, where it is not passed, what that means or what to do."""
    words = finding if is_passed else f"{finding}; {advice}"
    return Check(name=name, is_passed=is_passed, is_decisive=is_decisive, finding=words)
