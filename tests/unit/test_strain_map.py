"""Strain maps: what the strain of an octahedron must and must not depend on."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from qdip_dft.analysis.strain_map import OctahedronStrain, average_in_shells, find_strain_range_ang, map_strain
from qdip_dft.builders.embedding import embed_dot
from qdip_dft.builders.finite_dots import DotPart, build_finite_dot
from qdip_dft.builders.ions import find_ions, repeat_crystal
from qdip_dft.errors import StructureError
from qdip_dft.model.structure import StructureRecord
from tests.unit.crystals import load, load_ions, make_record, positions_ang

SYMMETRIC_STRETCH = np.array([[1.03, 0.01, 0.0], [0.01, 0.98, -0.015], [0.0, -0.015, 1.01]])


def turn(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    """Return a rotation matrix (Rodrigues)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def deform(record: StructureRecord, deformation: np.ndarray) -> StructureRecord:
    """Return the record under x → F x, lattice and atoms."""
    return record.model_copy(update={"lattice_ang": (np.array(record.lattice_ang) @ deformation.T).tolist()})


def host_with_marker(name: str = "CsPbI3-alpha") -> tuple[StructureRecord, int]:
    """Return a supercell of a host and one caesium ion that stands for the dot."""
    crystal = load(name)
    record = repeat_crystal(find_ions(crystal.structure, crystal.formal_charges), np.diag([2, 2, 2])).to_record()
    return record, record.species.index("Cs")


@pytest.mark.parametrize("name", ["CsPbI3-alpha", "CsPbI3-gamma", "CsPbI3-delta", "CsPbBr3-gamma"])
def test_a_host_has_no_strain_against_itself(name: str) -> None:
    record, dot = host_with_marker(name)
    strains = map_strain(record, reference=load(name).structure, dot_sites=[dot])
    assert len(strains) == record.species.count("Pb")
    assert max(abs(strain.volume_strain) + strain.von_mises_strain for strain in strains) < 1e-9


@pytest.mark.parametrize("degrees", [0.0, 7.0, 33.0, 80.0])
def test_a_uniform_stretch_is_found_whatever_the_rotation(degrees: float) -> None:
    record, dot = host_with_marker()
    strained = deform(record, turn((1, 2, 3), degrees) @ SYMMETRIC_STRETCH)
    stretches = np.linalg.eigvalsh(SYMMETRIC_STRETCH)
    for strain in map_strain(strained, reference=load("CsPbI3-alpha").structure, dot_sites=[dot]):
        assert strain.principal_strains == pytest.approx(stretches - 1, abs=1e-9)
        assert strain.volume_strain == pytest.approx(np.prod(stretches) - 1, abs=1e-9)


def test_a_pure_dilation_has_no_von_mises_strain() -> None:
    record, dot = host_with_marker()
    strains = map_strain(deform(record, 1.02 * np.eye(3)), reference=load("CsPbI3-alpha").structure, dot_sites=[dot])
    assert max(strain.von_mises_strain for strain in strains) < 1e-9
    assert strains[0].volume_strain == pytest.approx(1.02**3 - 1, abs=1e-9)


def test_uniaxial_strain_at_constant_volume_is_its_own_von_mises_strain() -> None:
    """For e = diag(2, −1, −1) ε/2, √(⅔ e:e) = ε."""
    record, dot = host_with_marker()
    strained = deform(record, np.diag([1.02, 0.99, 0.99]))
    strains = map_strain(strained, reference=load("CsPbI3-alpha").structure, dot_sites=[dot])
    assert strains[0].von_mises_strain == pytest.approx(0.02, abs=1e-9)


def test_an_off_centre_metal_is_not_a_strain() -> None:
    reference = make_record(np.diag([20.0] * 3), ("Pb", *"I" * 6, "Cs"), [*octahedron((0, 0, 0)), (9, 9, 9)])
    moved = make_record(np.diag([20.0] * 3), ("Pb", *"I" * 6, "Cs"), [*octahedron((0.2, 0.1, 0)), (9, 9, 9)])
    (strain,) = map_strain(moved, reference=reference, dot_sites=[7])
    assert strain.off_centre_ang == pytest.approx(np.hypot(0.2, 0.1))
    assert strain.von_mises_strain < 1e-12


def octahedron(metal: tuple[float, float, float]) -> list[tuple[float, ...]]:
    corners = [tuple(3.2 * sign * (k == axis) for k in range(3)) for axis in range(3) for sign in (1, -1)]
    return [metal, *corners]


def test_the_known_origin_of_each_octahedron_is_used() -> None:
    """Against the octahedron that a site came from, a strain is never smaller than against the most alike."""
    crystal = load("CsPbI3-gamma")
    record, dot = host_with_marker("CsPbI3-gamma")
    strained = deform(record, SYMMETRIC_STRETCH)
    origins = np.repeat(np.arange(crystal.structure.n_atoms), 8).tolist()
    ions = find_ions(crystal.structure, crystal.formal_charges).ions
    origins = [ions[k].site_indices[0] for k in origins]
    known = map_strain(strained, reference=crystal.structure, dot_sites=[dot], reference_sites=origins)
    guessed = {s.site: s for s in map_strain(strained, reference=crystal.structure, dot_sites=[dot])}
    assert len(known) == len(guessed) > 0
    for strain in known:
        change = np.sum(np.square(strain.principal_strains))
        assert change >= np.sum(np.square(guessed[strain.site].principal_strains)) - 1e-12


