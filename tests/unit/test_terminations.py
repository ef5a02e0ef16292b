"""Terminations as pairs of layers: symmetric films, their charges, excess and symmetry, and why others do not exist."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from qdip_dft.builders.cleavage import find_terminations
from qdip_dft.builders.films import build_strained_bulk, count_images, stack_closed_film, stack_film
from qdip_dft.builders.interfaces import check_built
from qdip_dft.builders.ions import IonicCrystal, find_ions
from qdip_dft.builders.orientation import find_orientation, orient_crystal
from qdip_dft.builders.terminations import (
    SymmetryKind,
    TaskerType,
    TerminationPair,
    Terminations,
    describe_excess,
    list_terminations,
)
from qdip_dft.model.miller import parse_hkl
from tests.unit.crystals import (
    CHIRAL_OFFSETS_ANG,
    HANDEDNESS_ANG3,
    handedness_ang3,
    internal_distances_ang,
    load_face,
    load_ions,
)
from tests.unit.test_films import mesh_of
from tests.unit.test_strain import Supercells

LOW_INDEX_PLANES = ["100", "010", "001", "110", "101", "011", "1-10", "10-1", "01-1", "111", "210", "211"]
HYBRIDS = ["FAPbI3-alpha", "FAPbI3-delta", "MAPbI3-cubic"]
PEROVSKITE_FACES = [
    ("CsPbI3-alpha", "100", "CsI", SymmetryKind.OPERATION),
    ("CsPbI3-beta", "001", "CsI", SymmetryKind.OPERATION),
    ("CsPbI3-beta", "110", "CsI", SymmetryKind.OPERATION),
    ("CsPbI3-gamma", "001", "CsI", SymmetryKind.OPERATION),
    ("CsPbI3-gamma", "110", "CsI", SymmetryKind.OPERATION),
    ("FAPbI3-alpha", "100", "FAI", SymmetryKind.LAYERS),
    ("FAPbI3-alpha", "001", "FAI", SymmetryKind.LAYERS),
    ("MAPbI3-cubic", "100", "MAI", SymmetryKind.LAYERS),
    ("MAPbI3-tetragonal", "001", "MAI", SymmetryKind.LAYERS),
    ("MAPbI3-tetragonal", "110", "MAI", SymmetryKind.LAYERS),
    ("CsPbBr3-cubic", "001", "CsBr", SymmetryKind.OPERATION),
]


@cache
def terminations(name: str, plane: str) -> Terminations:
    return list_terminations(load_face(name, plane).oriented)


def find_pair(name: str, plane: str, wanted: str) -> TerminationPair:
    return next(pair for pair in terminations(name, plane).pairs if pair.name == wanted)


def build_film(oriented: IonicCrystal, pair: TerminationPair, n_planes: int) -> IonicCrystal:
    """Return the film of an oriented cell with the pair's cut applied."""
    images = count_images(pair.closing, n_planes=n_planes, matrix=((1, 0), (0, 1)), n_periods=1)
    return stack_closed_film(oriented, n_images=images, vacuum_ang=12.0)


def film_of(name: str, plane: str, pair: TerminationPair, n_planes: int = 2) -> IonicCrystal:
    face = load_face(name, plane)
    return build_film(orient_crystal(face.crystal, face.orientation, cut=pair.cut), pair, n_planes)


def dipole_e_ang(film: IonicCrystal) -> float:
    heights = film.centres_ang[:, 2]
    return float(film.charges @ (heights - 0.5 * (heights.min() + heights.max())))


@pytest.mark.parametrize(("name", "plane", "ax", "kind"), PEROVSKITE_FACES)
def test_both_layers_of_a_perovskite_end_a_symmetric_film(name, plane, ax, kind):
    bx2 = "PbBr2" if ax.endswith("Br") else "PbI2"
    for layer in (ax, bx2):
        pair = find_pair(name, plane, f"{layer}|{layer}")
        assert pair.symmetry is kind
        assert (pair.charge_e, pair.bottom_charge_e, pair.top_charge_e) == (0, 0, 0)
        assert pair.tasker_type is TaskerType.NEUTRAL_LAYERS
        assert describe_excess(pair.excess).endswith(layer)


