"""Checks of the geometries that a study's energies were taken at: where they came from, and what they leave behind."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from qdip_dft.analysis.checks import check_prerelaxation, check_residual_forces, check_residual_pressure
from qdip_dft.analysis.minima import check_minimum, skip_minimum_check
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import Part, Stage, StudySteps
from qdip_dft.model.interface import Candidate
from qdip_dft.model.stabilization import Check


def check_starts(steps: StudySteps, resolution: Resolution, candidate: Candidate) -> tuple[Check, ...]:
    """Return whether every part of a candidate started from its pre-relaxed structure; nothing without any."""
    if steps.first_stage is Stage.RELAXATION:
        return ()
    owners = candidate.dot, candidate.phase, candidate.id
    found = {
        step.part.value: resolution.objections[step.id]
        for step in steps.steps
        if step.id.owner in owners and step.id in resolution.objections
    }
    return (check_prerelaxation(found),)


def check_slabs(steps: StudySteps, resolution: Resolution, candidate: Candidate) -> tuple[Check, ...]:
    """Return how far the slabs of a candidate that were relaxed at another level are from their minimum."""
    forces = {}
    for part in (Part.DOT_SLAB, Part.FILM_SLAB, Part.INTERFACE):
        relaxed = resolution.usable(steps.id_of(part, candidate.id))
        static = resolution.usable(steps.static_of(part, candidate.id))
        if relaxed is not None and static is not None and static.result is not None and relaxed.theory != static.theory:
            forces[part.value] = static.result.max_force_ev_per_ang
    return (check_residual_forces(forces),) if forces else ()


def check_lattices(steps: StudySteps, resolution: Resolution, crystals: Iterable[str]) -> tuple[Check, ...]:
    """Return what the lattices of bulks cost that were relaxed at another level of theory than their energies."""
    found = (_check_lattice(steps, resolution, crystal) for crystal in crystals)
    return tuple(check for check in found if check is not None)


def _check_lattice(steps: StudySteps, resolution: Resolution, crystal: str) -> Check | None:
    part = Part.DOT_BULK if crystal == steps.study.dot.material else Part.BULK
    relaxed = resolution.usable(steps.id_of(part, crystal))
    static = resolution.usable(steps.static_of(part, crystal))
    if relaxed is None or static is None or static.result is None or relaxed.theory == static.theory:
        return None
    if static.result.stress_ev_per_ang3 is None:
        return None
    record = steps.crystals[crystal]
    return check_residual_pressure(
        static.result.stress_ev_per_ang3,
        volume_ang3_per_fu=abs(float(np.linalg.det(static.result.structure.lattice_ang))) / record.formula_units,
        bulk_modulus_gpa=record.bulk_modulus_gpa,
        part=f"{part} {record.id}",
    )


def check_minima(steps: StudySteps, resolution: Resolution, crystals: Iterable[str]) -> tuple[Check, ...]:
    """Whether bulks are minima: what each gains where its octahedra may tilt."""
    if steps.study.check_minima and not steps.can_check_minima and not steps.tag:
        return (skip_minimum_check("the engine relaxes by density-functional theory, for which it is too costly"),)
    found = (_check_minimum(steps, resolution, crystal) for crystal in crystals)
    return tuple(check for check in found if check is not None)


def _check_minimum(steps: StudySteps, resolution: Resolution, crystal: str) -> Check | None:
    part = steps.checked_bulks.get(crystal)
    if part is None:
        return None
    bulk, tilting = (resolution.usable(steps.id_of(each, crystal)) for each in (part, Part.TILTING_BULK))
    name = steps.crystals[crystal].id
    if bulk is None or bulk.result is None or tilting is None or tilting.result is None:
        return skip_minimum_check(f"{name} has no relaxed tilting cell")
    n_cells = tilting.result.structure.n_atoms // bulk.result.structure.n_atoms
    gain_ev = bulk.result.energy_ev - tilting.result.energy_ev / n_cells
    return check_minimum(gain_ev / steps.crystals[crystal].formula_units, crystal=name)
