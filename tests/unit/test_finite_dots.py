"""Finite dots: Wulff shapes, neutral surfaces, and cavities in a host."""

from __future__ import annotations

from collections import Counter
from math import pi, sqrt

import numpy as np
import pytest

from qdip_dft.builders.embedding import EmbeddedDot, embed_dot
from qdip_dft.builders.finite_dots import (
    CUBE_RATIO,
    OCTAHEDRON_RATIO,
    DotPart,
    DotShape,
    FiniteDot,
    build_finite_dot,
    choose_shape,
    describe_counts,
)
from qdip_dft.errors import ChargeBalanceError, InterfaceError, SlabError
from tests.unit.crystals import internal_distances_ang, load_ions

PBS_ANG = 5.9315
DIAMETERS_ANG = (20.0, 35.0, 60.0)
RATIOS = (0.5, 0.8, 1.0, 1.4, 2.0)


def build(*, material: str = "PbS", diameter_ang: float = 25.0, energy_ratio: float = 1.0, seed: int = 0) -> FiniteDot:
    return build_finite_dot(
        load_ions(material),
        name=material,
        diameter_ang=diameter_ang,
        energy_ratio=energy_ratio,
        passivation="I",
        seed=seed,
    )


@pytest.fixture(scope="module")
def embedded() -> EmbeddedDot:
    return embed_dot(build(diameter_ang=20.0), load_ions("FAPbI3-alpha"), host_name="FAPbI3-alpha")


@pytest.mark.parametrize("diameter_ang", DIAMETERS_ANG)
@pytest.mark.parametrize("energy_ratio", RATIOS)
def test_a_dot_has_no_charge_and_no_dipole(diameter_ang: float, energy_ratio: float) -> None:
    dot = build(diameter_ang=diameter_ang, energy_ratio=energy_ratio)
    charges = np.array([ion.charge for ion in dot.ions])
    assert charges.sum() == dot.formal_charge == 0
    assert np.abs(charges @ dot.centres_ang).max() < 1e-6


@pytest.mark.parametrize("material", ["PbS", "PbSe", "PbTe"])
def test_the_halides_make_up_for_the_missing_anions(material: str) -> None:
    dot = build(material=material)
    counts = Counter(ion.label for ion in dot.ions)
    anions = sum(count for label, count in counts.items() if label in {"S", "Se", "Te"})
    assert counts["I"] == 2 * (counts["Pb"] - anions) == dot.count(DotPart.PASSIVATION) > 0


@pytest.mark.parametrize("energy_ratio", [0.7, 1.0, 1.3])
def test_a_wulff_ratio_comes_out_as_the_ratio_of_the_facet_distances(energy_ratio: float) -> None:
    shape = choose_shape(lattice_constant_ang=PBS_ANG, diameter_ang=60.0, energy_ratio=energy_ratio)
    assert shape.facet_ratio == pytest.approx(energy_ratio, rel=0.05)  # planes are 3 % of the radius apart


@pytest.mark.parametrize("energy_ratio", RATIOS)
@pytest.mark.parametrize("diameter_ang", DIAMETERS_ANG)
def test_the_diameter_is_as_asked_to_one_lattice_plane(diameter_ang: float, energy_ratio: float) -> None:
    dot = build(diameter_ang=diameter_ang, energy_ratio=energy_ratio)
    assert dot.diameter_ang == pytest.approx(diameter_ang, abs=PBS_ANG / sqrt(3))
    volume_ang3 = dot.count(DotPart.CORE) * PBS_ANG**3 / 8
    assert pi / 6 * dot.diameter_ang**3 == pytest.approx(volume_ang3, rel=1e-9)


def test_a_cheap_octahedral_facet_makes_an_octahedron_and_a_cheap_cubic_one_a_cube() -> None:
    octahedron = choose_shape(lattice_constant_ang=PBS_ANG, diameter_ang=40.0, energy_ratio=OCTAHEDRON_RATIO / 2)
    cube = choose_shape(lattice_constant_ang=PBS_ANG, diameter_ang=40.0, energy_ratio=CUBE_RATIO * 2)
    assert octahedron.n_111 <= octahedron.n_100
    assert cube.n_111 >= 3 * cube.n_100 - 1


