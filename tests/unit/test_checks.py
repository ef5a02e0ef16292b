"""Checks after the relaxations: is it still what was asked for, and how far may it be trusted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdip_dft.analysis.checks import (
    LARGE_STRAIN,
    ONE_REGISTRY_IS_ENOUGH_ANG2,
    RELAXED_LATTICE_ALLOWANCE,
    check_cations,
    check_gap,
    check_phase,
    check_registry,
    check_strain,
    check_strain_term,
)
from qdip_dft.analysis.phases import measure_connectivity
from qdip_dft.model.structure import StructureRecord
from tests.unit.crystals import load, positions_ang

HYBRIDS = {"FAPbI3-alpha": 7, "FAPbI3-delta": 14, "MAPbI3-cubic": 7}
"""Covalent bonds in the cell: seven in each cation."""

shifts = st.tuples(*[st.integers(-150, 150).map(lambda percent: percent / 100)] * 3)


def with_positions(record: StructureRecord, positions: np.ndarray) -> StructureRecord:
    coords = positions @ np.linalg.inv(np.array(record.lattice_ang))
    return record.model_copy(update={"frac_coords": tuple(map(tuple, coords.tolist()))})


def find_bond(record: StructureRecord, pair: frozenset[str]) -> tuple[int, int]:
    """Return the sites of the shortest contact of two elements."""
    distances = np.array(record.to_pymatgen().distance_matrix)
    np.fill_diagonal(distances, np.inf)
    sites = [(i, j) for i in range(record.n_atoms) for j in range(i) if {record.species[i], record.species[j]} == pair]
    return min(sites, key=lambda bond: distances[bond])


def stretch_bond(record: StructureRecord, pair: frozenset[str], length_ang: float) -> StructureRecord:
    """Move the hydrogen (or the second atom) of a bond outwards."""
    i, j = find_bond(record, pair)
    hydrogen, other = (i, j) if record.species[i] == "H" else (j, i)
    positions, lattice = positions_ang(record), np.array(record.lattice_ang)
    bond = positions[hydrogen] - positions[other]
    images = np.round(bond @ np.linalg.inv(lattice)) @ lattice
    bond = bond - images
    positions[hydrogen] = positions[other] + images + bond / np.linalg.norm(bond) * length_ang
    return with_positions(record, positions)


@pytest.mark.parametrize(("name", "n_bonds"), HYBRIDS.items())
def test_an_unchanged_crystal_has_whole_cations(name, n_bonds):
    record = load(name).structure
    check = check_cations(record, record, part="bulk")
    assert check.is_passed
    assert f"{n_bonds} covalent bonds, 0 broken or formed" in check.finding


@pytest.mark.parametrize("name", HYBRIDS)
@settings(max_examples=15)
@given(shift=shifts)
def test_molecules_may_cross_the_cell_boundary(name, shift):
    record = load(name).structure
    coords = (np.array(record.frac_coords) + np.array(shift)) % 1.0
    wrapped = record.model_copy(update={"frac_coords": tuple(map(tuple, coords.tolist()))})
    assert check_cations(record, wrapped, part="bulk").is_passed
    assert check_cations(wrapped, record, part="bulk").is_passed


@pytest.mark.parametrize("name", HYBRIDS)
@pytest.mark.parametrize("pair", [frozenset("NH"), frozenset("CH"), frozenset("CN")], ids=["N-H", "C-H", "C-N"])
def test_a_broken_bond_is_seen(name, pair):
    record = load(name).structure
    broken = stretch_bond(record, pair, 2.2)
    check = check_cations(record, broken, part="film slab")
    assert not check.is_passed
    assert check.is_decisive
    assert check.finding.startswith("film slab: ")


@pytest.mark.parametrize("pair", [frozenset("NH"), frozenset("CH"), frozenset("CN")], ids=["N-H", "C-H", "C-N"])
@pytest.mark.parametrize("factor", [0.93, 1.07])
def test_a_vibrating_bond_is_still_the_same_bond(pair, factor):
    record = load("FAPbI3-alpha").structure
    length = 1.31 if pair == frozenset("CN") else 1.05
    assert check_cations(record, stretch_bond(record, pair, factor * length), part="bulk").is_passed


def test_a_new_bond_is_seen():
    record = load("MAPbI3-cubic").structure
    hydrogens = [i for i, symbol in enumerate(record.species) if symbol == "H"]
    nitrogen = record.species.index("N")
    positions, lattice = positions_ang(record), np.array(record.lattice_ang)
    on_carbon = max(hydrogens, key=lambda i: record.to_pymatgen().get_distance(i, nitrogen))
    to_nitrogen = positions[nitrogen] - positions[on_carbon]
    to_nitrogen -= np.round(to_nitrogen @ np.linalg.inv(lattice)) @ lattice
    positions[on_carbon] += to_nitrogen * (1 - 1.04 / np.linalg.norm(to_nitrogen))
    assert not check_cations(record, with_positions(record, positions), part="bulk").is_passed


def test_a_crystal_without_cations_has_nothing_to_break():
    record = load("CsPbI3-delta").structure
    assert check_cations(record, record, part="bulk").is_passed


@pytest.mark.parametrize("name", ["CsPbI3-alpha", "CsPbI3-delta", "FAPbI3-delta"])
def test_a_phase_is_itself(name):
    record = load(name).structure
    check = check_phase(record, expected=measure_connectivity(record), sites=None, part="bulk")
    assert check.is_passed


def test_a_film_that_became_another_phase_is_flagged_and_left_out():
    black, yellow = (load(name).structure for name in ("CsPbI3-alpha", "CsPbI3-delta"))
    check = check_phase(black, expected=measure_connectivity(yellow), sites=None, part="film slab")
    assert not check.is_passed
    assert check.is_decisive
    assert "film slab: 100% corner" in check.finding
    assert "as filed: 0% corner, 100% edge" in check.finding


@pytest.mark.parametrize(
    ("area_ang2", "n_shifts", "is_enough"),
    [(1.0, 1, True), (ONE_REGISTRY_IS_ENOUGH_ANG2, 1, True), (5.1, 1, False), (5.1, 2, True), (40.0, 9, True)],
)
def test_a_large_displacement_cell_needs_more_than_one_registry(area_ang2, n_shifts, is_enough):
    check = check_registry(displacement_area_ang2=area_ang2, n_shifts=n_shifts)
    assert check.is_passed is is_enough
    assert not check.is_decisive  # the number is worth less, but not worthless
    assert ("leave out film.registries" in check.finding) is not is_enough


@given(first=st.floats(-0.2, 0.2), second=st.floats(-0.2, 0.2), limit=st.floats(0.01, 0.1))
def test_strain_is_judged_by_its_largest_component(first, second, limit):
    kept, realistic = check_strain((first, second), limit=limit, part="film")
    largest = max(abs(first), abs(second))
    assert kept.is_passed is (largest <= limit + RELAXED_LATTICE_ALLOWANCE)
    assert realistic.is_passed is (largest <= LARGE_STRAIN)
    assert (kept.is_decisive, realistic.is_decisive) == (True, False)
    assert (kept, realistic) == check_strain((second, first), limit=limit, part="film")


@pytest.mark.parametrize(("strains", "shown"), [((-0.041, 0.02), "-4.10%"), ((0.01, 0.035), "+3.50%")])
def test_the_sign_of_the_largest_strain_is_told(strains, shown):
    for check in check_strain(strains, limit=0.05, part="film"):
        assert shown in check.finding
        assert check.name.startswith("film strain")


def test_a_film_that_is_still_pulled_is_noticed() -> None:
    assert check_gap(traction_ev_per_ang3=0.5 / 300).is_passed is False
    assert "finer preset" in check_gap(traction_ev_per_ang3=-0.5 / 300).finding


def test_a_film_at_its_distance_passes() -> None:
    assert check_gap(traction_ev_per_ang3=0.1 / 300).is_passed


def test_a_negative_strain_term_is_explained_and_not_decisive() -> None:
    found = check_strain_term(-0.013)
    assert not found.is_passed
    assert not found.is_decisive
    assert "-13 meV" in found.finding
    assert check_strain_term(0.0).is_passed