@pytest.mark.parametrize(("name", "plane", "ax"), [face[:3] for face in PEROVSKITE_FACES])
def test_the_excesses_of_both_symmetric_films_make_whole_formula_units(name, plane, ax):
    bx2 = "PbBr2" if ax.endswith("Br") else "PbI2"
    together = [find_pair(name, plane, f"{layer}|{layer}") for layer in (ax, bx2)]
    counts = {label: sum(pair.excess.get(label, 0) for pair in together) for pair in together for label in pair.excess}
    halide = bx2[2:4].rstrip("2")
    assert counts[halide] == 3 * counts["Pb"] == 3 * counts[ax.removesuffix(halide)]


@pytest.mark.parametrize("name", ["CsPbI3-alpha", "CsPbI3-gamma", "CsPbI3-delta", "PbS", "CsPbBr3-tetragonal"])
@pytest.mark.parametrize("plane", ["100", "001", "110", "111"])
def test_a_film_that_is_symmetric_by_operation_has_no_dipole_at_any_thickness(name, plane):
    for pair in terminations(name, plane).pairs:
        if pair.symmetry is not SymmetryKind.OPERATION:
            continue
        for n_planes in (1, 2, 3):
            assert dipole_e_ang(film_of(name, plane, pair, n_planes)) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(("name", "plane"), [("CsPbI3-alpha", "110"), ("CsPbI3-gamma", "001"), ("CsPbI3-delta", "001")])
def test_a_film_that_is_symmetric_by_operation_is_turned_over_by_one(name, plane):
    import spglib

    for pair in terminations(name, plane).pairs:
        if pair.symmetry is not SymmetryKind.OPERATION:
            continue
        record = film_of(name, plane, pair).to_record()
        numbers = [sorted(set(record.species)).index(symbol) for symbol in record.species]
        operations = spglib.get_symmetry((record.lattice_ang, record.frac_coords, numbers), symprec=0.05)
        assert any(rotation[2][2] == -1 for rotation in operations["rotations"]), pair.name


@pytest.mark.parametrize("name", [*HYBRIDS, "CsPbI3-gamma"])
@pytest.mark.parametrize("plane", ["100", "001", "110", "111"])
def test_the_faces_of_a_symmetric_pair_carry_the_same_layer_and_charge(name, plane):
    for pair in terminations(name, plane).pairs:
        if pair.is_symmetric:
            assert pair.bottom == pair.top
            assert pair.bottom_charge_e == pair.top_charge_e


@pytest.mark.parametrize("name", [*HYBRIDS, "CsPbI3-delta", "MAPbI3-tetragonal", "SnS"])
@pytest.mark.parametrize("plane", ["100", "001", "110", "111"])
def test_the_stoichiometric_cuts_come_first_and_unchanged(name, plane):
    known = {t.name: t.cut for t in reversed(find_terminations(load_face(name, plane).oriented))}
    listed = {p.name: p.cut for p in terminations(name, plane).pairs if not any(p.closing)}
    assert listed == known


@pytest.mark.parametrize("name", [*HYBRIDS, "CsPbI3-gamma", "PbS", "CdSe-zincblende"])
@pytest.mark.parametrize("plane", ["100", "110", "111"])
def test_the_ions_of_a_film_are_whole_formula_units_and_the_excess(name, plane):
    oriented = load_face(name, plane).oriented
    units = int(np.gcd.reduce([oriented.count(ion.label) for ion in oriented.ions]))
    for pair in terminations(name, plane).pairs:
        film = film_of(name, plane, pair, n_planes=2)
        n_formula_units = 2 * units + pair.n_closing_formula_units
        for label in {ion.label for ion in oriented.ions}:
            expected = n_formula_units * oriented.count(label) // units + pair.excess.get(label, 0)
            assert film.count(label) == expected
        assert film.formal_charge == pair.charge_e
        assert min(pair.excess.values(), default=0) >= 0