@pytest.mark.parametrize("energy_ratio", [0.5, 0.8, 1.0, 1.4])
def test_octahedral_facets_end_with_cations(energy_ratio: float) -> None:
    dot = build(diameter_ang=35.0, energy_ratio=energy_ratio)
    sites = np.abs(np.round(dot.centres_ang[: dot.count(DotPart.CORE)] / (PBS_ANG / 2)))
    outermost = np.flatnonzero(sites.sum(axis=1) == dot.shape.n_111)
    assert len(outermost) > 0
    assert {dot.ions[k].label for k in outermost} == {"Pb"}


def test_a_shape_holds_as_many_sites_as_the_octahedral_numbers_say() -> None:
    """The centred octahedral number of shells m = 0 … M is (2M + 1)(2M² + 2M + 3)/3."""
    for n in range(1, 8):
        shape = DotShape(n_100=n, n_111=n, is_cation_centred=True)
        assert len(shape.list_sites()) == (2 * n + 1) * (2 * n**2 + 2 * n + 3) // 3


def test_hollow_halides_are_one_bond_length_from_three_cations() -> None:
    dot = build(diameter_ang=35.0)
    cations = np.array([c for c, ion in zip(dot.centres_ang, dot.ions, strict=True) if ion.label == "Pb"])
    first = dot.centres_ang[dot.count(DotPart.CORE)]
    distances = np.sort(np.linalg.norm(cations - first, axis=1))
    assert distances[:3] == pytest.approx(3.168, abs=0.01)  # bond valence 1/3 with R0(Pb–I) of O'Keeffe and Brese
    assert distances[3] > 4.0


def test_the_same_seed_gives_the_same_dot() -> None:
    assert np.array_equal(build(diameter_ang=30.0, seed=3).centres_ang, build(diameter_ang=30.0, seed=3).centres_ang)


def test_the_seed_moves_only_the_last_halides() -> None:
    first, second = build(diameter_ang=30.0, seed=1), build(diameter_ang=30.0, seed=2)
    core = first.count(DotPart.CORE)
    assert np.array_equal(first.centres_ang[:core], second.centres_ang[:core])
    assert [ion.label for ion in first.ions] == [ion.label for ion in second.ions]


@pytest.mark.parametrize("anion", ["S", "O", "Cs", "NO3", "Pb"])
def test_a_dot_is_passivated_by_monovalent_anions_only(anion: str) -> None:
    with pytest.raises(ChargeBalanceError, match=r"anions are F, Cl, Br, I and OH.*choose one of these"):
        build_finite_dot(load_ions("PbS"), name="PbS", diameter_ang=30.0, energy_ratio=1.0, passivation=anion)


def test_hydroxide_binds_by_its_oxygen_and_points_outwards() -> None:
    dot = build_finite_dot(load_ions("PbS"), name="PbS", diameter_ang=20.0, energy_ratio=1.0, passivation="OH")
    hydroxides = [(ion, centre) for ion, centre in zip(dot.ions, dot.centres_ang, strict=True) if ion.label == "OH"]
    assert len(hydroxides) > 0
    assert dot.formal_charge == 0
    for ion, centre in hydroxides:
        oxygen, hydrogen = centre + ion.offsets_ang
        assert np.linalg.norm(hydrogen - oxygen) == pytest.approx(0.97)
        assert np.linalg.norm(hydrogen) > np.linalg.norm(oxygen) + 0.3


def test_a_dot_without_passivation_is_refused_with_the_number_of_halides() -> None:
    n_halides = build(diameter_ang=30.0).count(DotPart.PASSIVATION)
    with pytest.raises(ChargeBalanceError, match=f"passivate with {n_halides} halides"):
        build_finite_dot(load_ions("PbS"), name="PbS", diameter_ang=30.0, energy_ratio=1.0, passivation=None)


@pytest.mark.parametrize("diameter_ang", [0.0, 5.0, 500.0, float("nan")])
def test_an_impossible_diameter_is_refused(diameter_ang: float) -> None:
    with pytest.raises(SlabError, match="20 to 60 Å"):
        build(diameter_ang=diameter_ang)


