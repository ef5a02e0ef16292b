"""Thermodynamic integration from a harmonic crystal: systems whose free energy is known, and a killed run."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qdip_dft.analysis.averages import Average, average_equilibrated
from qdip_dft.analysis.free_energy import compare_sampled
from qdip_dft.analysis.integration import Integral, integrate_couplings, list_couplings
from qdip_dft.analysis.phonons import DisplacedCrystal
from qdip_dft.analysis.reference_crystal import LOWEST_MADE_UP_THZ, LOWEST_THZ, ReferenceCrystal, refer_to_harmonic
from qdip_dft.engines.evaluation import Arrangement, Evaluation, Potential
from qdip_dft.engines.integration import sample_coupling
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.testing import evaluate_morse
from qdip_dft.errors import EngineError
from qdip_dft.flows.sampled_crystals import SampledCrystal, explain_lost_phase, strain_within_system
from qdip_dft.flows.vibrations import tighten
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.sampling import CouplingTask
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.temperature import SampledFreeEnergy
from qdip_dft.units import BOLTZMANN_EV_PER_K
from tests.unit.crystals import load

TEMPERATURE_K = 300.0
THERMAL_EV = BOLTZMANN_EV_PER_K * TEMPERATURE_K
DIMER = StructureRecord(
    lattice_ang=((8.0, 0.0, 0.0), (0.0, 8.0, 0.0), (0.0, 0.0, 8.0)),
    species=("Cs", "I"),
    frac_coords=((0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),
)


def pair_potential(energy_of, slope_of) -> Potential:
    """Return a sum over the Cartesian components of the displacement of the second atom against the first."""

    def evaluate(arrangement: Arrangement) -> Evaluation:
        r = arrangement.positions_ang[1] - arrangement.positions_ang[0] - 4.0
        slope = slope_of(r)
        return Evaluation(float(np.sum(energy_of(r))), np.array([slope, -slope]), None)

    return evaluate


def reference_of(stiffness: float) -> ReferenceCrystal:
    """Return the reference of the dimer whose second derivative is given in eV/Å²."""
    constants = np.einsum("ij,ab->ijab", stiffness * np.array([[1.0, -1.0], [-1.0, 1.0]]), np.eye(3))
    return refer_to_harmonic(DIMER, constants, (132.9, 126.9))


def integrate(
    reference: ReferenceCrystal, potential: Potential, *, n_steps: int, temperature_k=TEMPERATURE_K
) -> Integral:
    averages = []
    for seed, coupling in enumerate(list_couplings()):
        task = CouplingTask(
            label="", structure=reference.structure, temperature_k=temperature_k, coupling=coupling, n_steps=n_steps,
            seed=seed,
        )  # fmt: skip
        states = list(sample_coupling(task, reference, potential))
        averages.append(average_equilibrated([value for state in states for value in state.differences_ev]))
    return integrate_couplings(averages)


def test_twice_stiffer_springs_cost_half_kt_ln_two_per_mode():
    stiff = pair_potential(lambda r: 0.5 * r**2, lambda r: r)
    found = integrate(reference_of(0.5), stiff, n_steps=4000)
    assert found.error < 0.03 * THERMAL_EV
    assert found.value == pytest.approx(1.5 * THERMAL_EV * math.log(2), abs=4 * found.error)


def test_a_double_well_has_the_free_energy_of_its_integral():
    # Wells of 20 meV at 0.45 Å: at the site in the middle the crystal is no minimum, as in a cubic perovskite.
    a, b = 0.5, 0.2
    well = pair_potential(lambda r: a * r**4 - b * r**2, lambda r: 4 * a * r**3 - 2 * b * r)
    reference = reference_of(-2 * b)
    assert reference.n_replaced == 3
    found = integrate(reference, well, n_steps=5000)
    r = np.linspace(-2, 2, 4001)
    stiffness = float(reference.stiffness[0]) * 132.9 * 126.9 / (132.9 + 126.9)
    bound, real = (
        np.trapezoid(np.exp(-energy / THERMAL_EV), r) for energy in (0.5 * stiffness * r**2, a * r**4 - b * r**2)
    )
    assert found.error < 0.2 * THERMAL_EV
    assert found.value == pytest.approx(-3 * THERMAL_EV * math.log(real / bound), abs=4 * found.error)


def test_a_mode_softer_than_the_floor_is_lifted_to_it():
    reference = reference_of(1e-6)
    assert reference.frequencies_thz == pytest.approx(LOWEST_THZ)
    assert reference.n_replaced == 3


def test_a_slightly_imaginary_mode_becomes_a_stiff_one():
    reference = reference_of(-1e-6)
    assert reference.frequencies_thz == pytest.approx(LOWEST_MADE_UP_THZ)
    assert reference.n_replaced == 3


def test_a_run_whose_atoms_fly_apart_is_ended():
    repulsive = pair_potential(lambda r: -5 * r**2, lambda r: -10 * r)
    with pytest.raises(EngineError, match="sample at a lower temperature"):
        integrate(reference_of(0.5), repulsive, n_steps=500)


def caesium_iodide() -> tuple[ReferenceCrystal, DisplacedCrystal, list]:
    engine = tighten(engine_from_spec(EngineSpec(name="testing")))
    crystal = DisplacedCrystal(engine.relax(load("CsI").structure, Freedom.CELL).structure, 1, 8.0)
    forces = [engine.static(supercell).forces_ev_per_ang for supercell in crystal.supercells]
    return crystal.reference(forces), crystal, forces


def test_the_reference_of_a_minimum_has_the_frequencies_of_its_phonons():
    reference, crystal, forces = caesium_iodide()
    theirs = crystal.harmonic(forces).commensurate_modes.frequencies_thz
    assert np.sort(reference.frequencies_thz) == pytest.approx(np.sort(theirs[np.isfinite(theirs)]), rel=1e-4)
    assert reference.n_replaced == 0


def test_the_classical_limit_holds_at_high_temperature():
    reference, _, _ = caesium_iodide()
    assert abs(reference.quantum_correction_ev(1e5)) < 1e-5 * abs(reference.classical_free_energy_ev(1e5))


def test_a_cold_crystal_is_harmonic():
    reference, _, _ = caesium_iodide()
    found = integrate(reference, evaluate_morse, n_steps=200, temperature_k=5.0)
    assert abs(found.value) < 4 * found.error + 0.01 * BOLTZMANN_EV_PER_K * 5.0 * reference.n_modes


def test_a_killed_run_ends_with_the_numbers_that_it_would_have_had():
    reference, _, _ = caesium_iodide()
    task = CouplingTask(label="", structure=reference.structure, temperature_k=100.0, coupling=0.5, n_steps=100)
    first, second = sample_coupling(task, reference, evaluate_morse)
    (resumed,) = sample_coupling(task, reference, evaluate_morse, last=first, n_done=1)
    assert resumed.differences_ev == pytest.approx(second.differences_ev, abs=1e-9)


def test_the_rule_is_exact_for_polynomials_and_its_error_vanishes_for_parabolas():
    parabola = integrate_couplings([Average(3 * x**2 + 1, 0.0, 0) for x in list_couplings()])
    assert (parabola.value, parabola.error) == (pytest.approx(2.0), pytest.approx(0.0, abs=1e-12))
    quartic = integrate_couplings([Average(5 * x**4, 0.0, 0) for x in list_couplings()])
    assert quartic.value == pytest.approx(1.0)
    assert quartic.error > 0


def test_a_strained_cubic_crystal_stays_cubic_and_takes_the_mean_stretch():
    cubic = load("CsPbI3-alpha").structure
    length = cubic.lattice_ang[0][0]
    turned = length * np.diag([1.01, 1.02, 1.03]) @ np.array([[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1.0]])
    assert np.array(strain_within_system(cubic, turned).lattice_ang) == pytest.approx(1.02 * length * np.eye(3))


def test_an_orthorhombic_crystal_follows_each_of_its_lengths():
    crystal = load("CsPbI3-delta").structure
    longer = np.array(crystal.lattice_ang) * np.array([[1.01], [1.02], [0.99]])
    assert np.array(strain_within_system(crystal, longer).lattice_ang) == pytest.approx(longer, abs=1e-9)


def sampled(temperature_k: float, energy_ev: float | None, **more) -> SampledFreeEnergy:
    error = None if energy_ev is None else 0.003
    return SampledFreeEnergy(
        temperature_k=temperature_k, n_atoms=40, free_energy_ev_per_fu=energy_ev, error_ev_per_fu=error, **more
    )


def test_errors_of_two_sampled_phases_add_in_squares():
    found = compare_sampled((sampled(300, -1.0),), (sampled(300, -1.1),), temperatures_k=(300,))
    assert found.difference_ev_per_fu == (pytest.approx(0.1),)
    assert found.error_ev_per_fu == (pytest.approx(0.003 * math.sqrt(2)),)


def test_a_missing_sample_leaves_the_difference_missing_with_its_reason():
    lost = sampled(300, None, missing="alpha at 300 K: it tilted")
    found = compare_sampled((lost,), (sampled(300, -1.1),), temperatures_k=(300,))
    assert found.difference_ev_per_fu == (None,)
    assert found.missing == ("alpha at 300 K: it tilted",)
    assert compare_sampled((), (), temperatures_k=(300,)).difference_ev_per_fu == (None,)


def test_a_run_that_ends_in_another_network_of_octahedra_is_found_out():
    crystal = SampledCrystal("CsPbI3-alpha", load("CsPbI3-alpha").structure, 1, 300.0, 6.0, 100)
    assert explain_lost_phase(crystal, load("CsPbI3-gamma").structure) is None
    assert "the run left the phase" in str(explain_lost_phase(crystal, load("CsPbI3-delta").structure))
