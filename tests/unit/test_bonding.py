"""Molecules are what covalent bonds hold together, in any cell; an endless network is none."""

from __future__ import annotations

from itertools import pairwise
from math import log
from time import process_time

import numpy as np
import pytest
from crystal_builders.graphene import build_graphene
from hypothesis import given, settings
from hypothesis import strategies as st

from qdip_dft.analysis.checks import check_cations
from qdip_dft.builders.ions import find_ions, name_ions
from qdip_dft.engines.relaxation.model_hessian import _molecule_motions
from qdip_dft.library.contacts import find_molecules as find_molecules_of_file
from qdip_dft.model.molecules import find_bonds, find_molecules
from qdip_dft.model.structure import Arrangement, StructureRecord
from qdip_dft.results.structure_export import label_structure
from tests.unit.crystals import load

CHARGES = {"C": 0, "H": 1, "O": -2, "OH": -1}


def arrays(record: StructureRecord) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    lattice = np.array(record.lattice_ang)
    return record.species, np.array(record.frac_coords) @ lattice, lattice


def supercell(record: StructureRecord, times: tuple[int, int, int]) -> StructureRecord:
    return StructureRecord.from_pymatgen(record.to_pymatgen() * times)


def brute_force_bonds(species: tuple[str, ...], positions: np.ndarray, lattice: np.ndarray) -> int:
    """Count bonds over all images of the neighbouring cells, each once."""
    radii = {"H": 0.31, "C": 0.76, "N": 0.71, "O": 0.66}
    sites = [site for site, symbol in enumerate(species) if symbol in radii]
    cells = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T @ lattice
    count = 0
    for one in sites:
        for other in sites:
            distances = np.linalg.norm(positions[other] + cells - positions[one], axis=1)
            count += int(
                np.sum((distances > 1e-3) & (distances < 1.25 * (radii[species[one]] + radii[species[other]])))
            )
    return count // 2


@pytest.mark.parametrize("groups", [{}, {"hydroxyl_pairs": 1}, {"epoxides": 1}, {"carbonyl_pairs": 1}])
def test_a_sheet_of_graphene_is_no_molecule_anywhere(groups):
    sheet = StructureRecord.from_pymatgen(build_graphene(4, spacing_ang=12.0, **groups))
    assert find_molecules(sheet.arrangement) == ()
    assert find_molecules_of_file(sheet.to_pymatgen()) == []
    assert {len(ion.species) for ion in find_ions(sheet, CHARGES).ions} == {1}
    assert len(name_ions(label_structure(sheet))) == sheet.n_atoms
    molecules = find_molecules(sheet.arrangement)
    stiff = _molecule_motions(molecules, sheet.arrangement, np.zeros((0, 3, 3)), np.eye(3))
    assert stiff.by_site.shape[0] == 0


@pytest.mark.parametrize("name", ["FAPbI3-alpha", "MAPbI3-cubic", "graphene-carbonyl"])
def test_bonds_are_those_of_all_images(name):
    structure = load(name).structure
    assert len(find_bonds(structure.arrangement).first) == brute_force_bonds(*arrays(structure))


@settings(max_examples=20, deadline=None)
@given(steps=st.lists(st.tuples(*[st.integers(-2, 2)] * 3), min_size=8, max_size=8))
def test_a_molecule_is_whole_in_whatever_cells_its_atoms_are_listed(steps):
    species = ("C", "H", "H", "H", "H")
    places = np.array([[0, 0, 0], [0.63, 0.63, 0.63], [-0.63, -0.63, 0.63], [-0.63, 0.63, -0.63], [0.63, -0.63, -0.63]])
    lattice = np.diag([5.0, 6.0, 7.0])
    scattered = places + np.array(steps[:5]) @ lattice
    (molecule,) = find_molecules(Arrangement(species, scattered, lattice))
    whole = scattered[list(molecule.sites)] + molecule.cells @ lattice
    assert molecule.sites == (0, 1, 2, 3, 4)
    assert whole - whole[0] == pytest.approx(places - places[0], abs=1e-9)


def test_a_lost_hydrogen_is_a_broken_bond():
    before = load("MAPbI3-cubic").structure
    coords = np.array(before.frac_coords)
    hydrogen = before.species.index("H")
    coords[hydrogen] += 0.5
    after = before.model_copy(update={"frac_coords": tuple(map(tuple, coords.tolist()))})
    assert check_cations(before, before, part="film slab").is_passed
    assert "1 broken" in check_cations(before, after, part="film slab").finding


def test_grouping_grows_with_the_number_of_atoms_only():
    crystal = load("FAPbI3-alpha")
    times = [(3, 3, 2), (4, 4, 5), (7, 7, 7)]
    cells = [supercell(crystal.structure, size) for size in times]
    seconds = [min(_measure(cell, crystal.formal_charges) for _ in range(3)) for cell in cells]
    growth = [
        log(after / before) / log(large.n_atoms / small.n_atoms)
        for (before, after), (small, large) in zip(pairwise(seconds), pairwise(cells), strict=True)
    ]
    assert cells[-1].n_atoms > 4000
    assert max(growth) < 1.6
    assert seconds[1] < 0.5


def _measure(record: StructureRecord, charges: dict[str, int]) -> float:
    start = process_time()
    find_ions(record, charges)
    return process_time() - start
