"""From a step of a study to the structure that it calculates, given the relaxed structures of its parents."""

from __future__ import annotations

from types import MappingProxyType

from qdip_dft.flows.registry_scans import make_task
from qdip_dft.flows.steps import Part, RegistryScanId, Step, StepId, Structures, StudySteps
from qdip_dft.model.registry import RegistryScan, RegistryScanTask
from qdip_dft.model.structure import StructureRecord


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
    if step.stage is not steps.first_stage:
        return structures[step.parents[0]]
    match step.part:
        case Part.DOT_BULK | Part.BULK:
            return steps.crystals[step.id.owner].structure
        case Part.INTERFACE:
            return _build_interface(steps, step, structures, scan)
    geometry = steps.geometry_of(steps.find_candidate(step.id.owner))
    parents = [structures[parent] for parent in step.parents]
    match step.part:
        case Part.STRAINED_BULK:
            return geometry.strained_bulk(*parents)
        case Part.DOT_SLAB:
            return geometry.dot_slab(*parents)
        case Part.FILM_SLAB:
            return geometry.film_slab(*parents)


def _build_interface(
    steps: StudySteps, step: Step, structures: Structures, scan: RegistryScan | None
) -> StructureRecord:
    candidate = steps.find_candidate(step.id.owner)
    geometry = steps.geometry_of(candidate)
    slabs = [structures[slab] for slab in (steps.id_of(part, candidate.id) for part in (Part.DOT_SLAB, Part.FILM_SLAB))]
    if steps.thin is None:
        return geometry.at_place(scan).interface(*slabs)
    thin = [structures[part] for part in steps.list_thin()]
    return geometry.continued_interface(*slabs, thin=steps.geometry_of(steps.thin), of_thin=thin)


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
