"""The steps of a study and the structures that they build."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from qdip_dft.builders.interfaces import check_built
from qdip_dft.builders.ions import find_ions
from qdip_dft.errors import InterfaceError
from qdip_dft.flows.building import preview_structures
from qdip_dft.flows.steps import WHOLE_PARTS, CandidateGeometry, InterfaceParts, Part, Stage, StepId, StudySteps
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.interface import Candidate
from qdip_dft.model.structure import StructureRecord
from tests.unit.crystals import positions_ang
from tests.unit.studies import make_steps

FREEDOMS = {
    Part.DOT_BULK: Freedom.CELL,
    Part.BULK: Freedom.CELL,
    Part.STRAINED_BULK: Freedom.OUT_OF_PLANE,
    Part.DOT_SLAB: Freedom.POSITIONS,
    Part.FILM_SLAB: Freedom.POSITIONS,
    Part.INTERFACE: Freedom.POSITIONS,
}
CHARGES = {"Cs": 1, "Pb": 2, "I": -1, "Te": -2, "S": -2}


@cache
def tiny() -> StudySteps:
    return make_steps()


@cache
def previews() -> dict[StepId, StructureRecord]:
    return preview_structures(tiny())


def geometry_of(steps: StudySteps, candidate: Candidate) -> CandidateGeometry:
    return CandidateGeometry(steps.study, candidate, steps.crystals[candidate.dot], steps.crystals[candidate.phase])


def part_of(candidate: Candidate, part: Part) -> StructureRecord:
    return previews()[tiny().relaxations_of(candidate)[part]]


def each_candidate(test):
    return pytest.mark.parametrize("candidate", tiny().candidates, ids=lambda candidate: candidate.label)(test)


def test_parents_come_before_their_children():
    known: set[StepId] = set()
    for step in tiny().steps:
        assert known.issuperset(step.parents), step.label
        known.add(step.id)


def test_every_step_has_a_name_of_its_own():
    names = [step.label for step in tiny().steps]
    assert (
        len(set(names)) == len({step.id for step in tiny().steps}) == len(names) == 2 * (3 + 4 * 2)
    )  # bulks and, per candidate, four relaxations; all twice


def test_every_relaxation_is_followed_by_a_static_calculation():
    steps = tiny().steps
    for relaxation, static in zip(steps[::2], steps[1::2], strict=True):
        assert relaxation.freedom is FREEDOMS[relaxation.part]
        assert static.freedom is Freedom.NONE
        assert static.id == relaxation.id.at(Stage.STATIC)
        assert static.label == f"{relaxation.label} (static)"
        assert static.parents == (relaxation.id,)
        assert previews()[static.id] == previews()[relaxation.id]


@each_candidate
def test_every_part_of_a_candidate_is_a_step(candidate):
    ids = {step.id for step in tiny().steps}
    assert ids.issuperset(tiny().parts_of(candidate).values())
    assert set(tiny().parts_of(candidate)) == WHOLE_PARTS - {Part.DOT_BULK, Part.TILTING_BULK, Part.UNSTRAINED_DOT_SLAB}


@each_candidate
def test_all_parts_share_one_in_plane_cell(candidate):
    mesh = geometry_of(tiny(), candidate).interface_cell(
        *(tiny().crystals[name].structure for name in (candidate.dot, candidate.phase))
    )
    for part in (Part.STRAINED_BULK, Part.DOT_SLAB, Part.FILM_SLAB, Part.INTERFACE):
        lattice = np.array(part_of(candidate, part).lattice_ang)
        assert lattice[:2, :2] == pytest.approx(mesh.vectors_2d, abs=1e-9), part
        assert lattice[:2, 2] == pytest.approx([0, 0], abs=1e-12)


@each_candidate
def test_the_formula_units_are_those_of_the_structures(candidate):
    geometry = geometry_of(tiny(), candidate)
    assert part_of(candidate, Part.STRAINED_BULK).species.count("Cs") == geometry.n_reference_formula_units
    assert part_of(candidate, Part.FILM_SLAB).species.count("Cs") == candidate.n_formula_units


@each_candidate
def test_the_interface_is_the_dot_followed_by_the_film(candidate):
    dot, film, interface = (part_of(candidate, part) for part in (Part.DOT_SLAB, Part.FILM_SLAB, Part.INTERFACE))
    assert interface.species == dot.species + film.species
    positions = positions_ang(interface)
    for slab, placed in ((dot, positions[: dot.n_atoms]), (film, positions[dot.n_atoms :])):
        before = positions_ang(slab)
        assert placed - placed[0] == pytest.approx(before - before[0], abs=1e-9)
    assert positions[dot.n_atoms :, 2].min() > positions[: dot.n_atoms, 2].max() - 1.0


@each_candidate
def test_every_slab_passes_the_gate_and_has_the_asked_vacuum(candidate):
    for part in (Part.DOT_SLAB, Part.FILM_SLAB, Part.INTERFACE):
        record = part_of(candidate, part)
        check_built(find_ions(record, CHARGES), name=part)
        assert record.lattice_ang[2][2] - np.ptp(positions_ang(record)[:, 2]) == pytest.approx(12.0, abs=1e-9)


@each_candidate
def test_the_film_is_the_strained_bulk_with_vacuum(candidate):
    reference, film = part_of(candidate, Part.STRAINED_BULK), part_of(candidate, Part.FILM_SLAB)
    n_repeats = film.n_atoms // reference.n_atoms
    assert n_repeats == candidate.n_film_planes
    heights = [np.sort(positions_ang(record)[:, 2]) for record in (reference, film)]
    period = reference.lattice_ang[2][2]
    stacked = np.sort(np.concatenate([heights[0] + n * period for n in range(n_repeats)]))
    assert heights[1] - heights[1][0] == pytest.approx(stacked - stacked[0], abs=1e-9)


def test_the_strained_bulk_starts_slightly_off_its_saddle_point():
    still, moved = (make_steps(symmetry_breaking_ang=size) for size in (0.0, 0.02))
    name = still.relaxations_of(still.candidates[0])[Part.STRAINED_BULK]
    before, after = (positions_ang(preview_structures(steps)[name]) for steps in (still, moved))
    assert (after - before).std() == pytest.approx(0.02, rel=0.4)


def test_a_registry_shift_moves_the_film_by_fractions_of_its_own_cell():
    steps = make_steps(film={"min_thickness_ang": 6, "registries": [[0, 0], [0.5, 0]]})
    structures = preview_structures(steps)
    for plain, shifted in zip(steps.candidates[::2], steps.candidates[1::2], strict=True):
        names = [steps.relaxations_of(candidate)[Part.INTERFACE] for candidate in (plain, shifted)]
        n_dot = structures[steps.relaxations_of(plain)[Part.DOT_SLAB]].n_atoms
        difference = positions_ang(structures[names[1]])[n_dot:] - positions_ang(structures[names[0]])[n_dot:]
        cell = np.linalg.inv(plain.film_matrix) @ np.array(structures[names[0]].lattice_ang)[:2, :2]
        assert difference[:, :2] == pytest.approx(np.tile(0.5 * cell[0], (len(difference), 1)), abs=1e-9)


def test_a_slab_that_became_unsound_cannot_carry_a_film():
    candidate = tiny().candidates[0]
    geometry = geometry_of(tiny(), candidate)
    dot, film = part_of(candidate, Part.DOT_SLAB), part_of(candidate, Part.FILM_SLAB)
    coords = np.array(film.frac_coords)
    coords[1] = coords[0] + 0.01
    collapsed = film.model_copy(update={"frac_coords": tuple(map(tuple, coords.tolist()))})
    with pytest.raises(InterfaceError, match="choose another termination"):
        geometry.interface(InterfaceParts(dot, collapsed))
