"""Rigid ions: found whole wherever the cell is cut, and never bent, stretched or mirrored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdip_dft.builders.ions import IonicCrystal, find_ions, repeat_crystal, transform_crystal
from qdip_dft.errors import StructureError
from qdip_dft.model.structure import StructureRecord
from tests.unit.crystals import (
    HANDEDNESS_ANG3,
    TEST_CHARGES,
    chiral_crystal,
    distances_of,
    handedness_ang3,
    internal_distances_ang,
    load,
    load_ions,
    make_record,
    positions_ang,
)

HYBRIDS = ("FAPbI3-alpha", "FAPbI3-delta", "MAPbI3-cubic", "MAPbBr3-cubic")

tenths = st.integers(-100, 100).map(lambda permille: permille / 1000)
shifts = st.tuples(*[st.integers(-300, 300).map(lambda percent: percent / 100)] * 3)


@st.composite
def deformations(draw: st.DrawFn) -> np.ndarray:
    """Draw a deformation whose components differ from those of the identity by up to 10 %."""
    return np.eye(3) + np.array([[draw(tenths) for _ in range(3)] for _ in range(3)])


@st.composite
def supercells(draw: st.DrawFn) -> np.ndarray:
    """Draw an integer matrix of small positive determinant."""
    matrix = np.array([[draw(st.integers(-2, 2)) for _ in range(3)] for _ in range(3)])
    determinant = round(float(np.linalg.det(matrix)))
    if determinant == 0:
        return np.eye(3, dtype=int)
    matrix[0] *= int(np.sign(determinant))
    return matrix


def moved(record: StructureRecord, shift: tuple[float, float, float], *, is_wrapped: bool) -> StructureRecord:
    coords = np.array(record.frac_coords) + np.array(shift)
    coords = coords % 1.0 if is_wrapped else coords
    return record.model_copy(update={"frac_coords": tuple(map(tuple, coords.tolist()))})


def labels(crystal: IonicCrystal) -> list[str]:
    return sorted(ion.label for ion in crystal.ions)


@pytest.mark.parametrize("name", HYBRIDS)
@settings(max_examples=15)
@given(shift=shifts)
def test_molecules_are_found_whole_wherever_the_cell_boundary_lies(name, shift):
    crystal = load(name)
    found = find_ions(moved(crystal.structure, shift, is_wrapped=True), crystal.formal_charges)
    assert labels(found) == labels(load_ions(name))
    for ours, expected in zip(internal_distances_ang(found), internal_distances_ang(load_ions(name)), strict=True):
        assert ours == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", HYBRIDS)
def test_every_atom_belongs_to_exactly_one_ion(name):
    crystal = load(name)
    sites = [site for ion in load_ions(name).ions for site in ion.site_indices]
    assert sorted(sites) == list(range(crystal.structure.n_atoms))


@pytest.mark.parametrize("name", [*HYBRIDS, "PbS", "CsPbI3-delta", "Cs4PbBr6", "CdSe-wurtzite"])
def test_the_formal_charges_of_a_crystal_sum_to_zero(name):
    assert load_ions(name).formal_charge == 0


def test_the_hybrid_has_one_cation_lead_and_three_halides_per_formula_unit():
    assert labels(load_ions("FAPbI3-delta")) == sorted(["FA", "Pb", "I", "I", "I"] * 2)


@pytest.mark.parametrize("repeats", [[1, 1, 1], [3, 2, 1]])
def test_an_endless_sheet_stays_single_atoms(repeats):
    a = 2.46  # graphene
    lattice = [[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, 15.0]]
    sheet = make_record(lattice, ["C", "C"], [[0, 0, 0], [0, a / np.sqrt(3), 0]])
    supercell = StructureRecord.from_pymatgen(sheet.to_pymatgen() * repeats)
    assert labels(find_ions(supercell, {"C": 0})) == ["C"] * 2 * int(np.prod(repeats))


def test_an_endless_chain_does_not_swallow_a_molecule_beside_it():
    chain = [[0, 0, z] for z in (0.0, 1.25)]
    water = [[5, 5, 0], [5.76, 5.59, 0], [4.24, 5.59, 0]]
    record = make_record(np.diag([12.0, 12.0, 2.5]), ["C", "C", "O", "H", "H"], [*chain, *water])
    found = find_ions(record, {"C": 0, "H2O": 0})
    assert labels(found) == ["C", "C", "H2O"]


def test_an_ion_without_a_charge_is_refused():
    with pytest.raises(StructureError, match="add the ion to formal_charges"):
        find_ions(load("FAPbI3-alpha").structure, {"Pb": 2, "I": -1})


def test_a_broken_molecule_is_refused_by_its_unknown_parts():
    crystal = load("MAPbI3-cubic")
    coords = np.array(crystal.structure.frac_coords)
    hydrogen = crystal.structure.species.index("H")
    coords[hydrogen] += [0.3, 0.0, 0.0]
    torn = crystal.structure.model_copy(update={"frac_coords": tuple(map(tuple, coords.tolist()))})
    with pytest.raises(StructureError, match="check that no molecule is broken"):
        find_ions(torn, crystal.formal_charges)


@pytest.mark.parametrize("name", HYBRIDS)
def test_the_atoms_come_back_where_they_were(name):
    crystal, found = load(name), load_ions(name)
    order = [site for ion in found.ions for site in ion.site_indices]
    back = found.to_record()
    assert back.species == tuple(crystal.structure.species[i] for i in order)
    difference = np.array(back.frac_coords) - np.array(crystal.structure.frac_coords)[order]
    assert (difference - np.round(difference)) @ np.array(back.lattice_ang) == pytest.approx(0, abs=1e-9)


@given(shift=shifts)
def test_finding_ions_twice_changes_nothing(shift):
    once = find_ions(moved(chiral_crystal(), shift, is_wrapped=True), TEST_CHARGES)
    twice = find_ions(once.to_record(), TEST_CHARGES)
    assert positions_ang(twice.to_record()) == pytest.approx(positions_ang(once.to_record()), abs=1e-9)


@given(deformation=deformations())
def test_a_deformation_keeps_bond_lengths_and_handedness(deformation):
    crystal = find_ions(chiral_crystal(), TEST_CHARGES)
    strained = transform_crystal(crystal, deformation)
    assert internal_distances_ang(strained)[0] == pytest.approx(internal_distances_ang(crystal)[0], abs=1e-9)
    assert handedness_ang3(strained) == pytest.approx([HANDEDNESS_ANG3], abs=1e-9)


def test_the_chiral_molecule_is_not_its_mirror_image():
    mirror = np.diag([1.0, 1.0, -1.0])
    record = chiral_crystal()
    reflected = make_record(record.lattice_ang, record.species, positions_ang(record) @ mirror)
    assert handedness_ang3(find_ions(reflected, TEST_CHARGES)) == pytest.approx([-HANDEDNESS_ANG3], abs=1e-9)
    assert abs(HANDEDNESS_ANG3) > 1


@given(deformation=deformations())
def test_a_deformation_moves_every_centre_with_the_lattice(deformation):
    crystal = load_ions("FAPbI3-delta")
    strained = transform_crystal(crystal, deformation)
    assert strained.centres_ang == pytest.approx(crystal.centres_ang @ deformation.T, abs=1e-9)
    assert strained.lattice_ang == pytest.approx(crystal.lattice_ang @ deformation.T, abs=1e-12)


def test_a_rotation_turns_the_crystal_as_a_whole():
    turn = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    crystal = load_ions("MAPbI3-cubic")
    before, after = positions_ang(crystal.to_record()), positions_ang(transform_crystal(crystal, turn).to_record())
    assert after == pytest.approx(before @ turn.T, abs=1e-9)


def test_no_deformation_changes_nothing():
    crystal = load_ions("FAPbI3-alpha")
    same = transform_crystal(crystal, np.eye(3))
    assert positions_ang(same.to_record()) == pytest.approx(positions_ang(crystal.to_record()), abs=1e-12)


@given(deformation=deformations())
def test_a_new_lattice_keeps_fractional_centres(deformation):
    crystal = load_ions("MAPbI3-cubic")
    lattice = crystal.lattice_ang @ deformation.T
    strained = transform_crystal(crystal, deformation)
    assert strained.lattice_ang == pytest.approx(lattice, abs=1e-9)
    assert np.array_equal(strained.frac_centres, crystal.frac_centres)
    assert distances_of(strained.ions[0].offsets_ang) == pytest.approx(
        distances_of(crystal.ions[0].offsets_ang), abs=1e-9
    )


@settings(max_examples=40)
@given(matrix=supercells())
def test_a_supercell_multiplies_atoms_charge_and_volume(matrix):
    crystal = load_ions("FAPbI3-alpha")
    repeated = repeat_crystal(crystal, matrix)
    multiple = round(float(np.linalg.det(matrix)))
    assert labels(repeated) == sorted(labels(crystal) * multiple)
    volume = float(np.linalg.det(repeated.lattice_ang))
    assert volume == pytest.approx(multiple * float(np.linalg.det(crystal.lattice_ang)), rel=1e-9)


@settings(max_examples=40)
@given(matrix=supercells())
def test_a_supercell_is_the_same_crystal(matrix):
    crystal = load_ions("PbS")
    repeated = repeat_crystal(crystal, matrix)
    coords = repeated.centres_ang @ np.linalg.inv(crystal.lattice_ang)
    for ion, coord in zip(repeated.ions, coords, strict=True):
        like = [c for other, c in zip(crystal.ions, crystal.frac_centres, strict=True) if other.label == ion.label]
        assert min(float(np.abs(coord - c - np.round(coord - c)).max()) for c in like) < 1e-9
    inside = coords @ np.linalg.inv(matrix)
    wrapped = np.round((inside - np.floor(inside + 1e-9)), 6)
    assert len({tuple(row) for row in wrapped.tolist()}) == len(repeated.ions)


def test_stacking_keeps_ions_at_their_height():
    crystal = load_ions("FAPbI3-delta")
    repeated = repeat_crystal(crystal, np.diag([2, 1, 1]))
    assert sorted(np.round(repeated.frac_centres[:, 2], 9)) == sorted(
        np.round(np.repeat(crystal.frac_centres[:, 2], 2), 9)
    )


def test_builders_leave_their_crystal_alone():
    crystal = load_ions("FAPbI3-alpha")
    lattice, centres = crystal.lattice_ang.copy(), crystal.frac_centres.copy()
    transform_crystal(crystal, np.diag([1.1, 1.0, 0.9]))
    repeat_crystal(crystal, np.diag([2, 1, 1]))
    assert np.array_equal(crystal.lattice_ang, lattice)
    assert np.array_equal(crystal.frac_centres, centres)
