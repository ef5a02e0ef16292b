"""Layered hosts, oriented cations and graphene: whole molecules, free contacts, no dipole, cut between the layers."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest
from crystal_builders.graphene import build_graphene
from crystal_builders.layered import LayeredCell, build_layered_host, place_along
from crystal_builders.molecules import build_methylammonium, build_phenethylammonium
from pymatgen.core import Structure

from qdip_dft.builders.cleavage import find_terminations
from qdip_dft.builders.ions import IonicCrystal, find_ions
from qdip_dft.errors import StructureError
from qdip_dft.library.crystals import load_crystal
from qdip_dft.model.structure import StructureRecord
from tests.unit.crystals import TEST_CHARGES, distances_of, load_face

GAP_ANG = 17.5
every_thickness = pytest.mark.parametrize("n_sheets", [1, 2, 3])


def make_cell(n_sheets: int) -> LayeredCell:
    return LayeredCell(n_sheets=n_sheets, bond_ang=2.937, gap_ang=GAP_ANG)


@cache
def build(n_sheets: int) -> StructureRecord:
    return StructureRecord.from_pymatgen(build_layered_host(make_cell(n_sheets), seed=1))


def ions_of(n_sheets: int) -> IonicCrystal:
    return find_ions(build(n_sheets), TEST_CHARGES)


def contacts(n_sheets: int, pair: set[str], reach_ang: float) -> list[float]:
    """Return the distances between atoms of two elements that belong to different ions."""
    crystal = ions_of(n_sheets)
    record = crystal.to_record()
    owner = np.repeat(np.arange(len(crystal.ions)), [len(ion.species) for ion in crystal.ions])
    neighbours = record.to_pymatgen().get_neighbor_list(reach_ang)
    return [
        distance
        for first, second, image, distance in zip(*neighbours, strict=True)
        if {record.species[first], record.species[second]} == pair and (owner[first] != owner[second] or image.any())
    ]


# ── (PEA)2Cs(n−1)PbnBr(3n+1) ─────────────────────────────────────────────────────────────────────────────────────────


@every_thickness
def test_a_layered_host_has_its_formula_and_is_neutral(n_sheets):
    crystal = ions_of(n_sheets)
    counts = Counter(ion.label for ion in crystal.ions)
    expected = {"PEA": 2, "Cs": n_sheets - 1, "Pb": n_sheets, "Br": 3 * n_sheets + 1}
    assert counts == {label: count for label, count in expected.items() if count}
    assert crystal.formal_charge == 0


@every_thickness
def test_every_spacer_is_whole_and_undistorted(n_sheets):
    expected = distances_of(build_phenethylammonium().positions_ang)
    spacers = [ion for ion in ions_of(n_sheets).ions if ion.label == "PEA"]
    assert len(spacers) == 2
    for spacer in spacers:
        assert distances_of(spacer.offsets_ang) == pytest.approx(expected, abs=1e-6)


@every_thickness
def test_no_hydrogen_of_a_spacer_touches_anything(n_sheets):
    assert min(contacts(n_sheets, {"H", "Br"}, 3.5)) >= 2.5
    assert min(contacts(n_sheets, {"H"}, 3.0)) >= 2.0


@every_thickness
def test_every_lead_has_six_bromides_at_the_asked_distance(n_sheets):
    lengths = contacts(n_sheets, {"Pb", "Br"}, 3.5)
    assert len(lengths) == 2 * 6 * n_sheets  # each contact is listed from both ends
    assert lengths == pytest.approx([2.937] * len(lengths), abs=1e-6)


@every_thickness
def test_a_layered_host_has_no_dipole_across_its_layers(n_sheets):
    crystal = ions_of(n_sheets)
    assert float(crystal.charges @ crystal.centres_ang[:, 2]) == pytest.approx(0.0, abs=1e-6)


@every_thickness
def test_the_ammonium_groups_face_the_sheet(n_sheets):
    crystal = ions_of(n_sheets)
    for ion, centre in zip(crystal.ions, crystal.centres_ang, strict=True):
        if ion.label == "PEA":
            nitrogen = ion.offsets_ang[ion.species.index("N")]
            assert nitrogen[2] * centre[2] < 0  # the molecule's centre is farther from the middle of the slab


def test_the_same_seed_builds_the_same_host():
    again = StructureRecord.from_pymatgen(build_layered_host(make_cell(1), seed=1))
    assert again == build(1)


def test_a_gap_that_is_too_narrow_is_refused():
    with pytest.raises(StructureError, match="widen the gap"):
        build_layered_host(LayeredCell(n_sheets=1, bond_ang=2.937, gap_ang=12.0), seed=1)


@pytest.mark.parametrize("name", ["PEA2PbBr4", "PEA2CsPb2Br7"])
def test_a_layered_host_is_cut_between_its_spacers(name):
    best = find_terminations(load_face(name, "001").oriented)[0]
    assert (best.bottom, best.top) == ("PEA", "PEA")
    assert best.broken_valence < 0.05


@pytest.mark.parametrize(("name", "plane"), [("black-P", "010"), ("SnS", "010"), ("graphene", "001")])
def test_a_layered_dot_is_cut_in_its_van_der_waals_gap(name, plane):
    best = find_terminations(load_face(name, plane).oriented)[0]
    others = [find_terminations(load_face(name, other).oriented)[0] for other in ("100", "110")]
    assert best.broken_valence < 0.1
    assert all(other.broken_valence > 5 * best.broken_valence for other in others)


# ── cations along an axis ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("axis", [(0, 0, 1), (0, 0, -1), (1, -2, 0.5)])
@pytest.mark.parametrize("turn_deg", [0.0, 37.0])
def test_a_cation_is_placed_along_its_axis_without_distortion(axis, turn_deg):
    cage = load_crystal("CsPbI3-alpha").structure
    cation = build_methylammonium()
    filled = place_along(cage, cation, centre_frac=[0.5, 0.5, 0.5], axis=axis, turn_deg=turn_deg)
    placed = np.array([site.coords for site in filled[len(cage) :]])
    bond = placed[1] - placed[0]
    assert bond / np.linalg.norm(bond) == pytest.approx(np.array(axis) / np.linalg.norm(axis), abs=1e-9)
    assert distances_of(placed) == pytest.approx(distances_of(cation.positions_ang), abs=1e-9)
    assert np.linalg.det(placed[2:5] - placed[0]) == pytest.approx(
        np.linalg.det(cation.positions_ang[2:5] - cation.positions_ang[0]), abs=1e-9
    )
    assert len(cage) == 5


@pytest.mark.parametrize("name", ["MAI", "MABr"])
def test_the_methyl_groups_of_a_salt_meet_between_its_layers(name):
    """The ammonium groups lie in the halide layers at z = ±0.2, the methyl groups point to the plane z = 1/2."""
    structure = load_crystal(name).structure
    for symbol, height in (("N", 0.2), ("C", 0.36)):
        found = [min(site.frac_coords[2] % 1, 1 - site.frac_coords[2] % 1) for site in structure.sites
                 if site.specie.symbol == symbol]  # fmt: skip
        assert found == pytest.approx([height] * 2, abs=0.02)


# ── graphene ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_every_carbon_of_graphene_has_three_neighbours(repeats):
    sheet = build_graphene(repeats, spacing_ang=8.0)
    firsts, _, _, distances = sheet.get_neighbor_list(1.6)
    assert len(sheet) == 2 * repeats**2
    assert np.bincount(firsts).tolist() == [3] * len(sheet)
    assert distances == pytest.approx(np.full(len(distances), 1.42), abs=1e-9)


def test_oxygen_groups_have_their_bond_lengths():
    sheet = build_graphene(4, spacing_ang=9.0, hydroxyl_pairs=1, epoxides=1)
    assert sheet.composition.as_dict() == {"C": 32, "H": 2, "O": 3}
    firsts, seconds, _, distances = sheet.get_neighbor_list(1.6)
    bonds = Counter(
        ("".join(sorted((sheet[i].specie.symbol, sheet[j].specie.symbol))), round(float(d), 3))
        for i, j, d in zip(firsts, seconds, distances, strict=True)
        if i < j and "O" in (sheet[i].specie.symbol, sheet[j].specie.symbol)
    )
    assert bonds == {("CO", 1.44): 4, ("HO", 0.97): 2}


def test_a_sheet_with_groups_is_no_molecule_and_its_atoms_are_neutral():
    crystal = load_crystal("graphene-hydroxyl")
    assert crystal.formal_charges == {"C": 0, "H": 0, "O": 0}
    ions = find_ions(StructureRecord.from_pymatgen(crystal.structure), crystal.formal_charges)
    assert all(len(ion.species) == 1 for ion in ions.ions)


@pytest.mark.parametrize(("repeats", "groups"), [(3, 2), (0, 0), (4, -1)])
def test_groups_that_do_not_fit_are_refused(repeats, groups):
    with pytest.raises(StructureError, match="enlarge the sheet"):
        build_graphene(repeats, spacing_ang=8.0, hydroxyl_pairs=groups)


@pytest.mark.parametrize("repeats", [4, 5, 6])
def test_a_carbonyl_pair_takes_a_ring_of_carbon_and_leaves_no_bond_open(repeats):
    sheet = build_graphene(repeats, spacing_ang=8.0, carbonyl_pairs=1)
    assert sheet.composition.as_dict() == {"C": 2 * repeats**2 - 6, "O": 2, "H": 4}
    firsts, seconds, _, distances = sheet.get_neighbor_list(1.5)
    elements = np.array([site.specie.symbol for site in sheet])
    n_bonds = np.bincount(firsts, minlength=len(sheet))
    assert set(n_bonds[elements == "C"]) == {3}
    assert set(n_bonds[elements != "C"]) == {1}
    is_carbonyl = (elements[firsts] == "C") & (elements[seconds] == "O")
    assert distances[is_carbonyl] == pytest.approx([1.23, 1.23], abs=1e-9)


def test_carbonyl_groups_lie_in_the_sheet_and_face_each_other():
    sheet = build_graphene(4, spacing_ang=8.0, carbonyl_pairs=1)
    assert np.abs(sheet.cart_coords[:, 2]).max() < 1e-9
    first, second = (i for i, site in enumerate(sheet) if site.specie.symbol == "O")
    assert sheet.get_distance(first, second) == pytest.approx(2 * (2 * 1.42 - 1.23), abs=1e-9)
    middle = sheet.cart_coords[[first, second]].mean(axis=0)
    inverted = Structure(
        sheet.lattice, sheet.species, 2 * middle - sheet.cart_coords, coords_are_cartesian=True, to_unit_cell=True
    )
    # inversion exchanges the sublattices: each lost three carbons and holds one C=O, so no electron is left unpaired
    distances = sheet.lattice.get_all_distances(sheet.frac_coords, inverted.frac_coords)
    partners = distances.argmin(axis=1)
    assert distances.min(axis=1).max() < 1e-6
    assert [site.specie for site in sheet] == [inverted[int(i)].specie for i in partners]


def test_a_sheet_with_carbonyl_groups_is_whole_and_its_atoms_are_neutral():
    crystal = load_crystal("graphene-carbonyl")
    assert crystal.formal_charges == {"C": 0, "H": 0, "O": 0}
    ions = find_ions(StructureRecord.from_pymatgen(crystal.structure), crystal.formal_charges)
    assert all(len(ion.species) == 1 for ion in ions.ions)


@pytest.mark.parametrize("groups", [{"carbonyl_pairs": 2}, {"carbonyl_pairs": 1, "epoxides": 1}])
def test_carbonyl_groups_beside_others_are_refused(groups):
    with pytest.raises(StructureError, match="take one kind of group"):
        build_graphene(6, spacing_ang=8.0, **groups)


def test_a_hole_that_would_touch_its_images_is_refused():
    with pytest.raises(StructureError, match="enlarge the sheet"):
        build_graphene(3, spacing_ang=8.0, carbonyl_pairs=1)