@pytest.mark.parametrize(
    ("name", "plane", "tasker_type"),
    [
        ("CsPbI3-alpha", "100", TaskerType.NEUTRAL_LAYERS),
        ("CsPbI3-alpha", "110", TaskerType.POLAR),
        ("CsPbI3-alpha", "111", TaskerType.POLAR),
        ("CsPbI3-delta", "001", TaskerType.CHARGED_LAYERS),
        ("PbS", "100", TaskerType.NEUTRAL_LAYERS),
        ("PbS", "111", TaskerType.POLAR),
        ("CdSe-zincblende", "110", TaskerType.NEUTRAL_LAYERS),
        ("CdSe-zincblende", "111", TaskerType.POLAR),
    ],
)
def test_planes_have_their_textbook_tasker_type(name, plane, tasker_type):
    assert {pair.tasker_type for pair in terminations(name, plane).pairs} <= {tasker_type}


def test_rock_salt_111_ends_symmetrically_with_charged_lead_or_sulfur():
    found = {pair.name: (pair.charge_e, pair.symmetry) for pair in terminations("PbS", "111").pairs}
    assert found == {"Pb|Pb": (2, SymmetryKind.OPERATION), "S|S": (-2, SymmetryKind.OPERATION)}


@pytest.mark.parametrize(("name", "cation"), [("CdSe-zincblende", "Cd"), ("ZnS-sphalerite", "Zn")])
def test_zinc_blende_111_has_no_symmetric_film_and_says_why(name, cation):
    found = terminations(name, "111")
    assert found.pairs == ()
    assert f"no operation of the crystal turns the plane over, and {cation}|{cation} faces differ" in found.reasons[1]


def test_a_yellow_phase_whose_film_is_symmetric_already_says_so():
    found = terminations("CsPbI3-delta", "100")
    assert all(pair.is_symmetric and pair.is_stoichiometric for pair in found.pairs)
    assert "without one has two equal faces" in found.reasons[0]


@pytest.mark.parametrize(
    ("excess", "words"), [({}, "none"), ({"FA": 2, "I": 2}, "+2 FAI"), ({"Pb": 1, "I": 2}, "+1 PbI2")]
)
def test_an_excess_is_named_by_its_compound(excess, words):
    assert describe_excess(excess) == words


@pytest.mark.parametrize("plane", LOW_INDEX_PLANES)
@pytest.mark.parametrize("name", HYBRIDS)
def test_every_neutral_film_of_a_hybrid_keeps_its_molecules_and_framework(name, plane):
    expected = {len(d): np.sort(d, axis=None) for d in internal_distances_ang(load_ions(name))}
    face = load_face(name, plane)
    pairs = [pair for pair in terminations(name, plane).pairs if pair.charge_e == 0]
    assert pairs
    for pair in pairs:
        film = strained_film(orient_crystal(face.crystal, face.orientation, cut=pair.cut), pair)
        check_built(film, name=f"{name}({plane}) {pair.name}")
        images = [ion.label for ion, m in zip(face.oriented.ions, pair.closing, strict=True) for _ in range(2 + m)]
        assert sorted(ion.label for ion in film.ions) == sorted(images)
        rebuilt = find_ions(film.to_record(), {ion.label: ion.charge for ion in film.ions})
        assert sorted(ion.label for ion in rebuilt.ions) == sorted(ion.label for ion in film.ions)
        for distances in internal_distances_ang(rebuilt):
            assert np.sort(distances, axis=None) == pytest.approx(expected[len(distances)], abs=1e-6)


