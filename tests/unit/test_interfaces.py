"""Joining two slabs at contact, and the gate that refuses unsound structures."""

from __future__ import annotations

import numpy as np
import pytest
from ase.data import atomic_numbers, covalent_radii
from hypothesis import given, settings
from hypothesis import strategies as st

from qdip_dft.builders.films import atom_positions, in_vacuum
from qdip_dft.builders.interfaces import (
    SAFE_COVALENT_RATIO,
    START_COMPRESSION,
    check_built,
    join_slabs,
)
from qdip_dft.builders.ions import Ion, IonicCrystal
from qdip_dft.errors import ChargeBalanceError, InterfaceError
from qdip_dft.model.elements import CONTACT_RADII_ANG

CHARGES = {"Pb": 2, "S": -2, "Cs": 1, "I": -1}
shifts = st.tuples(*[st.integers(-150, 150).map(lambda hundredths: hundredths / 100)] * 2)
skews = st.integers(-4, 4)


def slab(
    species: str, positions_ang: list[list[float]], in_plane: np.ndarray, height_ang: float = 20.0
) -> IonicCrystal:
    """Return a slab of single ions, named by blanks between their symbols."""
    lattice = np.zeros((3, 3))
    lattice[:2, :2] = in_plane
    lattice[2, 2] = height_ang
    ions = tuple(Ion(s, CHARGES[s], (s,), np.zeros((1, 3)), (i,)) for i, s in enumerate(species.split()))
    return IonicCrystal(lattice, ions, np.array(positions_ang) @ np.linalg.inv(lattice))


SQUARE = np.diag([6.0, 6.0])
DOT = [[0.0, 0.0, 0.0], [3.0, 3.0, 0.0], [3.0, 0.0, 1.0], [0.0, 3.0, 1.0]]
FILM = [[0.5, 0.2, 0.0], [3.5, 3.1, 0.4], [1.0, 4.0, 3.0], [4.0, 1.0, 3.0]]


def make_dot(in_plane: np.ndarray = SQUARE) -> IonicCrystal:
    return slab("Pb Pb S S", DOT, in_plane)


def make_film(in_plane: np.ndarray = SQUARE) -> IonicCrystal:
    return slab("Cs I Cs I", FILM, in_plane)


def join(dot: IonicCrystal, film: IonicCrystal, shift: tuple[float, float] = (0.0, 0.0)) -> IonicCrystal:
    return join_slabs(dot, film, shift_ang=np.array(shift), vacuum_ang=15.0)


def covalent_radius_ang(symbol: str) -> float:
    return float(covalent_radii[atomic_numbers[symbol]])


def closest_contact_ang(joined: IonicCrystal, n_dot: int) -> float:
    """Return by how much the tightest pair of dot and film exceeds the sum of its contact radii, images included."""
    positions = atom_positions(joined)
    species = [symbol for ion in joined.ions for symbol in ion.species]
    excess = []
    for i in range(n_dot):
        for j in range(n_dot, len(species)):
            ionic = START_COMPRESSION * (CONTACT_RADII_ANG[species[i]] + CONTACT_RADII_ANG[species[j]])
            contact = max(
                ionic, SAFE_COVALENT_RATIO * (covalent_radius_ang(species[i]) + covalent_radius_ang(species[j]))
            )
            for n in range(-12, 13):
                for m in range(-12, 13):
                    vector = positions[j] - positions[i] + n * joined.lattice_ang[0] + m * joined.lattice_ang[1]
                    excess.append(float(np.linalg.norm(vector)) - contact)
    return min(excess)


@settings(max_examples=10)
@given(shift=shifts)
def test_film_and_dot_touch_and_do_not_overlap(shift):
    joined = join(make_dot(), make_film(), shift)
    assert closest_contact_ang(joined, 4) == pytest.approx(0, abs=1e-6)


@given(shift=shifts, skew=skews)
def test_the_height_does_not_depend_on_the_choice_of_cell_vectors(shift, skew):
    square = np.diag([4.0, 4.0])
    skewed = square + np.array([[0, 0], [4.0 * skew, 0]])
    pairs = [(slab("Pb", [[0, 0, 0]], cell), slab("I", [[1, 2, 0]], cell)) for cell in (square, skewed)]
    plain, other = (join(dot, film, shift) for dot, film in pairs)
    assert atom_positions(other)[:, 2] == pytest.approx(atom_positions(plain)[:, 2], abs=1e-9)


@settings(max_examples=20)
@given(cells=st.lists(st.integers(-3, 3), min_size=8, max_size=8))
def test_the_height_does_not_depend_on_the_cells_that_atoms_are_listed_in(cells):
    film = make_film()
    moved = film.frac_centres + np.hstack([np.array(cells).reshape(4, 2), np.zeros((4, 1))])
    joined = join(make_dot(), IonicCrystal(film.lattice_ang, film.ions, moved))
    assert atom_positions(joined)[:, 2] == pytest.approx(atom_positions(join(make_dot(), film))[:, 2], abs=1e-9)