@pytest.mark.parametrize("energy_ratio", [0.0, -1.0, float("inf"), float("nan")])
def test_an_impossible_ratio_is_refused(energy_ratio: float) -> None:
    with pytest.raises(SlabError, match="give a ratio near 1"):
        build(energy_ratio=energy_ratio)


@pytest.mark.parametrize("material", ["CdSe-zincblende", "CsPbI3-alpha", "black-P", "CsBr"])
def test_a_material_that_is_not_rock_salt_is_refused(material: str) -> None:
    with pytest.raises(SlabError, match="choose PbS, PbSe or PbTe"):
        build(material=material)


def test_an_embedded_dot_is_neutral_in_both_parts(embedded: EmbeddedDot) -> None:
    charge = Counter()
    for ion, part in zip(embedded.crystal.ions, embedded.parts, strict=True):
        charge["host" if part is DotPart.HOST else "dot"] += ion.charge
    assert charge["host"] == charge["dot"] == 0


def test_a_cavity_keeps_cations_whole(embedded: EmbeddedDot) -> None:
    (bulk,) = internal_distances_ang(load_ions("FAPbI3-alpha"))
    molecules = internal_distances_ang(embedded.crystal)
    assert len(molecules) == embedded.crystal.count("FA") > 0
    assert max(np.abs(distances - bulk).max() for distances in molecules) < 1e-6
    assert {ion.label for ion in embedded.crystal.ions} == {"FA", "Pb", "I", "S"}


def test_every_host_ion_is_kept_or_counted(embedded: EmbeddedDot) -> None:
    """What is left and what was taken away make up whole cells of the host."""
    n_left = Counter(ion.label for ion, part in zip(embedded.crystal.ions, embedded.parts, strict=True)
                     if part is DotPart.HOST)  # fmt: skip
    total = n_left + Counter(embedded.carved) + Counter(embedded.balanced)
    n_cells = np.linalg.det(embedded.crystal.lattice_ang) / np.linalg.det(load_ions("FAPbI3-alpha").lattice_ang)
    assert total == {"FA": round(n_cells), "Pb": round(n_cells), "I": 3 * round(n_cells)}


def test_host_sites_say_where_a_host_ion_came_from(embedded: EmbeddedDot) -> None:
    host = load_ions("FAPbI3-alpha")
    labels = [
        ion.label for ion, part in zip(embedded.crystal.ions, embedded.parts, strict=True) if part is DotPart.HOST
    ]
    assert [host.ions[site].label for site in embedded.host_sites] == labels


def test_host_ions_left_alone_sit_on_the_lattice_of_the_bulk(embedded: EmbeddedDot) -> None:
    host = load_ions("FAPbI3-alpha")
    lead = [c for c, ion, part in zip(embedded.crystal.centres_ang, embedded.crystal.ions, embedded.parts, strict=True)
            if part is DotPart.HOST and ion.label == "Pb"]  # fmt: skip
    steps = (np.array(lead) - lead[0]) @ np.linalg.inv(host.lattice_ang)
    assert np.abs(steps - np.round(steps)).max() < 1e-9


def test_more_clearance_makes_a_larger_cavity() -> None:
    dot, host = build(diameter_ang=20.0), load_ions("CsPbI3-alpha")
    tight, wide = (embed_dot(dot, host, host_name="host", clearance_ang=c) for c in (0.0, 1.5))
    assert sum(wide.carved.values()) > sum(tight.carved.values())


def test_a_dot_fits_into_an_orthorhombic_yellow_phase() -> None:
    placed = embed_dot(build(diameter_ang=20.0), load_ions("CsPbI3-delta"), host_name="CsPbI3-delta")
    assert placed.crystal.formal_charge == 0


def test_a_thin_host_is_refused() -> None:
    with pytest.raises(InterfaceError, match="raise the host thickness"):
        embed_dot(build(), load_ions("CsPbI3-alpha"), host_name="CsPbI3-alpha", host_thickness_ang=4.0)


def test_counts_are_written_in_words() -> None:
    assert describe_counts({"Cs": 12, "Pb": 3}) == "12 Cs, 3 Pb"
    assert describe_counts({}) == "none"
