"""Tilts, bonds and valences of octahedra, in crystals whose angles are known and in slabs that were cut from them."""

from __future__ import annotations

import numpy as np
import pytest

from qdip_dft.analysis.octahedra import (
    LONGEST_CONTACT_ANG,
    CrossBond,
    find_bridges,
    find_cross_bonds,
    find_metals,
    group_layers,
    measure_layers,
    measure_shape,
)
from qdip_dft.model.structure import StructureRecord
from tests.unit.crystals import load, make_record

CUBIC = ("CsPbI3-alpha", "CsPbBr3-cubic", "CsSnI3-alpha", "CsPbBr2I-cubic")


def pbx_angles_deg(name: str) -> list[float]:
    """Return every Pb-X-Pb angle with pymatgen's neighbour search, as an independent measurement."""
    structure = load(name).structure.to_pymatgen()
    angles = []
    for site in structure:
        if site.specie.symbol != "I":
            continue
        metals = [n for n in structure.get_neighbors(site, 3.9) if n.specie.symbol == "Pb"]
        if len(metals) == 2:
            one, other = (metal.coords - site.coords for metal in metals)
            angles.append(np.degrees(np.arccos(one @ other / np.linalg.norm(one) / np.linalg.norm(other))))
    return angles


def stretched(structure: StructureRecord, factor: float) -> StructureRecord:
    lattice = factor * np.array(structure.lattice_ang)
    return structure.model_copy(update={"lattice_ang": tuple(map(tuple, lattice.tolist()))})


def repeated(structure: StructureRecord, *times: int) -> StructureRecord:
    return StructureRecord.from_pymatgen(structure.to_pymatgen() * times)


@pytest.mark.parametrize("name", CUBIC)
def test_a_cubic_perovskite_is_not_tilted(name: str) -> None:
    shape = measure_shape(load(name).structure)
    assert shape.tilt_deg == pytest.approx(0.0, abs=1e-4)
    assert len(find_bridges(load(name).structure)) == 3 * shape.n_metals


def test_gamma_cspbi3_is_tilted_as_filed() -> None:
    """About 13 to 15 degrees: Pb-I-Pb of 150 and 154 degrees are reported for γ-CsPbI3 near room temperature."""
    shape, angles = measure_shape(load("CsPbI3-gamma").structure), pbx_angles_deg("CsPbI3-gamma")
    assert shape.bridge_deg == pytest.approx(np.mean(angles), abs=1e-6)
    assert sorted(bridge.angle_deg for bridge in find_bridges(load("CsPbI3-gamma").structure)) == pytest.approx(
        sorted(angles), abs=1e-6
    )
    assert 11.0 < shape.tilt_deg < 17.0


def test_tilts_grow_from_alpha_over_beta_to_gamma() -> None:
    tilts = [measure_shape(load(f"CsPbI3-{phase}").structure).tilt_deg for phase in ("alpha", "beta", "gamma")]
    assert tilts == sorted(tilts)
    assert tilts[1] > 3.0


def test_shared_edges_and_faces_are_no_tilts() -> None:
    assert measure_shape(load("FAPbI3-delta-idealised").structure).bridge_deg is None
    assert measure_shape(load("Cs4PbBr6").structure).bridge_deg is None


@pytest.mark.parametrize(
    "name", ["CsPbI3-alpha", "CsPbI3-gamma", "CsPbI3-delta", "FAPbI3-alpha", "PbI2", "CsPbBr3-gamma"]
)
def test_the_valences_around_lead_add_up_to_about_two(name: str) -> None:
    """Measured structures obey the rule to some ten per cent; a lattice that is too large binds too little."""
    assert measure_shape(load(name).structure).valence == pytest.approx(2.0, abs=0.45)


