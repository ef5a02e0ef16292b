"""CP2K at Γ: orbital transformation leads to the ground state of diagonalisation, and only gapped cells take it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qdip_dft.engines.cp2k import engine
from qdip_dft.engines.cp2k.engine import Cp2kEngine
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.structure import StructureRecord
from qdip_dft.runtime.journal import SCRATCH_VARIABLE
from tests.dft_codes import coarse_engine, scratch_files

GAMMA = {"k_spacing_per_ang": 2.5, "basis_set": "DZVP-MOLOPT-SR-GTH"}
"""One k-point in cells of more than 2.5 Å."""


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path))
    return tmp_path


def salt(seed: int = 3) -> StructureRecord:
    """Return eight displaced atoms of sodium chloride: an insulator whose atoms feel forces."""
    cations = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    frac = np.concatenate([cations, (cations + 0.5) % 1.0]) + np.random.default_rng(seed).normal(
        scale=0.02, size=(8, 3)
    )
    lattice = np.diag([5.64, 5.64, 5.64])
    return StructureRecord(lattice_ang=lattice.tolist(), species=("Na",) * 4 + ("Cl",) * 4, frac_coords=frac.tolist())


def gamma_engine(name: str, **changes: object) -> Cp2kEngine:
    made = coarse_engine(name, **GAMMA, **changes)
    assert isinstance(made, Cp2kEngine)
    return made


def largest_difference(one: CalculationRecord, other: CalculationRecord) -> float:
    return float(np.abs(np.subtract(one.forces_ev_per_ang, other.forces_ev_per_ang)).max())


def test_a_gap_is_minimised_and_what_may_be_none_is_diagonalised_to_the_same_energy(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformed = gamma_engine("cp2k").static(salt())
    assert "&OT" in scratch_files(scratch, "cp2k.inp")[-1].read_text()
    assert transformed.corrections == ()
    monkeypatch.setattr(engine, "LEAST_GAP", 1000.0)
    monkeypatch.setenv(SCRATCH_VARIABLE, str(scratch / "narrow"))
    diagonalised = gamma_engine("cp2k").static(salt())
    assert any("by diagonalisation" in words for words in diagonalised.corrections)
    assert "&OT" not in scratch_files(scratch / "narrow", "cp2k.inp")[-1].read_text()
    assert transformed.energy_ev == pytest.approx(diagonalised.energy_ev, abs=8e-5)
    assert np.abs(transformed.forces_ev_per_ang).max() > 0.1
    assert largest_difference(transformed, diagonalised) < 2e-3


def test_an_odd_electron_is_never_put_into_full_bands(scratch: Path) -> None:
    lone = StructureRecord(lattice_ang=np.diag([3.4, 3.4, 3.4]).tolist(), species=("Na",), frac_coords=((0, 0, 0),))
    record = gamma_engine("cp2k").static(lone)
    assert record.corrections == ()
    assert "&OT" not in scratch_files(scratch, "cp2k.inp")[-1].read_text()
