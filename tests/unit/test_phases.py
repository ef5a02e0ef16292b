"""Phase identity: corner, edge and face sharing tell the phases apart, whatever is done to them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdip_dft.analysis.phases import (
    Connectivity,
    Linkage,
    is_same_phase,
    measure_connectivity,
    measure_overlap,
)
from qdip_dft.builders.cleavage import find_terminations
from qdip_dft.builders.films import displace_ions, stack_film
from qdip_dft.builders.ions import IonicCrystal, repeat_crystal, transform_crystal
from qdip_dft.builders.orientation import orient_crystal
from qdip_dft.model.structure import StructureRecord
from tests.unit.crystals import load, load_face, load_ions

LINKAGES = {
    "CsPbI3-alpha": Linkage.CORNER,
    "CsPbI3-beta": Linkage.CORNER,
    "CsPbI3-gamma": Linkage.CORNER,
    "FAPbI3-alpha": Linkage.CORNER,
    "MAPbI3-cubic": Linkage.CORNER,
    "CsPbBr3-gamma": Linkage.CORNER,
    "CsPbBr3-yellow": Linkage.EDGE,
    "CsPbI3-delta": Linkage.EDGE,
    "CsSnI3-delta": Linkage.EDGE,
    "PbI2": Linkage.EDGE,
    "FAPbI3-delta": Linkage.FACE,
}
"""Linkage of each phase as the crystallographic literature describes it (sources in the catalogue)."""

STUDY_FILMS = [
    ("CsPbI3-alpha", "100"),
    ("CsPbI3-gamma", "001"),
    ("CsPbI3-gamma", "110"),
    ("CsPbI3-delta", "100"),
    ("CsPbI3-delta", "001"),
    ("CsPbI3-delta", "101"),
    ("FAPbI3-alpha", "100"),
    ("FAPbI3-delta", "001"),
    ("FAPbI3-delta", "100"),
]

fractions = st.integers(0, 100).map(lambda percent: percent / 100)


def measure(crystal: IonicCrystal) -> Connectivity:
    return measure_connectivity(crystal.to_record())


def of(connectivity: Connectivity, linkage: Linkage) -> float:
    return {
        Linkage.CORNER: connectivity.corner,
        Linkage.EDGE: connectivity.edge,
        Linkage.FACE: connectivity.face,
    }[linkage]


def film(name: str, plane: str, *, n_repeats: int = 2) -> IonicCrystal:
    face = load_face(name, plane)
    oriented = orient_crystal(face.crystal, face.orientation, cut=find_terminations(face.oriented)[0].cut)
    return stack_film(oriented, n_repeats=n_repeats, vacuum_ang=12.0)


@pytest.mark.parametrize(("name", "linkage"), LINKAGES.items())
def test_every_phase_has_one_kind_of_link(name, linkage):
    found = measure_connectivity(load(name).structure)
    assert found.dominant is linkage
    assert of(found, linkage) == 1.0


def test_a_crystal_of_isolated_octahedra_has_no_links():
    found = measure_connectivity(load("Cs4PbBr6").structure)
    assert found == Connectivity(0.0, 0.0, 0.0)
    assert found.dominant is None


@pytest.mark.parametrize("name", ["CsPbI3-alpha", "CsPbI3-gamma", "CsPbI3-delta", "FAPbI3-delta"])
@pytest.mark.parametrize("repeats", [(2, 1, 1), (1, 2, 1), (2, 2, 2)])
def test_a_supercell_has_the_same_links(name, repeats):
    crystal = load_ions(name)
    assert measure(repeat_crystal(crystal, np.diag(repeats))) == measure(crystal)


@pytest.mark.parametrize("name", ["CsPbI3-delta", "FAPbI3-delta", "CsPbI3-alpha"])
def test_links_do_not_depend_on_the_cell_that_an_atom_is_listed_in(name, rng):
    record = load(name).structure
    coords = np.array(record.frac_coords) + rng.integers(-2, 3, size=(record.n_atoms, 3))
    moved = record.model_copy(update={"frac_coords": tuple(map(tuple, coords.tolist()))})
    assert measure_connectivity(moved) == measure_connectivity(record)


@pytest.mark.parametrize(("name", "plane"), STUDY_FILMS)
def test_a_film_keeps_the_identity_of_its_phase(name, plane):
    expected = measure_connectivity(load(name).structure)
    assert is_same_phase(measure(film(name, plane)), expected)


@pytest.mark.parametrize(("name", "plane"), STUDY_FILMS)
@pytest.mark.parametrize("strain", [0.07, -0.07])
def test_strain_and_thermal_motion_do_not_change_the_identity(name, plane, strain):
    expected = measure_connectivity(load(name).structure)
    deformation = np.diag([1 + strain, 1 + strain, 1 - 0.86 * strain])
    strained = transform_crystal(repeat_crystal(film(name, plane), np.diag([2, 2, 1])), deformation)
    # a total displacement of 0.15 Å per ion
    rattled = displace_ions(strained, deviation_ang=0.15 / np.sqrt(3), seed=11)
    assert is_same_phase(measure(rattled), expected), measure(rattled).describe()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("CsPbI3-alpha", "CsPbI3-delta"),
        ("CsPbI3-delta", "CsPbI3-gamma"),
        ("FAPbI3-alpha", "FAPbI3-delta"),
        ("FAPbI3-delta", "CsPbI3-delta"),
        ("Cs4PbBr6", "CsPbBr3-gamma"),
    ],
)
def test_one_phase_is_not_taken_for_another(found, expected):
    assert not is_same_phase(*(measure_connectivity(load(name).structure) for name in (found, expected)))


def test_tilts_do_not_make_another_phase():
    assert is_same_phase(*(measure_connectivity(load(f"CsPbI3-{phase}").structure) for phase in ("alpha", "gamma")))


def test_only_the_sites_of_the_film_are_looked_at():
    yellow, black = load("CsPbI3-delta").structure, load("CsPbI3-alpha").structure
    lattice = np.diag([40.0, 40.0, 60.0])
    parts = [
        (record, np.array(record.frac_coords) @ np.array(record.lattice_ang) + [0, 0, height])
        for record, height in ((yellow, 0.0), (black, 40.0))
    ]
    both = StructureRecord(
        lattice_ang=lattice.tolist(),
        species=yellow.species + black.species,
        frac_coords=tuple(
            tuple(row) for _, positions in parts for row in (positions @ np.linalg.inv(lattice)).tolist()
        ),
    )
    only_yellow = both.model_copy(update={"species": yellow.species, "frac_coords": both.frac_coords[: yellow.n_atoms]})
    found = measure_connectivity(both, sites=frozenset(range(yellow.n_atoms)))
    assert found == measure_connectivity(only_yellow)
    assert measure_connectivity(both, sites=frozenset()) == Connectivity(0.0, 0.0, 0.0)


@given(corner=fractions, edge=fractions)
def test_a_network_overlaps_wholly_with_itself(corner, edge):
    total = corner + edge + 0.5
    network = Connectivity(corner / total, edge / total, 0.5 / total)
    assert measure_overlap(network, network) == pytest.approx(1.0)
    assert is_same_phase(network, network)


@given(first=st.tuples(fractions, fractions), second=st.tuples(fractions, fractions))
def test_overlap_is_mutual_and_a_fraction(first, second):
    a, b = (Connectivity(x / (x + y + 1), y / (x + y + 1), 1 / (x + y + 1)) for x, y in (first, second))
    assert measure_overlap(a, b) == pytest.approx(measure_overlap(b, a))
    assert 0 <= measure_overlap(a, b) <= 1 + 1e-12


def test_a_network_without_links_is_no_perovskite():
    assert not is_same_phase(Connectivity(0.0, 0.0, 0.0), Connectivity(1.0, 0.0, 0.0))


def test_links_are_told_in_words():
    assert Connectivity(0.25, 0.75, 0.0).describe() == "25% corner, 75% edge, 0% face sharing"


def test_of_two_links_that_are_equally_common_either_may_lead() -> None:
    tied = Connectivity(corner=0.5, edge=0.5, face=0.0)
    assert is_same_phase(Connectivity(corner=0.44, edge=0.56, face=0.0), tied)
    assert is_same_phase(Connectivity(corner=0.56, edge=0.44, face=0.0), tied)
    assert not is_same_phase(Connectivity(corner=0.1, edge=0.1, face=0.8), tied)
    assert not is_same_phase(Connectivity(corner=0.44, edge=0.56, face=0.0), Connectivity(corner=0.6, edge=0.4, face=0))
