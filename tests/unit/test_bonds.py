"""Bond valences: the table, its inverse, and the valence sums that a crystal must have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdip_dft.builders.bonds import find_bonds
from qdip_dft.builders.ions import IonicCrystal, find_ions, repeat_crystal
from qdip_dft.errors import StructureError
from qdip_dft.model.bond_valence import _SIZE_AND_SOFTNESS, bond_length_ang, bond_valence_radius_ang
from tests.unit.crystals import TEST_CHARGES, load_ions, make_record


def valence_sums(crystal: IonicCrystal) -> np.ndarray:
    sums = np.zeros(len(crystal.ions))
    for bond in find_bonds(crystal):
        sums[bond.first] += bond.valence
        sums[bond.second] += bond.valence
    return sums


def test_the_parameters_are_those_of_the_table_that_pymatgen_ships() -> None:
    from pymatgen.analysis.bond_valence import BV_PARAMS

    published = {element.symbol: (numbers["r"], numbers["c"]) for element, numbers in BV_PARAMS.items()}
    assert published == _SIZE_AND_SOFTNESS


@pytest.mark.parametrize(("first", "second"), [("Pb", "I"), ("Pb", "S"), ("Cs", "I"), ("Cd", "Se"), ("N", "Br")])
def test_a_bond_is_the_same_from_both_ends(first, second):
    assert bond_valence_radius_ang(first, second) == pytest.approx(bond_valence_radius_ang(second, first), abs=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "radius_ang"),
    # Brese and O'Keeffe, Acta Cryst. B 47, 192 (1991), table 2: fitted pair by pair to measured crystals, independent
    # of the combination rule that we use; the two agree to a few hundredths of an ångström for these pairs.
    [
        ("Pb", "I", 2.78),
        ("Pb", "S", 2.55),
        ("Cs", "I", 3.18),
        ("Pb", "Br", 2.64),
        ("Cd", "Se", 2.40),
        ("Zn", "S", 2.09),
    ],
)
def test_radii_agree_with_those_fitted_to_crystals(first, second, radius_ang):
    assert bond_valence_radius_ang(first, second) == pytest.approx(radius_ang, abs=0.1)


@given(valence=st.floats(0.05, 2.0))
def test_length_and_valence_are_inverse(valence):
    length = bond_length_ang("Pb", "I", valence)
    assert np.exp((bond_valence_radius_ang("Pb", "I") - length) / 0.31) == pytest.approx(valence, rel=1e-9)


def test_a_stronger_bond_is_shorter():
    assert bond_length_ang("Pb", "I", 1.0) < bond_length_ang("Pb", "I", 0.5) < bond_length_ang("Pb", "I", 1 / 3)


def test_an_element_without_parameters_is_refused():
    with pytest.raises(StructureError, match="extend the table with a published value"):
        bond_valence_radius_ang("Pb", "He")


@pytest.mark.parametrize("name", ["PbS", "CsPbI3-delta", "CsPbI3-gamma", "CsI", "PbI2", "FAPbI3-delta", "MAPbI3-cubic"])
def test_valence_sums_come_near_the_formal_charges(name):
    # Brown's rule: within about a fifth of a unit in relaxed crystals; the soft lead and caesium halides reach 0.5.
    crystal = load_ions(name)
    assert np.abs(valence_sums(crystal) - np.abs(crystal.charges)).max() < 0.55


def test_a_bond_is_listed_once():
    bonds = find_bonds(load_ions("PbS"))
    assert len(bonds) == 6 * 4  # six per cation, four cations in the cell
    both_ways = {(b.first, b.second, b.translation) for b in bonds} | {
        (b.second, b.first, tuple(-t for t in b.translation)) for b in bonds
    }
    assert len(both_ways) == 2 * len(bonds)


def test_ions_of_like_charge_are_not_bonded():
    crystal = load_ions("FAPbI3-delta")
    for bond in find_bonds(crystal):
        assert crystal.ions[bond.first].charge * crystal.ions[bond.second].charge < 0


def test_a_neutral_crystal_is_bonded_all_the_same():
    assert len(find_bonds(load_ions("black-P"))) > 0


@pytest.mark.parametrize("name", ["FAPbI3-alpha", "FAPbI3-delta", "MAPbI3-cubic"])
def test_a_molecule_is_bound_as_one_ion_by_its_whole_charge(name):
    crystal = load_ions(name)
    sums = valence_sums(crystal)
    cations = [i for i, ion in enumerate(crystal.ions) if len(ion.species) > 1]
    # contacts below the least valence of 0.02 are left out, a tenth of a unit at most
    assert sums[cations] == pytest.approx(np.ones(len(cations)), abs=0.1)
    partners = {
        b.second if b.first in cations else b.first for b in find_bonds(crystal) if {b.first, b.second} & {*cations}
    }
    assert {crystal.ions[p].label for p in partners} == {"I"}


@pytest.mark.parametrize("name", ["CsPbI3-delta", "FAPbI3-alpha"])
def test_valences_are_extensive(name):
    crystal = load_ions(name)
    total = sum(bond.valence for bond in find_bonds(crystal))
    doubled = sum(bond.valence for bond in find_bonds(repeat_crystal(crystal, np.diag([1, 2, 1]))))
    assert doubled == pytest.approx(2 * total, rel=1e-6)


@given(shift=st.lists(st.integers(-2, 2), min_size=6, max_size=6))
def test_translations_refer_to_the_centres_as_given(shift):
    lattice = np.diag([5.0, 5.0, 5.0])
    record = make_record(lattice, ["Pb", "S"], [[0, 0, 0], [2.5, 0, 0]])
    crystal = find_ions(record, TEST_CHARGES)
    moved = IonicCrystal(lattice, crystal.ions, crystal.frac_centres + np.array(shift).reshape(2, 3))
    for bond in find_bonds(moved):
        vector = moved.centres_ang[bond.second] + np.array(bond.translation) @ lattice - moved.centres_ang[bond.first]
        assert np.exp((bond_valence_radius_ang("Pb", "S") - np.linalg.norm(vector)) / 0.31) == pytest.approx(
            bond.valence, rel=1e-6
        )
