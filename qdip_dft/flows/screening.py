"""The registry registry_scans of a study: which slabs are compared, and what is found about each candidate.

Screened are *unrelaxed* slabs, cut from the relaxed bulks on the interface's own mesh: they keep the symmetry of their
crystals, so that few positions are distinct, and the displacement cell is that of the ideal surfaces.  The film is that
of the study.  Of the dot only `SCREENED_DOT_ANG` are taken: the part of the energy that depends on the displacement
decays into a slab as exp(−2πz/d), with d of a few Å the period of the displacement cell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qdip_dft.builders.candidates import orient_face
from qdip_dft.builders.ions import Array, view_ions
from qdip_dft.builders.orientation import plane_spacing_ang
from qdip_dft.builders.placement import find_point, list_places
from qdip_dft.builders.variants import HALF_TURN, list_half_turns
from qdip_dft.flows.steps import CandidateGeometry, Part, Step, Structures, StudySteps
from qdip_dft.model.interface import Candidate
from qdip_dft.model.orientation import AS_CUT, FilmTurn
from qdip_dft.model.registry import RegistryFinding, RegistryScan, RegistryScanTask
from qdip_dft.model.snapping import ceil_whole
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.study import StudySpec, TurnChoice
from qdip_dft.tasks.screening import name_registry_scan
from qdip_dft.units import MEV_PER_EV

if TYPE_CHECKING:
    from qdip_dft.flows.resolution import Resolution

SCREENED_DOT_ANG = 6.0
"""Least distance of the outermost planes of a dot's slab in a screening.  PbSe(100) under CsPbBr3(100), SevenNet-0:
with 6 Å positions differ by 4 % more than with 12 Å, with 3 Å by 20 % less than with 9 Å."""


@dataclass(frozen=True, slots=True)
class RegistryScanStep:
    """One registry screening of a study.

    Parameters
    ----------
    subject
        The interface, such as ``PbS(111)//FAPbI3-delta(001)``.
    parents
        Names of the steps whose relaxed structures are needed: both bulks.
    build
        From these structures to the screening's task.
    """

    subject: str
    parents: tuple[str, ...]
    build: Callable[[Structures], RegistryScanTask]

    @property
    def name(self) -> str:
        """Return a name that is unique within the study."""
        return name_registry_scan(self.subject)


def registry_scan_of(steps: StudySteps, step: Step) -> RegistryScanStep | None:
    """Return the screening that says where the film of an interface lies; None for other steps and given places."""
    if step.part is not Part.INTERFACE or step.stage is not steps.first_stage or steps.tag:
        return None
    candidate = next(candidate for candidate in steps.candidates if candidate.label == step.subject)
    return None if candidate.screening is None else _describe_step(steps, candidate, candidate.screening)


def _describe_step(steps: StudySteps, candidate: Candidate, subject: str) -> RegistryScanStep:
    bulks = f"{Part.DOT_BULK} {candidate.dot}", f"{Part.BULK} {candidate.phase}"
    return RegistryScanStep(
        subject=subject,
        parents=bulks,
        build=lambda structures: make_task(steps, candidate, dot=structures[bulks[0]], film=structures[bulks[1]]),
    )


def make_task(
    steps: StudySteps, candidate: Candidate, *, dot: StructureRecord, film: StructureRecord
) -> RegistryScanTask:
    """Return the screening of a candidate's interface.

    Parameters
    ----------
    steps
        The study.
    candidate
        The candidate; its place is what is looked for.
    dot, film
        The relaxed bulks.
    """
    study = steps.study
    flat = study.model_copy(
        update={
            "symmetry_breaking_ang": 0.0,
            "film": study.film.model_copy(update={"reference_periods": 1}),
        }
    )
    crystals = steps.crystals[candidate.dot], steps.crystals[candidate.phase]
    n_planes = _count_dot_planes(steps, candidate)
    dot_cut = candidate.dot_cut.model_copy(update={"n_planes": n_planes})
    geometry = CandidateGeometry(flat, candidate.model_copy(update={"dot_cut": dot_cut}), *crystals)
    n_omitted = candidate.dot_cut.n_planes - n_planes
    dot_slab = _move_in_plane(geometry.dot_slab(dot, film), n_omitted * geometry.dot_stacking_ang(dot, film))
    return RegistryScanTask(
        label=str(candidate.screening),
        dot=dot_slab,
        film=geometry.film_slab(geometry.strained_bulk(dot, film)),
        formal_charges=geometry.formal_charges,
        turns=_choose_turns(study, candidate, dot_slab),
        grid_spacing_ang=study.film.registry.grid_spacing_ang,
        vacuum_ang=study.vacuum_ang,
        n_kept=study.film.registry.n_kept,
    )


def _count_dot_planes(steps: StudySteps, candidate: Candidate) -> int:
    """Return the lattice planes of the dot in a screening, never more than in the study."""
    face = orient_face(steps.crystals[candidate.dot], candidate.dot_plane)
    return min(candidate.dot_cut.n_planes, int(ceil_whole(SCREENED_DOT_ANG / plane_spacing_ang(face.oriented))) + 1)


def _move_in_plane(slab: StructureRecord, displacement_ang: Array) -> StructureRecord:
    """Return a slab displaced so that its top lies over the plane where that of the study's thicker slab does."""
    fractions = np.append(displacement_ang, 0.0) @ np.linalg.inv(slab.lattice_ang)
    moved = np.array(slab.frac_coords) + fractions
    return slab.model_copy(update={"frac_coords": tuple(map(tuple, moved.tolist()))})