@pytest.mark.parametrize("plane", LOW_INDEX_PLANES)
def test_a_chiral_molecule_keeps_its_handedness_in_every_neutral_film(plane):
    crystal = with_chiral_cations(load_ions("FAPbI3-alpha"))
    orientation = find_orientation(crystal, parse_hkl(plane))
    pairs = [p for p in list_terminations(orient_crystal(crystal, orientation)).pairs if p.charge_e == 0]
    assert pairs
    for pair in pairs:
        film = strained_film(orient_crystal(crystal, orientation, cut=pair.cut), pair)
        assert handedness_ang3(film) == pytest.approx([HANDEDNESS_ANG3] * film.count("CHNO"), abs=1e-6)
        assert film.count("CHNO") >= 1


def strained_film(oriented: IonicCrystal, pair: TerminationPair) -> IonicCrystal:
    """Return two planes and the closing layer on a mesh that strains the film by 7 % and shears it."""
    mesh = mesh_of(oriented, np.array([[1.07, 0.02], [0.02, 0.97]]))
    return build_film(build_strained_bulk(oriented, ((1, 0), (0, 1)), mesh, n_periods=1), pair, n_planes=2)


def with_chiral_cations(crystal: IonicCrystal) -> IonicCrystal:
    """Return the crystal with a chiral molecule in place of each organic cation."""
    from qdip_dft.builders.ions import Ion

    offsets = np.array(list(CHIRAL_OFFSETS_ANG.values()))
    chiral = Ion("CHNO", 1, tuple(CHIRAL_OFFSETS_ANG), offsets - offsets.mean(axis=0), ())
    ions = tuple(chiral if len(ion.species) > 1 else ion for ion in crystal.ions)
    return IonicCrystal(crystal.lattice_ang, ions, crystal.frac_centres)


@pytest.mark.parametrize("n_periods", [1, 2])
def test_a_film_without_a_closing_layer_is_the_stacked_reference(n_periods):
    face = load_face("CsPbI3-gamma", "001")
    cut = find_terminations(face.oriented)[0].cut
    oriented = orient_crystal(face.crystal, face.orientation, cut=cut)
    matrix = ((1, 0), (0, 1))
    mesh = mesh_of(oriented, np.eye(2), Supercells(matrix, matrix))
    reference = build_strained_bulk(oriented, matrix, mesh, n_periods=n_periods)
    images = count_images([0] * len(oriented.ions), n_planes=2, matrix=matrix, n_periods=n_periods)
    closed = stack_closed_film(reference, n_images=images, vacuum_ang=10.0).to_record()
    stacked = stack_film(reference, n_repeats=2 // n_periods, vacuum_ang=10.0).to_record()
    assert closed.species == stacked.species
    assert np.array(closed.frac_coords) == pytest.approx(np.array(stacked.frac_coords), abs=1e-9)


def test_the_closing_layer_of_a_doubled_reference_is_that_of_a_single_one():
    face = load_face("CsPbI3-alpha", "100")
    pair = find_pair("CsPbI3-alpha", "100", "CsI|CsI")
    oriented = orient_crystal(face.crystal, face.orientation, cut=pair.cut)
    matrix = ((1, 0), (1, 2))
    mesh = mesh_of(oriented, np.eye(2), Supercells(matrix, matrix))
    films = []
    for n_periods in (1, 2):
        reference = build_strained_bulk(oriented, matrix, mesh, n_periods=n_periods)
        images = count_images(pair.closing, n_planes=4, matrix=matrix, n_periods=n_periods)
        films.append(stack_closed_film(reference, n_images=images, vacuum_ang=10.0).to_record().to_pymatgen())
    assert films[0].composition == films[1].composition
    assert films[0].composition["Cs"] == 2 * (4 + 1)
    distances = [np.sort(film.get_neighbor_list(6.5)[3]) for film in films]
    assert distances[0] == pytest.approx(distances[1], abs=1e-9)
