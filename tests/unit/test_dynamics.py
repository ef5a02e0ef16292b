"""Sampling with molecular dynamics: the harmonic limit, a killed run, and the errors of averages."""

from __future__ import annotations

import numpy as np
import pytest

from qdip_dft.analysis.averages import average_equilibrated, block_error
from qdip_dft.engines.dynamics import sample_segments, typical_timestep_fs
from qdip_dft.engines.evaluation import arrangement_of
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.testing import evaluate_morse
from qdip_dft.flows.vibrations import tighten
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.sampling import SampledSegment, SamplingTask
from qdip_dft.model.structure import StructureRecord
from qdip_dft.units import BOLTZMANN_EV_PER_K
from tests.unit.crystals import load


@pytest.fixture(scope="module")
def crystal() -> StructureRecord:
    engine = tighten(engine_from_spec(EngineSpec(name="testing")))
    supercell = engine.relax(load("CsI").structure, Freedom.CELL).structure.to_pymatgen()
    supercell.make_supercell((2, 2, 2))
    return StructureRecord.from_pymatgen(supercell)


def task_of(crystal: StructureRecord, **changes) -> SamplingTask:
    asked = {
        "label": "CsI",
        "structure": crystal,
        "formula_units": 8,
        "temperature_k": 20.0,
        "n_steps": 4000,
        "timestep_fs": typical_timestep_fs(crystal),
        "friction_time_fs": 100.0,
        "barostat_time_fs": 500.0,
    }
    return SamplingTask(**{**asked, **changes})


def test_a_cold_crystal_has_half_kt_of_potential_energy_per_degree_of_freedom(crystal):
    task = task_of(crystal)
    segments = [SampledSegment.model_validate(s.segment) for s in sample_segments(task, evaluate_morse)]
    found = average_equilibrated([energy for segment in segments for energy in segment.energies_ev])
    # 3 N coordinates less 3 translations, and 6 of the cell.
    expected = 0.5 * (3 * crystal.n_atoms + 3) * BOLTZMANN_EV_PER_K * task.temperature_k
    static = evaluate_morse(arrangement_of(crystal)).energy_ev
    assert found.error < 0.05 * expected
    assert found.mean - static == pytest.approx(expected, abs=4 * found.error)


def test_a_killed_run_ends_with_the_numbers_that_it_would_have_had(crystal):
    task = task_of(crystal, n_steps=500)
    first, second = sample_segments(task, evaluate_morse)
    (resumed,) = sample_segments(task, evaluate_morse, last=first, n_done=1)
    assert resumed.segment["energies_ev"] == pytest.approx(second.segment["energies_ev"], abs=1e-9)


def test_another_seed_is_another_trajectory(crystal):
    (one,), (other,) = (
        tuple(sample_segments(task_of(crystal, n_steps=250, seed=seed), evaluate_morse)) for seed in (1, 2)
    )
    assert one.segment["energies_ev"] != other.segment["energies_ev"]


def test_hydrogen_asks_for_a_short_time_step():
    assert typical_timestep_fs(load("FAPbI3-alpha").structure) == 0.8
    assert typical_timestep_fs(load("CsPbI3-gamma").structure) == 9.0


def test_the_error_of_independent_values_is_that_of_the_textbook():
    values = np.random.default_rng(0).normal(size=4096)
    assert block_error(values) == pytest.approx(1 / 64, rel=0.4)


def test_correlation_makes_the_error_larger():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=4096)
    correlated = np.convolve(noise, np.ones(20) / np.sqrt(20), mode="same")
    assert block_error(correlated) > 3 * block_error(noise)


def test_the_approach_to_equilibrium_is_left_out():
    rng = np.random.default_rng(0)
    values = 5 * np.exp(-np.arange(2000) / 100) + rng.normal(scale=0.1, size=2000)
    found = average_equilibrated(values)
    assert found.n_discarded >= 200
    assert found.mean == pytest.approx(0.0, abs=0.05)