def test_bonds_stretch_with_the_crystal_and_valences_fall() -> None:
    crystal = load("CsPbI3-gamma").structure
    before, after = measure_shape(crystal), measure_shape(stretched(crystal, 1.01))
    assert after.bond_ang == pytest.approx(1.01 * before.bond_ang)
    assert after.bridge_deg == pytest.approx(before.bridge_deg)
    assert after.valence < before.valence


def test_a_larger_cell_has_the_same_octahedra() -> None:
    crystal = load("CsPbI3-gamma").structure
    once, twice = measure_shape(crystal), measure_shape(repeated(crystal, 2, 1, 2))
    assert twice.n_metals == 4 * once.n_metals
    for name in ("bond_ang", "bond_spread_ang", "bridge_deg", "valence"):
        assert getattr(twice, name) == pytest.approx(getattr(once, name), abs=1e-9)


def slab_of(n_layers: int) -> StructureRecord:
    """Return layers of cubic CsPbI3 that end with PbI2 below and CsI above, in vacuum."""
    bulk = repeated(load("CsPbI3-alpha").structure, 1, 1, n_layers)
    positions = np.array(bulk.frac_coords) @ np.array(bulk.lattice_ang)
    lattice = np.array(bulk.lattice_ang)
    lattice[2, 2] += 15.0
    return make_record(lattice, bulk.species, positions)


def test_layers_are_counted_from_below_and_only_the_face_lacks_a_bond() -> None:
    slab = slab_of(3)
    layers = measure_layers(slab)
    assert [layer.n_metals for layer in layers] == [1, 1, 1]
    valences = [layer.valence for layer in layers]
    bare = min(valences)
    assert sorted(valences)[1:] == pytest.approx([max(valences)] * 2)
    assert bare == pytest.approx(5 / 6 * max(valences), rel=1e-3)
    assert all(layer.tilt_deg == pytest.approx(0.0, abs=1e-4) for layer in layers)


def test_metals_of_one_height_are_one_layer() -> None:
    slab = repeated(slab_of(2), 2, 2, 1)
    assert [len(layer) for layer in group_layers(slab, find_metals(slab))] == [4, 4]


def cross_bonds_at(gap_ang: float) -> tuple[CrossBond, ...]:
    """Return the bonds between rock-salt PbS and a layer of CsPbI3 above it, in one square cell."""
    edge = 6.1
    dot = [("Pb", 0, 0, 0), ("S", 0.5, 0.5, 0), ("Pb", 0.5, 0.5, 3.0), ("S", 0, 0, 3.0)]
    top = 3.0 + gap_ang
    film = [("I", 0.5, 0.5, top), ("Pb", 0, 0, top), ("I", 0.5, 0, top), ("Cs", 0.5, 0.5, top + 3.0)]
    atoms = [*dot, *film]
    positions = [(x * edge, y * edge, z + 1.0) for _, x, y, z in atoms]
    record = make_record(np.diag([edge, edge, 40.0]), [symbol for symbol, *_ in atoms], positions)
    return find_cross_bonds(record, n_dot=len(dot))


def test_bonds_across_the_interface_join_the_ions_of_opposite_sign() -> None:
    bonds = {bond.pair: bond for bond in cross_bonds_at(3.0)}
    assert set(bonds) == {"Pb-I", "Pb-S"}
    assert bonds["Pb-S"].count == bonds["Pb-I"].count == 1
    assert bonds["Pb-S"].shortest_ang == bonds["Pb-S"].mean_ang == pytest.approx(3.0)
    assert bonds["Pb-S"].valence == pytest.approx(np.exp((2.55 - 3.0) / 0.31), rel=0.2)  # R0 of Pb-S as published


def test_bonds_across_vanish_when_film_and_dot_part() -> None:
    sums = [sum(bond.valence for bond in cross_bonds_at(gap)) for gap in (2.8, 3.2, 3.6)]
    assert sums == sorted(sums, reverse=True)
    assert cross_bonds_at(LONGEST_CONTACT_ANG + 0.1) == ()
