"""From a study to its candidates: planes, terminations, cells and thicknesses in whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qdip_dft.builders.candidates import (
    choose_cell,
    choose_termination,
    find_candidates,
    formula_units_per_cell,
    require_fitting,
)
from qdip_dft.builders.dots import plan_dot_cut
from qdip_dft.builders.faces import orient_face
from qdip_dft.builders.ions import find_ions
from qdip_dft.builders.matching import match_cells
from qdip_dft.builders.orientation import in_plane_vectors, plane_spacing_ang
from qdip_dft.errors import ChargeBalanceError, MatchError, SlabError
from qdip_dft.flows.building import preview_structures
from qdip_dft.flows.steps import Part
from qdip_dft.model.interface import Candidate
from qdip_dft.model.study import CellChoice, PhaseRole, StudySpec
from qdip_dft.model.study_versions import translate_study
from tests.unit.crystals import load, load_face
from tests.unit.studies import make_steps

BLACK = {"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"], "termination": "PbI2"}
YELLOW = {"phase": "CsPbI3-delta", "role": "competitor", "planes": ["100", "001"]}

LIMITS = {"max_area_ang2": 250, "max_strain": 0.06}


def make_study(**changes: Any) -> StudySpec:
    study: dict[str, Any] = {
        "name": "candidates",
        "dot": {"material": "PbS", "facets": ["111"], "min_thickness_ang": 6, "passivation": "I"},
        "host": "CsPbI3",
        "phases": [BLACK, YELLOW],
        "matching": LIMITS,
        "film": {"min_thickness_ang": 12},
    }
    return StudySpec.model_validate(translate_study({**study, **changes}))


def find(study: StudySpec) -> tuple[Candidate, ...]:
    return find_candidates(study, crystals_of(study))[0]


def crystals_of(study: StudySpec) -> dict[str, Any]:
    return {name: load(name) for name in (study.dot.material, *(phase.phase for phase in study.phases))}


def test_every_plane_of_every_phase_becomes_one_candidate():
    candidates = find(make_study())
    assert [(c.phase, c.film_plane, c.role) for c in candidates] == [
        ("CsPbI3-alpha", "100", PhaseRole.BLACK),
        ("CsPbI3-delta", "100", PhaseRole.COMPETITOR),
        ("CsPbI3-delta", "001", PhaseRole.COMPETITOR),
    ]
    assert len({c.label for c in candidates}) == 3


def test_the_search_does_the_same_again():
    assert find(make_study()) == find(make_study())


def test_a_candidate_survives_being_stored():
    for candidate in find(make_study()):
        assert Candidate.model_validate_json(candidate.model_dump_json()) == candidate


def test_the_cells_keep_the_limits_of_the_study():
    for candidate in find(make_study()):
        assert max(map(abs, candidate.search_strains)) <= 0.06
        assert candidate.search_area_ang2 <= 250
        dot = load_face("PbS", "111")
        cell = np.array(candidate.dot_matrix) @ in_plane_vectors(dot.oriented)
        assert candidate.search_area_ang2 == pytest.approx(float(np.linalg.det(cell)), rel=1e-9)


@pytest.mark.parametrize("thickness_ang", [6.5, 12.0, 20.0])
def test_films_are_as_thick_as_asked_in_whole_planes(thickness_ang):
    for candidate in find(make_study(film={"min_thickness_ang": thickness_ang})):
        face = load_face(candidate.phase, candidate.film_plane)
        spacing = plane_spacing_ang(face.oriented)
        assert candidate.n_film_planes * spacing >= thickness_ang - 1e-5
        assert (candidate.n_film_planes - 1) * spacing < thickness_ang


def test_the_film_holds_whole_reference_cells():
    for candidate in find(make_study(film={"min_thickness_ang": 12, "reference_periods": 2})):
        assert candidate.n_film_planes % 2 == 0


def test_formula_units_are_counted_from_the_ions():
    for candidate in find(make_study()):
        face = load_face(candidate.phase, candidate.film_plane)
        lead = face.oriented.count("Pb") * candidate.n_film_planes * round(float(np.linalg.det(candidate.film_matrix)))
        assert candidate.n_formula_units == lead


@pytest.mark.parametrize(("name", "units"), [("PbS", 1), ("CsPbI3-delta", 4), ("FAPbI3-delta", 2), ("Cs4PbBr6", 2)])
def test_formula_units_of_the_primitive_cell(name, units):
    assert formula_units_per_cell(load_face(name, "100"), load(name)) == units


def test_each_facet_gets_its_own_slab_and_passivates_only_where_it_is_polar():
    study = make_study(dot={"material": "PbS", "facets": ["111", "100"], "min_thickness_ang": 6, "passivation": "I"})
    candidates = find(study)
    assert {(c.dot_plane, c.passivation, c.dot_cut.is_polar) for c in candidates} == {
        ("111", "I", True),
        ("100", None, False),
    }


def test_a_dot_from_a_file_keeps_its_facet():
    study = make_study(dot={"material": "files/PbS.cif", "facets": ["111"], "min_thickness_ang": 6, "passivation": "I"})
    crystals = {**crystals_of(make_study()), "files/PbS.cif": load("PbS")}
    for candidate in find_candidates(study, crystals)[0]:
        assert candidate.dot_plane == "111"
        assert candidate.dot == "files/PbS.cif"
        assert candidate.label.startswith("PbS(111)//")


def test_each_registry_shift_is_a_candidate_of_its_own():
    study = make_study(film={"min_thickness_ang": 12, "registries": [[0, 0], [0.5, 0.5]]})
    shifts = [c.shift for c in find(study) if c.film_plane == "001"]
    assert shifts == [(0.0, 0.0), (0.5, 0.5)]
    assert len({c.label for c in find(study)}) == 6


@pytest.mark.parametrize(
    ("material", "facet", "advice"),
    [
        ("PbS", "111", "set dot.passivation to a halide such as I, or to OH, or choose a neutral facet"),
        ("CdSe-zincblende", "100", "set dot.passivation to a halide such as I, or to OH, or choose a neutral facet"),
        ("CdSe-zincblende", "111", "choose a neutral facet, or set .* only common cells that hold a multiple of 2"),
        ("InP", "100", "choose a neutral facet, or set .* only common cells that hold a multiple of 2"),
    ],
)
def test_a_polar_facet_without_passivation_is_refused(material, facet, advice):
    study = make_study(dot={"material": material, "facets": [facet], "min_thickness_ang": 6})
    with pytest.raises(ChargeBalanceError, match=advice):
        find(study)


def test_a_film_plane_that_does_not_match_is_dropped_with_its_reason():
    study = make_study(phases=[BLACK, {**YELLOW, "planes": ["100", "101", "001"]}])
    candidates, dropped = find_candidates(study, crystals_of(study))
    assert [c.film_plane for c in candidates if c.phase == "CsPbI3-delta"] == ["100", "001"]
    assert [left_out.label for left_out in dropped] == ["PbS(111)//CsPbI3-delta(101)"]
    assert "no cell" in dropped[0].reason


def test_a_phase_that_matches_nowhere_is_an_error_that_names_the_nearest_cell():
    study = make_study(matching={"max_area_ang2": 40, "max_strain": 0.001})
    with pytest.raises(MatchError, match="nearest") as refusal:
        find(study)
    assert "PbS(111)//CsPbI3-alpha(100)" in refusal.value.what


@pytest.mark.parametrize("wanted", ["PbI2", "CsI"])
def test_the_wanted_layer_touches_the_dot(wanted):
    termination = choose_termination(load_face("CsPbI3-alpha", "100"), wanted)
    assert termination.bottom == wanted


def test_without_a_wish_the_cheapest_cut_is_taken():
    face = load_face("CsPbI3-delta", "100")
    assert choose_termination(face, None).bottom == "I"


def test_a_termination_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(SlabError, match="name one of these as termination") as refusal:
        choose_termination(load_face("CsPbI3-alpha", "100"), "PbI")
    assert "CsI, PbI2" in refusal.value.limit


def test_a_film_plane_that_is_always_polar_is_refused():
    with pytest.raises(SlabError, match="choose another plane of this phase"):
        choose_termination(load_face("PbS", "111"), None)


def test_a_film_thinner_than_a_formula_unit_is_refused():
    with pytest.raises(SlabError, match=r"raise film\.min_thickness_ang"):
        find(make_study(film={"min_thickness_ang": 1.0}))


def test_the_choice_of_cell_is_the_smallest_or_the_least_strained():
    film, dot = load_face("CsPbI3-alpha", "100").oriented, load_face("PbS", "111").oriented
    cells = match_cells(in_plane_vectors(film), in_plane_vectors(dot), max_area_ang2=400, max_strain=0.06)
    smallest, least = choose_cell(cells, CellChoice.SMALLEST), choose_cell(cells, CellChoice.LEAST_STRAINED)
    assert smallest.area_ang2 == min(cell.area_ang2 for cell in cells)
    assert least.largest_strain == pytest.approx(min(cell.largest_strain for cell in cells), abs=1e-6)
    assert smallest.area_ang2 < least.area_ang2


def test_a_face_is_named_by_its_crystal_and_plane():
    face = orient_face(load("PbS"), "1-10")
    assert (face.name, face.plane) == ("PbS(1-10)", "1-10")


def test_the_automatic_share_of_the_strain_follows_stiffness_and_thickness():
    thin, thick = (
        find(make_study(matching={**LIMITS, "strain_partition": "auto"}, film={"min_thickness_ang": thickness_ang}))[0]
        for thickness_ang in (12, 30)
    )
    film, dot = load_face("CsPbI3-alpha", "100"), load_face("PbS", "111")
    for candidate in (thin, thick):
        film_stiffness, dot_stiffness = (
            face.bulk_modulus_gpa * n_planes * plane_spacing_ang(face.oriented)
            for face, n_planes in ((film, candidate.n_film_planes), (dot, candidate.dot_cut.n_planes))
        )
        assert candidate.strain_partition == pytest.approx(film_stiffness / (film_stiffness + dot_stiffness))
    assert thick.strain_partition > thin.strain_partition


@pytest.mark.parametrize("share", [0.0, 0.35, 1.0])
def test_a_share_of_the_strain_given_as_a_number_stands(share):
    assert find(make_study(matching={**LIMITS, "strain_partition": share}))[0].strain_partition == share


def test_an_automatic_share_without_a_bulk_modulus_is_refused():
    study = make_study(matching={**LIMITS, "strain_partition": "auto"})
    crystals = {**crystals_of(study), "PbS": load("PbS").model_copy(update={"bulk_modulus_gpa": None})}
    with pytest.raises(MatchError, match="give strain_partition as a number"):
        find_candidates(study, crystals)


@pytest.mark.parametrize("share", [-0.1, 1.1, "soft"])
def test_a_share_that_is_neither_a_fraction_nor_auto_is_refused(share):
    with pytest.raises(ValueError, match="strain_partition"):
        make_study(matching={**LIMITS, "strain_partition": share})


@pytest.mark.parametrize("plane", ["111", "-1-1-1"])
def test_half_an_anion_per_cell_asks_for_a_mesh_of_even_size(plane):
    dot = {"material": "CdSe-zincblende", "facets": [plane], "min_thickness_ang": 6, "passivation": "Cl"}
    steps = make_steps(
        dot=dot,
        phases=[{"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"]}],
        matching={"max_area_ang2": 195, "max_strain": 0.06},
    )
    (candidate,) = steps.candidates
    n_dot = abs(round(np.linalg.det(candidate.dot_matrix)))
    assert n_dot % 2 == 0
    interface = preview_structures(steps)[steps.id_of(Part.INTERFACE, candidate.id)]
    assert interface.species.count("Cl") == 2 * n_dot
    assert any(note.startswith("shared-halide") and "Cl between dot and film" in note for note in candidate.notes)


def test_a_dot_that_no_cell_can_passivate_is_refused():
    dot, film = load_face("CdSe-zincblende", "111"), load_face("CsPbI3-alpha", "100")
    found = match_cells(*(in_plane_vectors(f.oriented) for f in (film, dot)), max_area_ang2=330, max_strain=0.06)
    odd = tuple(cell for cell in found if cell.n_dot % 2)
    assert odd
    cut = plan_dot_cut(dot.oriented, min_thickness_ang=6, passivation="Cl", facet=dot.name)
    with pytest.raises(ChargeBalanceError, match=r"take another common cell: raise matching.max_area_ang2"):
        require_fitting(odd, cut, facet=dot.name)
    assert require_fitting(found, cut, facet=dot.name) == tuple(cell for cell in found if cell.n_dot % 2 == 0)


def test_an_interface_on_a_hydroxide_covered_dot_is_built_with_whole_hydroxides():
    steps = make_steps(
        dot={"material": "PbS", "facets": ["111"], "min_thickness_ang": 6, "passivation": "OH"},
        phases=[{"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"]}],
        matching={"max_area_ang2": 250, "max_strain": 0.06},
    )
    (candidate,) = steps.candidates
    interface = preview_structures(steps)[steps.id_of(Part.INTERFACE, candidate.id)]
    n_dot = abs(round(np.linalg.det(candidate.dot_matrix)))
    ions = find_ions(interface, {"OH": -1, "Pb": 2, "S": -2, "Cs": 1, "I": -1})
    assert ions.count("OH") == interface.species.count("H") == 2 * n_dot
    assert ions.formal_charge == 0
