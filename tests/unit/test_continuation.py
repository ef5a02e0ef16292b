"""Thicker films and dots start from the relaxed interface of the study, atom by atom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from qdip_dft.builders.continuation import match_dot, match_film
from qdip_dft.builders.ions import Array, IonicCrystal, find_ions
from qdip_dft.errors import InterfaceError
from qdip_dft.flows.building import build_structure, preview_structures
from qdip_dft.flows.steps import InterfaceParts, Part, Step, StepId, Structures, StudySteps
from qdip_dft.flows.variations import Variation, list_variations
from qdip_dft.model.interface import Candidate
from qdip_dft.model.orientation import AS_CUT, FilmTurn
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.uncertainty import VariationKind
from tests.unit.studies import make_steps

THICK: dict[str, Any] = {"film": {"min_thickness_ang": 6, "thicknesses": 3, "registries": [[0, 0]]}}
NEUTRAL = {**THICK, "dot": {"material": "PbTe", "facets": ["100"], "min_thickness_ang": 6, "thicknesses": 2}}
MOLECULAR = {
    **NEUTRAL,
    "host": "FAPbI3",
    "dot": {**NEUTRAL["dot"], "material": "PbS"},
    "film": {**THICK["film"], "min_thickness_ang": 12},
    "phases": [{"phase": "FAPbI3-alpha", "role": "black", "planes": ["100"], "termination": "PbI2"}],
    "matching": {"max_area_ang2": 90, "max_strain": 0.1},
}
POLAR = {
    **THICK,
    "dot": {"material": "PbS", "facets": ["111"], "min_thickness_ang": 6, "passivation": "I", "thicknesses": 2},
    "phases": [{"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"], "termination": "PbI2"}],
    "matching": {"max_area_ang2": 240, "max_strain": 0.06},
}
CLOSED = {
    **NEUTRAL,
    "phases": [{"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"], "termination": "CsI|CsI"}],
    "film": {**THICK["film"], "reservoirs": {"ax": "CsI", "bx2": "PbI2"}},
}
STUDIES = {"neutral": NEUTRAL, "molecular": MOLECULAR, "polar": POLAR, "closed": CLOSED}
UPSIDE_DOWN = FilmTurn(matrix=((1, 0), (0, -1)))
SLIDE_ANG = np.array([0.4, -0.3, 0.1])
TURN = Rotation.from_rotvec([0.3, -0.5, 0.4]).as_matrix()


def study_of(changes: dict[str, Any], *, turn: FilmTurn = AS_CUT) -> tuple[StudySteps, Candidate]:
    """Return a study of its first film alone."""
    steps = make_steps(**changes)
    film = steps.candidates[0].model_copy(update={"turn": turn})
    return replace(steps, candidates=(film,)), film


def relax_by_hand(steps: StudySteps, film: Candidate) -> tuple[dict[StepId, StructureRecord], StructureRecord]:
    """Return unrelaxed structures, and an interface among them whose film slid while every ion moved and turned."""
    structures = preview_structures(steps)
    names, geometry = steps.relaxations_of(film), steps.geometry_of(film)
    joined = geometry.join(InterfaceParts(structures[names[Part.DOT_SLAB]], structures[names[Part.FILM_SLAB]]))
    n_dot_ions = len(find_ions(structures[names[Part.DOT_SLAB]], geometry.formal_charges).ions)
    moved_ang = np.random.default_rng(7).normal(0.0, 0.05, size=(len(joined.ions), 3))
    moved_ang[n_dot_ions:] += SLIDE_ANG
    centres = joined.frac_centres + moved_ang @ np.linalg.inv(joined.lattice_ang)
    ions = tuple(ion.rotated(TURN) if len(ion.species) > 1 else ion for ion in joined.ions)
    relaxed = IonicCrystal(joined.lattice_ang, ions, centres).to_record()
    return structures | {names[Part.INTERFACE]: relaxed}, relaxed


def variation_of(steps: StudySteps, film: Candidate, kind: VariationKind, index: int = 1) -> Variation:
    return next(s for s in list_variations(steps, [film]) if s.kind is kind and s.index == index)


def interface_step(variation: Variation) -> Step:
    return next(step for step in variation.steps.steps if step.part is Part.INTERFACE)


def start_of(variation: Variation, structures: Structures) -> StructureRecord:
    return build_structure(
        variation.steps, interface_step(variation), preview_structures(variation.steps, earlier=structures)
    )


def positions_ang(structure: StructureRecord) -> Array:
    return np.asarray(np.array(structure.frac_coords) @ np.array(structure.lattice_ang))


def find_images_ang(thin: StructureRecord, thick: StructureRecord, *, above_ang: float = -1.0) -> float:
    """Return how far an atom of the thin interface at most lies from the nearest of its kind in the thick one.

    The thick one may stand at any height.
    """
    lattice, wanted, found = np.array(thin.lattice_ang), positions_ang(thin), positions_ang(thick)
    kind = {s: np.array([other == s for other in thick.species]) for s in set(thin.species)}
    first = next(i for i in range(thin.n_atoms) if wanted[i, 2] > above_ang)

    def mismatch_ang(rise_ang: float) -> float:
        return max(
            _nearest_ang(position + np.array([0, 0, rise_ang]), found[kind[species]], lattice)
            for position, species in zip(wanted, thin.species, strict=True)
            if position[2] > above_ang
        )

    return min(mismatch_ang(z - wanted[first, 2]) for z in found[kind[thin.species[first]], 2])


def _nearest_ang(position: Array, others: Array, lattice: Array) -> float:
    difference = (others - position) @ np.linalg.inv(lattice)
    difference[:, :2] -= np.round(difference[:, :2])
    return float(np.linalg.norm(difference @ lattice, axis=1).min())


@pytest.mark.parametrize("turn", [AS_CUT, UPSIDE_DOWN], ids=["as cut", "upside down"])
@pytest.mark.parametrize("name", ["neutral", "closed"])
@pytest.mark.parametrize("index", [1, 2])
def test_a_thicker_film_holds_the_relaxed_interface_of_the_study(name: str, turn: FilmTurn, index: int) -> None:
    steps, film = study_of(STUDIES[name], turn=turn)
    structures, relaxed = relax_by_hand(steps, film)
    thick = start_of(variation_of(steps, film, VariationKind.FILM_THICKNESS, index), structures)
    assert thick.n_atoms > relaxed.n_atoms
    assert find_images_ang(relaxed, thick) < 1e-6


@pytest.mark.parametrize("way", [0.8, 1.0])
def test_a_film_whose_face_lies_where_the_next_layer_belongs_is_continued_by_less(way: float) -> None:
    """One ion of the upper face went most of the way to a place of the added layer; all others stayed."""
    steps, film = study_of(NEUTRAL)
    structures = preview_structures(steps)
    names, geometry = steps.relaxations_of(film), steps.geometry_of(film)
    joined = geometry.join(InterfaceParts(structures[names[Part.DOT_SLAB]], structures[names[Part.FILM_SLAB]]))
    variation = variation_of(steps, film, VariationKind.FILM_THICKNESS)
    kept = positions_ang(start_of(variation, structures | {names[Part.INTERFACE]: joined.to_record()}))
    centres, top = joined.centres_ang, int(np.argmax(joined.centres_ang[:, 2]))
    added = kept[kept[:, 2] > centres[top, 2] + 0.5]
    moved_ang = way * min(added - centres[top], key=np.linalg.norm)
    centres[top] += moved_ang
    relaxed = IonicCrystal.at(joined.lattice_ang, joined.ions, centres).to_record()
    thick = start_of(variation, structures | {names[Part.INTERFACE]: relaxed})
    assert 0.1 < find_images_ang(relaxed, thick) < float(np.linalg.norm(moved_ang))


@pytest.mark.parametrize("kind", [VariationKind.FILM_THICKNESS, VariationKind.DOT_THICKNESS])
def test_molecules_come_along_atom_by_atom(kind: VariationKind) -> None:
    steps, film = study_of(MOLECULAR)
    structures, relaxed = relax_by_hand(steps, film)
    assert find_images_ang(relaxed, start_of(variation_of(steps, film, kind), structures)) < 1e-6


@pytest.mark.parametrize("name", ["neutral", "polar"])
def test_a_thicker_dot_holds_the_relaxed_interface_of_the_study(name: str) -> None:
    steps, film = study_of(STUDIES[name])
    structures, relaxed = relax_by_hand(steps, film)
    above_ang = 1.0 if name == "polar" else -1.0  # the anions below a polar dot lie where its new lower face wants them
    thick = start_of(variation_of(steps, film, VariationKind.DOT_THICKNESS), structures)
    assert thick.n_atoms > relaxed.n_atoms
    assert find_images_ang(relaxed, thick, above_ang=above_ang) < 1e-6


def test_molecules_at_the_face_of_the_thin_film_do_not_stand_so_inside_the_thick_one() -> None:
    steps, film = study_of(MOLECULAR)
    names, geometry = steps.relaxations_of(film), steps.geometry_of(film)
    structures = preview_structures(steps)
    slab = find_ions(structures[names[Part.FILM_SLAB]], geometry.formal_charges)
    turned = tuple(ion.rotated(TURN) if len(ion.species) > 1 else ion for ion in slab.ions)
    of_face = IonicCrystal(slab.lattice_ang, turned, slab.frac_centres).to_record()
    joined = geometry.join(InterfaceParts(structures[names[Part.DOT_SLAB]], of_face))
    structures |= {names[Part.FILM_SLAB]: of_face, names[Part.INTERFACE]: joined.to_record()}
    variation = variation_of(steps, film, VariationKind.FILM_THICKNESS)
    own = preview_structures(variation.steps, earlier=structures)
    thick = variation.steps.relaxations_of(variation.candidate)
    plain = variation.steps.geometry_of(variation.candidate).interface(
        InterfaceParts(own[thick[Part.DOT_SLAB]], own[thick[Part.FILM_SLAB]])
    )
    shifts = positions_ang(start_of(variation, structures)) - positions_ang(plain)
    assert np.ptp(shifts, axis=0).max() < 1e-6


def test_added_layers_slide_as_one_piece_with_the_layer_that_they_continue() -> None:
    steps, film = study_of(NEUTRAL)
    structures, _ = relax_by_hand(steps, film)
    variation = variation_of(steps, film, VariationKind.FILM_THICKNESS, 2)
    own = preview_structures(variation.steps, earlier=structures)
    names = variation.steps.relaxations_of(variation.candidate)
    joined = variation.steps.geometry_of(variation.candidate).interface(
        InterfaceParts(own[names[Part.DOT_SLAB]], own[names[Part.FILM_SLAB]])
    )
    moved_ang = positions_ang(start_of(variation, structures)) - positions_ang(joined)
    top_ang = positions_ang(joined)[:, 2]
    added_ang = moved_ang[top_ang > top_ang.max() - 7.0]
    assert np.ptp(added_ang, axis=0).max() < 1e-9
    assert np.allclose(added_ang[0, :2], SLIDE_ANG[:2], atol=0.1)


def test_an_interface_that_did_not_move_changes_nothing() -> None:
    steps, film = study_of(NEUTRAL)
    structures = preview_structures(steps)
    variation = variation_of(steps, film, VariationKind.FILM_THICKNESS)
    names = variation.steps.relaxations_of(variation.candidate)
    own = preview_structures(variation.steps, earlier=structures)
    plain = variation.steps.geometry_of(variation.candidate).interface(
        InterfaceParts(own[names[Part.DOT_SLAB]], own[names[Part.FILM_SLAB]])
    )
    assert np.allclose(own[names[Part.INTERFACE]].frac_coords, plain.frac_coords, atol=1e-9)


def test_only_other_thicknesses_wait_for_the_relaxed_interface_of_the_study() -> None:
    steps, film = study_of({**NEUTRAL, "uncertainty": {"preset": "balanced", "terminations": 2}})
    relaxed = steps.relaxations_of(film)[Part.INTERFACE]
    waiting = {s.kind for s in list_variations(steps, [film]) if relaxed in interface_step(s).parents}
    assert waiting == {VariationKind.FILM_THICKNESS, VariationKind.DOT_THICKNESS}


def test_other_ions_than_the_interface_was_built_from_are_refused() -> None:
    steps, film = study_of(NEUTRAL)
    structures, relaxed = relax_by_hand(steps, film)
    ions = find_ions(relaxed, steps.geometry_of(film).formal_charges)
    fewer = IonicCrystal(ions.lattice_ang, ions.ions[:-1], ions.frac_centres[:-1]).to_record()
    variation = variation_of(steps, film, VariationKind.FILM_THICKNESS)
    own = preview_structures(variation.steps, earlier=structures)
    own[steps.relaxations_of(film)[Part.INTERFACE]] = fewer
    with pytest.raises(InterfaceError, match=r"thicknesses to 1"):
        build_structure(variation.steps, interface_step(variation), own)


def test_layers_are_added_away_from_the_dot() -> None:
    upright, flipped = (match_film([3, 2], [2, 1], is_flipped=is_flipped) for is_flipped in (False, True))
    assert upright.indices.tolist() == [0, 1, 1, 2, 2]
    assert upright.is_added.tolist() == [False, False, True, False, True]
    assert flipped.indices.tolist() == [0, 0, 1, 2, 2]
    assert flipped.is_added.tolist() == [True, False, False, True, False]


def test_an_unchanged_dot_continues_itself() -> None:
    same, thicker = match_dot(4, 4, n_added_planes=0), match_dot(6, 4, n_added_planes=1)
    assert same.indices.tolist() == [0, 1, 2, 3]
    assert thicker.indices.tolist() == [0, 1, 0, 1, 2, 3]
    assert thicker.is_added.tolist() == [True, True, False, False, False, False]
