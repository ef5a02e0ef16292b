"""Dot slabs: neutral, without a dipole, and passivated where the facet is polar."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from qdip_dft.builders.cleavage import LAYER_TOLERANCE_ANG
from qdip_dft.builders.dots import build_dot_slab, plan_dot_cut
from qdip_dft.builders.films import in_vacuum
from qdip_dft.builders.interfaces import check_built
from qdip_dft.builders.ions import IonicCrystal
from qdip_dft.builders.passivation import spread_evenly
from qdip_dft.errors import ChargeBalanceError
from qdip_dft.model.bond_valence import bond_length_ang
from qdip_dft.model.slab import DotCut
from tests.unit.crystals import load_face

POLAR_ROCK_SALTS = ["PbS", "PbSe", "PbTe"]


def build(name: str, plane: str, *, thickness_ang: float = 10.0, passivation: str | None = "I") -> IonicCrystal:
    return in_vacuum(build_dot_slab(load_face(name, plane).oriented, plan(name, plane, thickness_ang, passivation),
                                    passivation=passivation), 15.0)  # fmt: skip


def plan(name: str, plane: str, thickness_ang: float = 10.0, passivation: str | None = "I") -> DotCut:
    face = load_face(name, plane)
    return plan_dot_cut(face.oriented, min_thickness_ang=thickness_ang, passivation=passivation, facet=face.name)


def layers(slab: IonicCrystal) -> list[tuple[float, str]]:
    """Return height and label of each layer of ions, lowest first."""
    heights = slab.centres_ang[:, 2]
    found: list[tuple[float, str]] = []
    for index in np.argsort(heights):
        if not found or heights[index] - found[-1][0] > LAYER_TOLERANCE_ANG:
            found.append((float(heights[index]), slab.ions[index].label))
    return found


def dipole_e_ang(slab: IonicCrystal) -> float:
    heights = slab.centres_ang[:, 2]
    return float(slab.charges @ (heights - heights.mean()))


@pytest.mark.parametrize("name", POLAR_ROCK_SALTS)
@pytest.mark.parametrize("thickness_ang", [3.0, 10.0, 15.0])
def test_a_passivated_111_slab_is_neutral_without_a_dipole(name, thickness_ang):
    slab = build(name, "111", thickness_ang=thickness_ang)
    assert slab.formal_charge == 0
    assert dipole_e_ang(slab) == pytest.approx(0, abs=1e-8)
    assert check_built(slab, name=name) is slab


@pytest.mark.parametrize("thickness_ang", [3.0, 10.0, 15.0])
def test_lead_is_outermost_on_both_faces_under_one_iodide_each(thickness_ang):
    slab = build("PbS", "111", thickness_ang=thickness_ang)
    names = [label for _, label in layers(slab)]
    assert names[:3] == ["I", "Pb", "S"]
    assert names[-3:] == ["S", "Pb", "I"]
    assert slab.count("I") == 2  # one per surface lead of the 1 × 1 cell and face
    assert slab.count("Pb") == slab.count("S") + 1


@pytest.mark.parametrize("name", POLAR_ROCK_SALTS)
@pytest.mark.parametrize("thickness_ang", [3.0, 10.0, 15.0])
def test_a_passivated_111_slab_has_the_layer_group_of_its_facet(name, thickness_ang):
    import spglib

    slab = build(name, "111", thickness_ang=thickness_ang)
    record = slab.to_record()
    elements = sorted(set(record.species))
    numbers = [elements.index(symbol) for symbol in record.species]
    found = spglib.get_spacegroup((record.lattice_ang, record.frac_coords, numbers), symprec=1e-3)
    assert found.split()[0] == "P-3m1"


@pytest.mark.parametrize(("name", "plane"), [("PbS", "111"), ("PbS", "100"), ("PbSe", "100"), ("PbTe", "110")])
@pytest.mark.parametrize("thickness_ang", [3.0, 10.0, 15.0])
def test_a_slab_is_at_least_as_thick_as_asked(name, plane, thickness_ang):
    slab = build(name, plane, thickness_ang=thickness_ang)
    own = [height for height, label in layers(slab) if label != "I"]
    spacing = load_face(name, plane).oriented.lattice_ang[2, 2]
    # a facet of mixed planes is counted by its planes: n planes are n spacings thick
    thickness = own[-1] - own[0] + (0.0 if plane == "111" else spacing)
    assert thickness >= thickness_ang - 1e-6
    assert thickness - spacing < thickness_ang or thickness_ang < spacing


@pytest.mark.parametrize("name", POLAR_ROCK_SALTS)
def test_the_halide_continues_the_anion_sublattice(name):
    # Stacking A b C a B c: the anion that would follow lies in the fcc hollow, above a lead three layers down.
    oriented = load_face(name, "111").oriented
    slab = build_dot_slab(oriented, plan(name, "111"), passivation="I")
    anion = next(ion.label for ion in oriented.ions if ion.charge < 0)
    heights = slab.centres_ang[:, 2]
    sites = {label: slab.centres_ang[[ion.label == label for ion in slab.ions]] for label in (anion, "Pb", "I")}
    stacking = oriented.lattice_ang[2]
    for outward in (1.0, -1.0):
        halide = max(sites["I"], key=lambda site: outward * site[2])
        outermost = max(sites[anion], key=lambda site: outward * site[2])
        assert lateral_ang(halide - outermost - outward * stacking, slab) == pytest.approx(0, abs=1e-9)
        surface = max(sites["Pb"], key=lambda site: outward * site[2])
        assert lateral_ang(halide - surface, slab) > 1.0  # neither on top of the surface lead
        assert lateral_ang(halide - outermost, slab) > 1.0  # nor in the hcp hollow above the outermost anion
    assert heights.max() == sites["I"][:, 2].max()


def lateral_ang(vector: np.ndarray, slab: IonicCrystal) -> float:
    """Return the shortest lateral length of a vector over the periodic images."""
    a, b = slab.lattice_ang[:2, :2]
    images = [vector[:2] + i * a + j * b for i in range(-6, 7) for j in range(-6, 7)]
    return min(float(np.linalg.norm(image)) for image in images)


@pytest.mark.parametrize(("name", "halide"), [("PbS", "I"), ("PbS", "Br"), ("PbS", "Cl"), ("PbTe", "I")])
def test_each_halide_has_three_bonds_of_a_third_of_its_charge(name, halide):
    slab = build(name, "111", passivation=halide)
    record = slab.to_record()
    first, second, _, distances = record.to_pymatgen().get_neighbor_list(5.0)
    length = bond_length_ang("Pb", halide, 1 / 3)
    for site in [i for i, symbol in enumerate(record.species) if symbol == halide]:
        to_lead = sorted(d for i, j, d in zip(first, second, distances, strict=True)
                         if i == site and record.species[j] == "Pb")  # fmt: skip
        assert to_lead[:3] == pytest.approx([length] * 3, abs=1e-6)
        assert len(to_lead) == 3 or to_lead[3] > length + 0.5


@pytest.mark.parametrize(("name", "plane"), [("PbS", "100"), ("PbSe", "100"), ("PbTe", "100"), ("PbS", "110")])
def test_a_neutral_facet_stays_stoichiometric_whatever_the_passivation(name, plane):
    slab = build(name, plane)
    anion = name.removeprefix("Pb")
    assert slab.count("Pb") == slab.count(anion) > 0
    assert slab.count("I") == 0
    assert slab.formal_charge == 0
    assert dipole_e_ang(slab) == pytest.approx(0, abs=1e-8)


def test_a_polar_facet_without_passivation_is_refused():
    with pytest.raises(ChargeBalanceError, match=r"set dot.passivation to a halide such as I"):
        plan("PbS", "111", 10.0, None)


ZINC_BLENDES = ["CdSe-zincblende", "ZnS-sphalerite"]
TWO_BY_TWO = ((2, 0), (0, 2))


@pytest.mark.parametrize("name", ZINC_BLENDES)
def test_the_two_faces_of_zinc_blende_111_need_a_half_and_three_halves(name):
    """One dangling bond of strength 2/4 per cation on one face, three on the other (Pashley 1989)."""
    one, other = (plan(name, plane) for plane in ("111", "-1-1-1"))
    assert sorted(one.anions_per_cell) == [Fraction(1, 2), Fraction(3, 2)]
    assert one.anions_per_cell == other.anions_per_cell[::-1] or one.anions_per_cell == other.anions_per_cell
    assert one.fits_cell(4)
    assert not one.fits_cell(3)


@pytest.mark.parametrize("name", ZINC_BLENDES)
def test_zinc_blende_100_needs_one_anion_per_surface_cation(name):
    cut = plan(name, "100")
    assert cut.anions_per_cell == (1, 1)
    assert cut.uneven_passivation is None


@pytest.mark.parametrize("passivation", ["I", "Cl", "OH"])
@pytest.mark.parametrize("plane", ["111", "-1-1-1", "100"])
@pytest.mark.parametrize("name", ZINC_BLENDES)
def test_a_passivated_zinc_blende_slab_is_neutral_and_each_face_carries_its_anions(name, plane, passivation):
    cut = plan(name, plane, passivation=passivation)
    slab = build_dot_slab(load_face(name, plane).oriented, cut, passivation=passivation, matrix=TWO_BY_TWO)
    check_built(in_vacuum(slab, 15.0), name=name)
    heights = slab.centres_ang[:, 2]
    is_anion = np.array([ion.label == passivation for ion in slab.ions])
    on_top = int(np.sum(is_anion & (heights > np.median(heights))))
    assert (int(is_anion.sum()) - on_top, on_top) == tuple(4 * count for count in cut.anions_per_cell)


@pytest.mark.parametrize("name", ZINC_BLENDES)
def test_the_field_in_a_passivated_slab_vanishes_whatever_its_thickness(name):
    """With fields the dipole of the ions would grow by the plane spacing times the bound charge."""
    oriented = load_face(name, "111").oriented
    dipoles = []
    for thickness_ang in (10.0, 20.0, 30.0):
        cut = plan(name, "111", thickness_ang=thickness_ang)
        slab = build_dot_slab(oriented, cut, passivation="Cl", matrix=TWO_BY_TWO)
        dipoles.append(dipole_e_ang(slab))
    assert dipoles[1:] == pytest.approx([dipoles[0]] * 2, abs=1e-6)


def test_half_an_anion_per_cell_is_refused_on_an_odd_mesh():
    oriented = load_face("CdSe-zincblende", "111").oriented
    with pytest.raises(ChargeBalanceError, match=r"take another common cell: raise matching.max_area_ang2"):
        build_dot_slab(oriented, plan("CdSe-zincblende", "111"), passivation="Cl", matrix=((3, 0), (0, 1)))


def test_a_hydroxide_points_its_oxygen_at_the_lead():
    slab = build("PbS", "111", passivation="OH")
    heights = slab.centres_ang[:, 2]
    for ion, height in zip(slab.ions, heights, strict=True):
        if ion.label != "OH":
            continue
        oxygen, hydrogen = ion.offsets_ang
        outward = 1.0 if height > np.median(heights) else -1.0
        assert hydrogen - oxygen == pytest.approx([0, 0, 0.97 * outward], abs=1e-12)
        assert ion.species == ("O", "H")
    assert slab.count("OH") == 2
    assert slab.formal_charge == 0


def test_an_unknown_passivation_is_refused():
    with pytest.raises(ChargeBalanceError, match=r"choose one of these, as `dot.passivation`"):
        plan("PbS", "111", passivation="SCN")


@pytest.mark.parametrize(("count", "nearest_ang"), [(2, 8**0.5), (4, 2.0), (8, 2**0.5)])
def test_anions_are_spread_as_far_apart_as_the_mesh_allows(count, nearest_ang):
    points = np.array([[x, y, 0.0] for x in range(4) for y in range(4)])
    vectors = np.diag([4.0, 4.0])
    chosen = points[spread_evenly(points, vectors, count=count)]
    gaps = [np.abs(a - b)[:2] for i, a in enumerate(chosen) for b in chosen[:i]]
    nearest = min(np.hypot(*np.minimum(gap, 4 - gap)) for gap in gaps)
    assert nearest == pytest.approx(nearest_ang)


def test_a_dot_slab_follows_a_relaxed_lattice():
    cut = plan("PbS", "111")
    oriented = load_face("PbS", "111").oriented
    relaxed = IonicCrystal(oriented.lattice_ang * 1.01, oriented.ions, oriented.frac_centres)
    filed, built = (build_dot_slab(cell, cut, passivation="I") for cell in (oriented, relaxed))
    assert built.lattice_ang[:2] == pytest.approx(1.01 * filed.lattice_ang[:2], abs=1e-9)
    assert [ion.label for ion in built.ions] == [ion.label for ion in filed.ions]