def test_the_field_of_a_point_dilatation_falls_with_the_cube_of_the_distance() -> None:
    """u = C r/r³ outside an inclusion (Eshelby): e_rr = −2C/r³, e_tt = C/r³, no dilation, von Mises 2C/r³."""
    strength, spacing, n = 40.0, load("CsPbI3-alpha").structure.lattice_ang[0][0], 4
    cells = [np.array(k, dtype=float) * spacing for k in product(range(-n, n + 1), repeat=3) if max(map(abs, k)) >= 2]
    ideal, species = [np.zeros(3)], ["Cs"]
    for cell in cells:
        for site, symbol in zip(np.vstack([np.zeros(3), np.eye(3) / 2 * spacing]), ("Pb", "I", "I", "I"), strict=True):
            ideal.append(cell + site)
            species.append(symbol)
    places = np.array(ideal)
    radii = np.maximum(np.linalg.norm(places, axis=1), 1.0)
    moved = places + strength * places / radii[:, None] ** 3
    box = np.diag([100.0] * 3)
    reference = load("CsPbI3-alpha").structure
    strains = map_strain(make_record(box, species, moved), reference=reference, dot_sites=[0])
    far = [strain for strain in strains if strain.distance_to_centre_ang > 18]
    assert len(far) > 100
    for strain in far:
        expected = 2 * strength / strain.distance_to_centre_ang**3
        assert strain.von_mises_strain == pytest.approx(expected, rel=0.1)  # an octahedron is 6 Å wide, not a point
        assert abs(strain.volume_strain) < 0.15 * expected


def test_an_unrelaxed_embedded_dot_leaves_its_host_unstrained() -> None:
    dot = build_finite_dot(load_ions("PbS"), name="PbS", diameter_ang=20.0, energy_ratio=1.0, passivation="I")
    embedded = embed_dot(dot, load_ions("CsPbI3-alpha"), host_name="CsPbI3-alpha")
    sites = [site for site, ion in enumerate(embedded.crystal.owners) if embedded.parts[ion] is not DotPart.HOST]
    record = embedded.crystal.to_record()
    strains = map_strain(record, reference=load("CsPbI3-alpha").structure, dot_sites=sites)
    assert len(strains) > 50
    assert max(strain.von_mises_strain for strain in strains) < 1e-9
    distances = [strain.distance_to_surface_ang for strain in strains]
    assert distances == sorted(distances)
    assert min(distances) > 3.0
    dot_places = positions_ang(record)[sites]
    first = strains[0]
    nearest = np.linalg.norm(dot_places - positions_ang(record)[first.site], axis=1).min()
    assert first.distance_to_surface_ang <= nearest + 1e-9


def test_shells_hold_every_octahedron_once() -> None:
    record, dot = host_with_marker()
    strains = map_strain(deform(record, SYMMETRIC_STRETCH), reference=load("CsPbI3-alpha").structure, dot_sites=[dot])
    shells = average_in_shells(strains, width_ang=2.0)
    assert sum(shell.n_octahedra for shell in shells) == len(strains)
    assert all(shell.mean_volume_strain == pytest.approx(strains[0].volume_strain, abs=1e-9) for shell in shells)
    assert [shell.distance_ang for shell in shells] == sorted(shell.distance_ang for shell in shells)


def test_a_reference_without_octahedra_is_refused() -> None:
    record, dot = host_with_marker()
    with pytest.raises(StructureError, match="give the bulk of the host"):
        map_strain(record, reference=load("PbS").structure, dot_sites=[dot])


@pytest.mark.parametrize("sites", [[], [-1], [10_000]])
def test_sites_that_are_not_there_are_refused(sites: list[int]) -> None:
    record, _ = host_with_marker()
    with pytest.raises(StructureError, match="give the sites of the dot"):
        map_strain(record, reference=load("CsPbI3-alpha").structure, dot_sites=sites)


def decaying(radius_ang: float, power: float, *, n_shells: int = 400) -> list[OctahedronStrain]:
    """Octahedra around a sphere whose strain falls as a power of the distance from its centre."""
    found = []
    for shell in range(n_shells):
        distance_ang = 0.25 * (shell + 0.5)
        strain = 0.02 * (radius_ang / (radius_ang + distance_ang)) ** power
        n_octahedra = max(1, round((radius_ang + distance_ang) ** 2 / 100.0))
        found += n_octahedra * [
            OctahedronStrain(
                site=0,
                volume_strain=0.0,
                von_mises_strain=strain,
                principal_strains=(-strain, 0.0, strain),
                off_centre_ang=0.0,
                distance_to_surface_ang=distance_ang,
                distance_to_centre_ang=radius_ang + distance_ang,
            )
        ]
    return found


def test_the_range_of_elastic_strain_is_a_quarter_of_the_radius() -> None:
    """A strain of (R/r)^3 holds its energy in a shell of 2^(1/3) − 1 radii, less what the width of contact blurs."""
    found = find_strain_range_ang(decaying(20.0, 3.0), width_ang=0.3)
    assert found == pytest.approx(20.0 * (2 ** (1 / 3) - 1), rel=0.1)


def test_a_faster_decay_has_a_shorter_range_and_none_has_none() -> None:
    slow, fast = (find_strain_range_ang(decaying(20.0, power)) for power in (2.0, 6.0))
    assert slow is not None
    assert fast is not None
    assert fast < slow
    assert find_strain_range_ang(decaying(20.0, 0.0)) is None
    assert find_strain_range_ang([]) is None