@given(shift=shifts)
def test_shifting_by_a_lattice_vector_changes_nothing(shift):
    once = join(make_dot(), make_film(), shift)
    again = join(make_dot(), make_film(), (shift[0] + 6.0, shift[1] - 6.0))
    assert atom_positions(again)[:, 2] == pytest.approx(atom_positions(once)[:, 2], abs=1e-9)


def test_the_dot_comes_first_and_keeps_its_shape():
    joined = join(make_dot(), make_film(), (1.0, 2.0))
    assert [ion.label for ion in joined.ions] == ["Pb", "Pb", "S", "S", "Cs", "I", "Cs", "I"]
    for part, start, positions in ((joined.centres_ang[:4], 0.0, DOT), (joined.centres_ang[4:], 1.0, FILM)):
        assert part - part[0] == pytest.approx(np.array(positions) - np.array(positions)[0], abs=1e-9), start


def test_the_film_is_displaced_as_asked():
    plain, moved = join(make_dot(), make_film()), join(make_dot(), make_film(), (1.0, 2.0))
    assert moved.centres_ang[4:, :2] - plain.centres_ang[4:, :2] == pytest.approx(np.tile([1.0, 2.0], (4, 1)), abs=1e-9)


def test_the_vacuum_is_above_the_film():
    joined = join(make_dot(), make_film())
    heights = atom_positions(joined)[:, 2]
    assert heights.min() == pytest.approx(0, abs=1e-9)
    assert joined.lattice_ang[2, 2] - heights.max() == pytest.approx(15.0, abs=1e-9)


def test_where_the_slabs_come_from_along_the_normal_does_not_matter():
    dot, film = make_dot(), make_film()
    lifted = IonicCrystal(film.lattice_ang, film.ions, film.frac_centres + np.array([0.0, 0.0, 3.7]))
    assert atom_positions(join(dot, lifted)) == pytest.approx(atom_positions(join(dot, film)), abs=1e-9)


def test_slabs_of_different_cells_are_refused():
    with pytest.raises(InterfaceError, match="build both slabs on one interface cell"):
        join(make_dot(), make_film(SQUARE * 1.001))


def test_the_gate_lets_a_sound_structure_pass():
    joined = join(make_dot(), make_film())
    assert check_built(joined, name="interface") is joined


def test_the_gate_refuses_a_charge():
    charged = slab("Pb I", [[0, 0, 0], [3, 3, 2]], SQUARE)
    with pytest.raises(ChargeBalanceError, match=r"add 1 monovalent ion\(s\) of the opposite sign"):
        check_built(charged, name="slab")


def test_the_gate_refuses_atoms_that_overlap():
    overlapping = slab("Cs I", [[0, 0, 0], [1.0, 0, 2.0]], SQUARE)
    with pytest.raises(InterfaceError, match="choose another termination, registry shift or a less strained cell"):
        check_built(overlapping, name="slab")


def test_the_gate_sees_overlaps_across_the_cell_boundary():
    overlapping = slab("Cs I", [[0.2, 0, 0], [5.8, 0, 2.0]], SQUARE)
    with pytest.raises(InterfaceError, match="Å apart"):
        check_built(overlapping, name="slab")


def test_the_gate_refuses_a_left_handed_cell():
    left = slab("Cs I", [[0, 0, 0], [3, 3, 3.0]], SQUARE[::-1])
    with pytest.raises(InterfaceError, match="left-handed"):
        check_built(left, name="slab")


def test_the_gate_refuses_a_leaning_cell():
    upright = make_dot()
    tilt = np.array([[0, 0, 0], [0, 0, 0], [1.0, 0, 0]])
    leaning = IonicCrystal(upright.lattice_ang + tilt, upright.ions, upright.frac_centres)
    with pytest.raises(InterfaceError, match="not normal to the plane"):
        check_built(leaning, name="slab")


def test_atoms_of_one_molecule_may_be_close():
    methane_like = Ion("CH", 0, ("C", "H"), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.09]]), (0, 1))
    lattice = np.diag([6.0, 6.0, 20.0])
    crystal = in_vacuum(IonicCrystal(lattice, (methane_like,), np.zeros((1, 3))), 15.0)
    assert check_built(crystal, name="molecule") is crystal


def test_large_ions_are_kept_apart_as_well():
    """Two Cs⁺ need 0.75 · 2 · 2.44 = 3.66 Å, more than any other pair."""
    crowded = slab("Cs I Cs I", [[0, 0, 0], [3.5, 3.5, 0], [0, 0, 3.4], [3.5, 3.5, 3.6]], np.diag([7.0, 7.0]))
    with pytest.raises(InterfaceError, match="choose another termination"):
        check_built(crowded, name="film")
