"""A code that is kept alive between the steps of a relaxation gives what one start per step gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qdip_dft.engines.code_run import Setting
from qdip_dft.engines.dft import DftEngine
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import Freedom
from qdip_dft.runtime.journal import SCRATCH_VARIABLE
from tests.dft_codes import coarse_engine, silicon


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path))


def setting_of(engine: DftEngine, folder: Path, *, is_kept_alive: bool) -> Setting:
    folder.mkdir()
    setting = engine.setting_of(silicon(), Freedom.POSITIONS, folder)
    assert setting.is_kept_alive
    return replace(setting, is_kept_alive=is_kept_alive)


@pytest.mark.parametrize("name", ["espresso", "gpaw"])
def test_energies_and_forces_are_those_of_one_start_per_step(name: str, tmp_path: Path) -> None:
    engine = coarse_engine(name)
    steps = [silicon(rattle_ang=rattle).arrangement for rattle in (0.02, 0.05, 0.03)]
    kept = engine.start(setting_of(engine, tmp_path / "kept", is_kept_alive=True))
    anew = engine.start(setting_of(engine, tmp_path / "anew", is_kept_alive=False))
    try:
        pairs = [(kept.evaluate(step), anew.evaluate(step)) for step in steps]
    finally:
        kept.close()
    for of_kept, of_anew in pairs:
        assert of_kept.energy_ev == pytest.approx(of_anew.energy_ev, abs=1e-5)
        # Forces are of first order in what self-consistency leaves open; two fresh starts differ as much.
        assert of_kept.forces_ev_per_ang == pytest.approx(of_anew.forces_ev_per_ang, abs=2e-3)
        assert of_kept.stress_ev_per_ang3 == pytest.approx(of_anew.stress_ev_per_ang3, abs=1e-4)


@pytest.mark.parametrize("name", ["espresso", "gpaw"])
def test_only_relaxations_in_a_fixed_cell_are_kept_alive(name: str, tmp_path: Path) -> None:
    engine = coarse_engine(name)
    kept = {freedom for freedom in Freedom if engine.setting_of(silicon(), freedom, tmp_path).is_kept_alive}
    assert kept == {Freedom.POSITIONS}


@pytest.mark.parametrize("name", ["espresso", "gpaw"])
def test_a_relaxation_leaves_what_its_static_calculation_begins_with(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = coarse_engine(name)
    relaxed = engine.relax(silicon(rattle_ang=0.05), Freedom.POSITIONS)
    assert relaxed.is_converged
    again = engine.static(relaxed.structure)
    assert again.energy_ev == pytest.approx(relaxed.energy_ev, abs=1e-5)
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "another"))
    fresh = engine.static(relaxed.structure)
    assert again.n_scf_steps is not None
    assert fresh.n_scf_steps is not None
    assert again.n_scf_steps < fresh.n_scf_steps


def test_a_driver_that_contradicts_its_output_gives_no_energy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = coarse_engine("espresso")
    monkeypatch.setattr("qdip_dft.engines.espresso.driver.read_energy_ev", lambda _: -1.0)
    run = engine.start(setting_of(engine, tmp_path / "run", is_kept_alive=True))
    with pytest.raises(EngineError, match=r"pw\.x sent -?\d+\.\d+ eV and wrote -1\.0+ eV"):
        run.evaluate(silicon().arrangement)
