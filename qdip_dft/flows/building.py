"""From a step of a study to the structure that it calculates, given the relaxed structures of its parents."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from qdip_dft.builders.ions import view_ions
from qdip_dft.builders.minima import build_tilting_cell
from qdip_dft.flows.registry_scans import make_task
from qdip_dft.flows.steps import (
    BULKS,
    FRAGMENTS,
    CandidateGeometry,
    InterfaceParts,
    Part,
    RegistryScanId,
    Step,
    StepId,
    Structures,
    StudySteps,
)
from qdip_dft.model.interface import Candidate
from qdip_dft.model.registry import RegistryScan, RegistryScanTask
from qdip_dft.model.structure import Presence, StructureRecord
from qdip_dft.model.study import Environment


def build_structure(
    steps: StudySteps, step: Step, structures: Structures, *, scan: RegistryScan | None = None
) -> StructureRecord:
    """The structure that a step calculates.

    Parameters
    ----------
    steps
        The steps that it belongs to.
    step
        The step.
    structures
        Relaxed structures of its parents.
    scan
        The registry scan that says where the film lies; None: as given.
    """
    if step.part is Part.TILTING_BULK:
        return _build_tilting_bulk(steps, step, structures)
    if step.part in FRAGMENTS:
        interface, dot_slab = (structures[parent] for parent in step.parents)
        return _take_part(interface, step.part, n_dot_atoms=dot_slab.n_atoms)
    if step.stage is not steps.first_stage:
        return structures[step.parents[0]]
    if step.part in BULKS:
        return steps.crystals[step.id.owner].structure
    if step.part is Part.INTERFACE:
        return _build_interface(steps, step, structures, scan)
    geometry = steps.geometry_of(steps.find_candidate(step.id.owner))
    return _build_part(geometry, step.part, [structures[parent] for parent in step.parents])


def _build_part(geometry: CandidateGeometry, part: Part, parents: list[StructureRecord]) -> StructureRecord:
    if part is Part.STRAINED_BULK:
        return geometry.strained_bulk(*parents)
    if part is Part.DOT_SLAB:
        return geometry.dot_slab(*parents)
    if part is Part.UNSTRAINED_DOT_SLAB:
        return geometry.unstrained_dot_slab(*parents)
    return geometry.film_slab(*parents)


def _take_part(interface: StructureRecord, part: Part, *, n_dot_atoms: int) -> StructureRecord:
    """One part of an interface, whose dot comes first, as it lies there; the sites of the other lose their atoms."""
    other = Presence.GHOST if part in (Part.DOT_WITH_GHOSTS, Part.FILM_WITH_GHOSTS) else Presence.ABSENT
    dot, film = (Presence.ATOM, other) if part in (Part.DOT_ALONE, Part.DOT_WITH_GHOSTS) else (other, Presence.ATOM)
    presence = (dot,) * n_dot_atoms + (film,) * (interface.n_atoms - n_dot_atoms)
    return interface.model_copy(update={"presence": presence})


def _build_tilting_bulk(steps: StudySteps, step: Step, structures: Structures) -> StructureRecord:
    bulk = view_ions(structures[step.parents[0]], steps.crystals[step.id.owner].formal_charges)
    return build_tilting_cell(bulk, seed=steps.study.seed).to_record()


def _build_interface(
    steps: StudySteps, step: Step, structures: Structures, scan: RegistryScan | None
) -> StructureRecord:
    candidate = steps.find_candidate(step.id.owner)
    geometry = steps.geometry_of(candidate)
    parts = _list_interface_parts(steps, candidate, structures)
    if steps.thin is None:
        return geometry.at_registry(scan).interface(parts)
    thin_dot, thin_film, relaxed = (structures[part] for part in steps.list_thin())
    return geometry.continued_interface(
        parts,
        thin=steps.geometry_of(steps.thin),
        of_thin=replace(parts, dot_slab=thin_dot, film_slab=thin_film),
        relaxed=relaxed,
    )


def _list_interface_parts(steps: StudySteps, candidate: Candidate, structures: Structures) -> InterfaceParts:
    ids = steps.relaxations_of(candidate)
    dot_slab, film_slab = (structures[ids[part]] for part in (Part.DOT_SLAB, Part.FILM_SLAB))
    if candidate.environment is Environment.CAPPED:
        return InterfaceParts(dot_slab, film_slab)
    bulks = structures[steps.id_of(Part.DOT_BULK, candidate.dot)], structures[ids[Part.BULK]]
    return InterfaceParts(dot_slab, film_slab, structures[ids[Part.STRAINED_BULK]], bulks)


def build_scan_task(steps: StudySteps, scan: RegistryScanId, structures: Structures) -> RegistryScanTask:
    """What a registry scan compares, given the relaxed bulks."""
    asked = steps.scans[scan]
    dot, film = (structures[parent] for parent in asked.parents)
    return make_task(steps, steps.find_candidate(asked.candidate), dot=dot, film=film)


def preview_scans(steps: StudySteps, structures: Structures) -> dict[RegistryScanId, RegistryScanTask]:
    """The registry scans of a study from unrelaxed bulks: for counting registries and atoms.

    Parameters
    ----------
    steps
        The study.
    structures
        The structures of `preview_structures`.
    """
    return {scan: build_scan_task(steps, scan, structures) for scan in steps.scans}


def preview_structures(
    steps: StudySteps, *, earlier: Structures = MappingProxyType({})
) -> dict[StepId, StructureRecord]:
    """The structure of every step built from unrelaxed parents: for counting atoms and for early refusals.

    Parameters
    ----------
    steps
        The steps.
    earlier
        Structures of the steps that these build on.
    """
    structures = dict(earlier)
    for step in steps.steps:
        structures[step.id] = build_structure(steps, step, structures)
    return structures
