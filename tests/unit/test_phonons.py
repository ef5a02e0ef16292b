"""Phonons and harmonic free energies: limits that are known without computing them, with the toy potential."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from qdip_dft.analysis.phonons import DisplacedCrystal, HarmonicCrystal
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.flows.vibrations import tighten
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.structure import StructureRecord
from qdip_dft.units import BOLTZMANN_EV_PER_K, THZ_IN_EV
from tests.unit.crystals import load


@cache
def relaxed(name: str) -> StructureRecord:
    return tighten(engine_from_spec(EngineSpec(name="testing"))).relax(load(name).structure, Freedom.CELL).structure


def vibrate(structure: StructureRecord, *, formula_units: int, min_length_ang: float) -> HarmonicCrystal:
    engine = engine_from_spec(EngineSpec(name="testing"))
    crystal = DisplacedCrystal(structure, formula_units, min_length_ang)
    return crystal.harmonic([engine.static(supercell).forces_ev_per_ang for supercell in crystal.supercells])


@cache
def caesium_iodide(min_length_ang: float = 12.0) -> HarmonicCrystal:
    return vibrate(relaxed("CsI"), formula_units=1, min_length_ang=min_length_ang)


def test_the_supercell_is_as_thick_as_asked_in_every_direction():
    crystal = DisplacedCrystal(load("CsPbI3-delta").structure, 4, 12.0)
    assert crystal.supercell_size == (2, 3, 1)


def test_a_skewed_cell_is_measured_between_its_faces():
    # Both vectors are 10 Å long, but the faces are 10 sin 30° = 5 Å apart.
    lattice = ((10.0, 0.0, 0.0), (10 * np.cos(np.pi / 6), 5.0, 0.0), (0.0, 0.0, 10.0))
    skewed = StructureRecord(lattice_ang=lattice, species=("Pb",), frac_coords=((0.0, 0.0, 0.0),))
    assert DisplacedCrystal(skewed, 1, 10.0).supercell_size == (2, 2, 1)


def test_the_zero_point_energy_is_half_a_quantum_per_mode():
    modes = caesium_iodide().modes
    mean_thz = np.average(modes.frequencies_thz.mean(axis=1), weights=modes.weights)
    assert modes.free_energy_ev(0.0) == pytest.approx(3 * THZ_IN_EV * mean_thz / 2, rel=1e-12)
    assert modes.free_energy_ev(1.0) == pytest.approx(modes.free_energy_ev(0.0), rel=1e-4)


def hot_k() -> float:
    """Return a temperature at which kT is thirty times the largest quantum."""
    return 30 * THZ_IN_EV * float(caesium_iodide().modes.frequencies_thz.max()) / BOLTZMANN_EV_PER_K


def test_the_heat_capacity_of_the_hot_crystal_is_that_of_dulong_and_petit():
    free_energy, hot, step = caesium_iodide().modes.free_energy_ev, hot_k(), hot_k() / 100
    curvature = (free_energy(hot + step) - 2 * free_energy(hot) + free_energy(hot - step)) / step**2
    assert -hot * curvature == pytest.approx(3 * BOLTZMANN_EV_PER_K, rel=1e-3)


def test_the_quantum_free_energy_of_the_hot_crystal_is_classical():
    modes, thermal_ev = caesium_iodide().modes, BOLTZMANN_EV_PER_K * hot_k()
    per_mode_ev = (thermal_ev * np.log(modes.frequencies_thz * THZ_IN_EV / thermal_ev)).mean(axis=1)
    classical_ev = 3 * np.average(per_mode_ev, weights=modes.weights)
    assert modes.free_energy_ev(hot_k()) == pytest.approx(classical_ev, rel=1e-4)


def test_phonopy_sums_the_same_free_energy_where_all_modes_are_real():
    crystal = caesium_iodide()
    crystal.phonons.run_mesh(list(crystal.modes.mesh), is_gamma_center=False)
    crystal.phonons.run_thermal_properties(temperatures=[0, 300, 600])
    kj_per_mol_in_ev = 0.01036427
    theirs = np.array(crystal.phonons.thermal_properties.free_energy) * kj_per_mol_in_ev / 2
    mine = [crystal.modes.free_energy_ev(t) for t in (0.0, 300.0, 600.0)]
    assert mine == pytest.approx(theirs, abs=1e-6)


def test_a_doubled_crystal_has_the_same_free_energy_per_formula_unit():
    doubled = relaxed("CsI").to_pymatgen()
    doubled.make_supercell((2, 1, 1))
    twice = vibrate(StructureRecord.from_pymatgen(doubled), formula_units=2, min_length_ang=12.0)
    (once_ev,) = caesium_iodide().describe([300.0]).vibrational_ev_per_fu
    (twice_ev,) = twice.describe([300.0]).vibrational_ev_per_fu
    assert twice_ev == pytest.approx(once_ev, abs=2e-4)


def test_a_larger_supercell_changes_little_beyond_the_range_of_the_forces():
    (usual,) = caesium_iodide(12.0).describe([300.0]).vibrational_ev_per_fu
    (larger,) = caesium_iodide(18.0).describe([300.0]).vibrational_ev_per_fu
    assert larger == pytest.approx(usual, abs=5e-4)


def test_translations_cost_nothing():
    crystal = caesium_iodide()
    crystal.phonons.run_qpoints([[0.0, 0.0, 0.0]])
    assert np.sort(np.abs(crystal.phonons.qpoints.frequencies[0]))[:3] == pytest.approx([0, 0, 0], abs=1e-4)


def test_imaginary_modes_leave_the_free_energy_missing_and_are_described():
    cubic = vibrate(load("CsPbI3-alpha").structure, formula_units=1, min_length_ang=6.0)
    found = cubic.describe([0.0, 300.0])
    assert found.vibrational_ev_per_fu == (None, None)
    assert found.zero_point_ev_per_fu is None
    assert found.imaginary is not None
    assert found.imaginary.largest_thz > 0
    assert found.missing is not None
    assert "the structure is no minimum" in found.missing


def test_no_number_comes_from_a_crystal_with_imaginary_modes():
    cubic = vibrate(load("CsPbI3-alpha").structure, formula_units=1, min_length_ang=6.0)
    assert np.isnan(cubic.modes.free_energy_ev(300.0))
