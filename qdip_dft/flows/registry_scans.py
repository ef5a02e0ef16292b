"""The registry scans of a study: which slabs are compared.

These are *unrelaxed* slabs, cut from the relaxed bulks on the interface cell itself: they keep the symmetry of their
crystals, so that few positions are distinct, and the displacement cell is that of the ideal surfaces.  The film is that
of the study.  Of the dot only `SCANNED_DOT_ANG` are taken: the part of the energy that depends on the displacement
decays into a slab as exp(−2πz/d), with d of a few Å the period of the displacement cell.

A film between two dots is laid on the lower one, then the upper one on the film as turned there: the lower face of the
dot's slab lies where that of the study's thicker slab does, its upper one where that one's does under the film.
"""

from __future__ import annotations

import numpy as np

from qdip_dft.builders.candidate_registries import list_film_registries
from qdip_dft.builders.faces import orient_face
from qdip_dft.builders.ions import Array, view_ions
from qdip_dft.builders.orientation import plane_spacing_ang
from qdip_dft.builders.variants import HALF_TURN, list_half_turns
from qdip_dft.flows.steps import CandidateGeometry, StudySteps
from qdip_dft.model.interface import Candidate
from qdip_dft.model.orientation import AS_CUT, FilmTurn
from qdip_dft.model.registry import RegistryScanTask
from qdip_dft.model.snapping import ceil_whole
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.study import Environment, StudySpec, TurnChoice

SCANNED_DOT_ANG = 6.0
"""Least distance of the outermost planes of a dot's slab in a scan.  PbSe(100) under CsPbBr3(100), SevenNet-0:
with 6 Å positions differ by 4 % more than with 12 Å, with 3 Å by 20 % less than with 9 Å."""


def make_task(
    steps: StudySteps, candidate: Candidate, *, dot: StructureRecord, film: StructureRecord
) -> RegistryScanTask:
    """The registry scan of a candidate's interface.

    Parameters
    ----------
    steps
        The study.
    candidate
        The candidate; its registry is what is looked for.
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
    as_built = geometry.dot_slab(dot, film)
    dot_slab = _move_in_plane(as_built, n_omitted * geometry.dot_stacking_ang(dot, film))
    return RegistryScanTask(
        label=str(candidate.title.interface),
        dot=dot_slab,
        film=geometry.film_slab(geometry.strained_bulk(dot, film)),
        formal_charges=geometry.formal_charges,
        turns=_choose_turns(study, candidate, dot_slab),
        grid_spacing_ang=study.film.registry_scan.grid_spacing_ang,
        vacuum_ang=study.vacuum_ang,
        n_kept=study.film.registry_scan.n_kept,
        outer_dot=as_built if candidate.environment is Environment.EMBEDDED else None,
    )


def _count_dot_planes(steps: StudySteps, candidate: Candidate) -> int:
    """Return the lattice planes of the dot in a scan, never more than in the study."""
    face = orient_face(steps.crystals[candidate.dot], candidate.dot_plane)
    return min(candidate.dot_cut.n_planes, int(ceil_whole(SCANNED_DOT_ANG / plane_spacing_ang(face.oriented))) + 1)


def _move_in_plane(slab: StructureRecord, displacement_ang: Array) -> StructureRecord:
    """Return a slab displaced so that its top lies over the plane where that of the study's thicker slab does."""
    fractions = np.append(displacement_ang, 0.0) @ np.linalg.inv(slab.lattice_ang)
    moved = np.array(slab.frac_coords) + fractions
    return slab.model_copy(update={"frac_coords": tuple(map(tuple, moved.tolist()))})


def _choose_turns(study: StudySpec, candidate: Candidate, dot_slab: StructureRecord) -> tuple[FilmTurn, ...]:
    """Return the orientations to try; upside down only where that keeps the termination that the study names."""
    if study.film.registry_scan.turns is TurnChoice.NONE:
        return (AS_CUT,)
    (phase,) = (phase for phase in study.films if phase.phase == candidate.phase)
    bottom, _, top = candidate.termination.partition("|")
    if phase.termination is not None and bottom != top:
        return AS_CUT, HALF_TURN
    return list_half_turns(np.array(dot_slab.lattice_ang)[:2, :2])


def count_positions(task: RegistryScanTask) -> int:
    """Return how many distinct positions a scan compares, all orientations together."""
    dot, film = (view_ions(slab, task.formal_charges) for slab in (task.dot, task.film))
    return len(list_film_registries(dot, film, task.turns, spacing_ang=task.grid_spacing_ang))
