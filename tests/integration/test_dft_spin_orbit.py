"""Spin-orbit coupling: in the energies of the terms, not in the relaxations, and never half of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from qdip_dft.engines.dft import DftEngine
from qdip_dft.engines.espresso.engine import EspressoEngine, find_pseudopotential, pseudopotential_folder
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.errors import EngineError
from qdip_dft.flows.engines import StudyEngines
from qdip_dft.flows.steps import Stage
from qdip_dft.model.calculation import CalculationTask, Freedom
from qdip_dft.model.keys import calculation_key
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.study import StudySpec
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study
from qdip_dft.runtime.journal import SCRATCH_VARIABLE
from tests.dft_codes import coarse_engine, require_code, rock_salt, scratch_files, silicon, spec_of


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path))
    return tmp_path


def with_spin_orbit(engine: DftEngine) -> EspressoEngine:
    assert isinstance(engine, EspressoEngine)
    return replace(engine, spin_orbit=True)


def gain_ev(name: str, structure: StructureRecord) -> float:
    """Return by how much the coupling lowers the energy of a cell."""
    scalar = coarse_engine(name, restart="none")
    return scalar.static(structure).energy_ev - with_spin_orbit(scalar).static(structure).energy_ev


def count_bands(output: Path) -> int:
    found = re.search(r"number of Kohn-Sham states= +(\d+)", output.read_text())
    assert found is not None
    return int(found[1])


def study_with_spin_orbit(functional: str) -> StudySpec:
    """Return the first study of the quick start with single points of another kind."""
    study = read_study("quickstart")
    spec = spec_of("espresso").model_copy(update={"spin_orbit": True, "functional": functional})
    return study.model_copy(update={"engine": spec})


def test_spin_orbit_coupling_lowers_lead_sulphide_and_doubles_its_bands(scratch: Path) -> None:
    # 6p of a lead atom splits by more than 1 eV; where it is nearly empty some tenths of an eV of it are left.
    assert 0.1 < gain_ev("espresso", rock_salt(5.94)) < 1.0
    scalar, spinors = (count_bands(output) for output in scratch_files(scratch, "pw.out"))
    assert spinors == 2 * scalar


@pytest.mark.usefixtures("scratch")
def test_spin_orbit_coupling_changes_nothing_where_the_atoms_are_light() -> None:
    # The splitting of the valence band of silicon is 44 meV; in the total energy it enters in second order.
    assert abs(gain_ev("espresso", silicon())) < 2e-3


def test_spinors_start_from_the_density_of_scalars_and_reach_the_same_energy_in_fewer_steps(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coarse = with_spin_orbit(coarse_engine("espresso", k_spacing_per_ang=3.0))
    anew = coarse.static(rock_salt(5.94))
    monkeypatch.setenv(SCRATCH_VARIABLE, str(scratch / "restarted"))
    coarse.for_relaxations().static(rock_salt(5.94))
    restarted = coarse.static(rock_salt(5.94))
    assert restarted.energy_ev == pytest.approx(anew.energy_ev, abs=1e-5)
    assert restarted.n_scf_steps is not None
    assert anew.n_scf_steps is not None
    assert restarted.n_scf_steps < anew.n_scf_steps
    _, spinors = scratch_files(scratch / "restarted", "pw.out")
    assert "density is read from file" in spinors.read_text()
    assert restarted.corrections == ()


def test_relaxations_are_those_of_the_study_without_spin_orbit_coupling() -> None:
    scalar = coarse_engine("espresso")
    engines = StudyEngines(with_spin_orbit(scalar))
    task = CalculationTask(label="", freedom=Freedom.CELL, structure=silicon())
    assert engines.relaxing == scalar
    assert calculation_key(task, engines.relaxing.theory(), {}) == calculation_key(task, scalar.theory(), {})
    assert dict(engines.by_purpose()) == {"geometry": scalar}


def test_only_energies_of_a_plan_have_spin_orbit_coupling() -> None:
    require_code("espresso")
    plan = plan_study(study_with_spin_orbit("PBE"))
    found = {stage: {"spin_orbit" in plan.engines.of(step).theory().settings for step in plan.steps.steps
                     if step.stage is stage} for stage in (Stage.RELAXATION, Stage.STATIC)}  # fmt: skip
    assert found == {Stage.RELAXATION: {False}, Stage.STATIC: {True}}


def test_a_plan_with_scalar_pseudopotentials_is_refused_with_their_names() -> None:
    require_code("espresso")
    folder = pseudopotential_folder("PBEsol")
    with pytest.raises(EngineError, match="functional: PBE") as caught:
        plan_study(study_with_spin_orbit("PBEsol")).list_calculations(lambda _: None)
    assert str(find_pseudopotential(folder, "Pb")) in caught.value.what


def test_level_of_theory_names_spin_orbit_coupling_only_where_it_is() -> None:
    scalar = coarse_engine("espresso")
    assert "spin_orbit" not in scalar.theory().settings
    assert with_spin_orbit(scalar).theory().settings["spin_orbit"] is True
    assert engine_from_spec(spec_of("espresso").model_copy(update={"spin_orbit": True})) == with_spin_orbit(scalar)
