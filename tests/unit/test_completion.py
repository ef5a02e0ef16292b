"""Charged films completed to neutrality: both faces alike, no field, and refused where the variant makes no sense."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from qdip_dft.builders.completion import complete_termination, list_completions
from qdip_dft.builders.interfaces import check_built
from qdip_dft.builders.orientation import orient_crystal
from qdip_dft.builders.terminations import SymmetryKind
from qdip_dft.errors import ChargeBalanceError
from qdip_dft.flows.building import preview_structures
from qdip_dft.flows.steps import Part
from qdip_dft.model.study import Completion
from tests.unit.crystals import internal_distances_ang, load_face, load_ions
from tests.unit.studies import make_steps
from tests.unit.test_terminations import build_film, dipole_e_ang, film_of, find_pair, strained_film, terminations

CHARGED = [
    ("CsPbI3-alpha", "110", "CsPbI|CsPbI"),
    ("CsPbI3-alpha", "111", "Pb|Pb"),
    ("CsPbI3-beta", "100", "CsPbI|CsPbI"),
    ("FAPbI3-alpha", "110", "FAPbI|FAPbI"),
    ("FAPbI3-alpha", "111", "Pb|Pb"),
    ("MAPbI3-cubic", "111", "Pb|Pb"),
]
RESERVOIRS = {"ax": "CsI", "bx2": "PbI2"}


def complete(name: str, plane: str, pair: str, completion: Completion):
    return complete_termination(
        load_face(name, plane).oriented, find_pair(name, plane, pair), completion, face=f"{name}({plane})"
    )


@pytest.mark.parametrize("completion", Completion)
@pytest.mark.parametrize(("name", "plane", "pair"), CHARGED)
def test_a_completed_film_is_neutral_and_its_dipole_does_not_grow(name, plane, pair, completion):
    completed = complete(name, plane, pair, completion)
    films = [film_of(name, plane, completed, n_planes) for n_planes in (2, 3, 4)]
    assert [film.formal_charge for film in films] == [0, 0, 0]
    growth = np.diff([dipole_e_ang(film) for film in films])
    assert growth == pytest.approx([0, 0], abs=0.1)
    for film in films:
        check_built(film, name=name)


@pytest.mark.parametrize("completion", Completion)
@pytest.mark.parametrize(("name", "plane", "pair"), [face for face in CHARGED if face[0].startswith("Cs")])
def test_both_faces_of_a_completed_film_are_alike(name, plane, pair, completion):
    completed = complete(name, plane, pair, completion)
    assert completed.symmetry is SymmetryKind.OPERATION
    assert dipole_e_ang(film_of(name, plane, completed)) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(("name", "plane", "pair"), CHARGED)
def test_the_variants_differ_by_halides_and_cations_on_both_faces(name, plane, pair):
    charged = find_pair(name, plane, pair)
    bare = build_film(load_face(name, plane).oriented, charged, 4)
    cation = next(ion.label for ion in bare.ions if ion.charge == 1)
    n = charged.charge_e // 2
    for completion, label, change in ((Completion.ADDED_HALIDE, "I", 2 * n), (Completion.A_VACANCY, cation, -2 * n)):
        completed = complete(name, plane, pair, completion)
        assert (completed.completion, completed.n_completing) == (completion.value, n)
        film = film_of(name, plane, completed, 4)
        unit = load_face(name, plane).oriented
        n_more = (film.count("Pb") - bare.count("Pb")) // unit.count("Pb")  # planes are counted anew
        assert film.count(label) - n_more * unit.count(label) == bare.count(label) + change


def test_halides_make_the_charged_110_film_the_stoichiometric_one():
    completed = complete("CsPbI3-alpha", "110", "CsPbI|CsPbI", Completion.ADDED_HALIDE)
    assert completed.is_stoichiometric
    assert completed.name == "CsPbI|CsPbI (1 added-halide)"


@pytest.mark.parametrize(
    ("name", "plane", "pair", "completion", "reason"),
    [
        ("CsPbI3-alpha", "111", "CsI3|CsI3", Completion.ADDED_HALIDE, "carries -2 e, which the variant makes worse"),
        ("CsPbI3-alpha", "111", "CsI3|CsI3", Completion.A_VACANCY, "carries -2 e, which the variant makes worse"),
        ("CsPbI3-alpha", "100", "CsI|CsI", Completion.ADDED_HALIDE, "it is neutral"),
        ("PbS", "111", "Pb|Pb", Completion.A_VACANCY, "each face needs 1 ions, a lattice plane holds 0"),
    ],
)
def test_a_variant_that_makes_no_sense_is_refused_with_the_reason(name, plane, pair, completion, reason):
    with pytest.raises(ChargeBalanceError, match="take another completion or termination") as refusal:
        complete(name, plane, pair, completion)
    assert reason in refusal.value.limit


@pytest.mark.parametrize("plane", ["110", "101", "111", "1-10", "211"])
@pytest.mark.parametrize("name", ["FAPbI3-alpha", "FAPbI3-delta", "MAPbI3-cubic"])
def test_completed_films_of_hybrids_keep_their_molecules(name, plane):
    face = load_face(name, plane)
    expected = {len(d): np.sort(d, axis=None) for d in internal_distances_ang(load_ions(name))}
    for pair in list_completions(face.oriented, terminations(name, plane).pairs):
        film = strained_film(orient_crystal(face.crystal, face.orientation, cut=pair.cut), pair)
        assert film.formal_charge == 0
        for distances in internal_distances_ang(film):
            assert np.sort(distances, axis=None) == pytest.approx(expected[len(distances)], abs=1e-6)


def make_111_steps(**changes: object):
    black = {"phase": "CsPbI3-alpha", "role": "black", "planes": ["111"], "termination": "Pb|Pb", **changes}
    film = {"min_thickness_ang": 10, "reservoirs": RESERVOIRS, "registries": [[0, 0]]}
    return make_steps(phases=[black], film=film, matching={"max_area_ang2": 300, "max_strain": 0.08})


@pytest.mark.parametrize("completion", ["added-halide", "a-vacancy"])
def test_a_study_builds_a_completed_film_and_records_how(completion):
    steps = make_111_steps(completion=completion)
    (candidate,) = steps.candidates
    assert completion in candidate.termination
    assert any(note.startswith(f"{completion}: ") for note in candidate.notes)
    film = preview_structures(steps)[steps.id_of(Part.FILM_SLAB, candidate.id)].species
    n, excess = candidate.n_formula_units, candidate.excess
    assert set(excess) == {"PbI2"}
    counts = (film.count("Cs"), film.count("Pb"), film.count("I"))
    assert counts == (n, n + excess["PbI2"], 3 * n + 2 * excess["PbI2"])


def test_a_charged_pair_without_a_completion_is_refused_with_those_that_fit():
    with pytest.raises(ChargeBalanceError, match="set completion to added-halide or a-vacancy"):
        make_111_steps()


def test_a_completion_without_a_pair_is_refused():
    with pytest.raises(ValidationError, match="completion needs the layers of both faces"):
        make_111_steps(termination="Pb", completion="added-halide")