def _choose_turns(study: StudySpec, candidate: Candidate, dot_slab: StructureRecord) -> tuple[FilmTurn, ...]:
    """Return the orientations to try; upside down only where that keeps the termination that the study names."""
    if study.film.registry.turns is TurnChoice.NONE:
        return (AS_CUT,)
    (phase,) = (phase for phase in study.phases if phase.phase == candidate.phase)
    bottom, _, top = candidate.termination.partition("|")
    if phase.termination is not None and bottom != top:
        return AS_CUT, HALF_TURN
    return list_half_turns(np.array(dot_slab.lattice_ang)[:2, :2])


def count_positions(task: RegistryScanTask) -> int:
    """Return how many distinct positions a screening compares, all orientations together."""
    dot, film = (view_ions(slab, task.formal_charges) for slab in (task.dot, task.film))
    return len(list_places(dot, film, task.turns, spacing_ang=task.grid_spacing_ang))


def find_registry_scan(resolution: Resolution, candidate: Candidate) -> RegistryScan | None:
    """Return the screening of a candidate's place, if it has one and it is made."""
    return (
        None if candidate.screening is None else resolution.registry_scans.get(name_registry_scan(candidate.screening))
    )


def describe_registry(resolution: Resolution, candidate: Candidate) -> RegistryFinding | None:
    """Return what the screening of a candidate found, or None where nothing was screened.

    Parameters
    ----------
    resolution
        What was calculated.
    candidate
        The candidate.
    """
    screening = find_registry_scan(resolution, candidate)
    if screening is None:
        return None
    point = find_point(candidate, screening)
    return RegistryFinding(
        key=screening.key,
        theory=screening.theory,
        n_positions=len(screening.points) + len(screening.failures),
        n_failed=len(screening.failures),
        displacement_area_ang2=screening.displacement_area_ang2,
        rank=None if point is None else candidate.place,
        turn=(AS_CUT if point is None else point.turn).name,
        gap_offset_ang=0.0 if point is None else point.gap_offset_ang,
        gap_ang=None if point is None else point.gap_ang,
        above_best_mev_per_ang2=None
        if point is None
        else MEV_PER_EV * (point.energy_ev - screening.best[0].energy_ev) / screening.area_ang2,
        failure=None if screening.is_usable else screening.failures[0],
        **_spread(screening, candidate.n_formula_units),
    )


def _spread(screening: RegistryScan, n_formula_units: int) -> dict[str, float | None]:
    """Return range and deviation of the energies per area and per formula unit of the study's film."""
    spread: dict[str, float | None] = {}
    for name, value_ev in (("range", screening.range_ev), ("deviation", screening.deviation_ev)):
        per_area = None if value_ev is None else MEV_PER_EV * value_ev / screening.area_ang2
        spread[f"{name}_mev_per_ang2"] = per_area
        spread[f"{name}_ev_per_fu"] = None if value_ev is None else value_ev / n_formula_units
    return spread
