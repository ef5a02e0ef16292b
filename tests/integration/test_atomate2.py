"""VASP run by atomate2 in the flow of a study, with the stand-in program: what powerups may change, and what not."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from atomate2.common.powerups import add_metadata_to_flow
from atomate2.vasp.jobs.base import BaseVaspMaker
from atomate2.vasp.powerups import (
    update_user_incar_settings,
    update_user_kpoints_settings,
    update_vasp_custodian_handlers,
)
from custodian.vasp.handlers import VaspErrorHandler
from jobflow import Flow, JobStore, run_locally
from maggma.stores import MemoryStore
from monty.io import zopen

from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.vasp.engine import VERSION_VARIABLE, VaspEngine
from qdip_dft.errors import EngineError, StudyError
from qdip_dft.execution.local import run_study
from qdip_dft.jobs.by_atomate2 import atomate2_jobs, list_makers
from qdip_dft.model.calculation import CalculationRecord, CalculationTask, Freedom
from qdip_dft.model.engine import Dispersion, EngineSpec, Runner
from qdip_dft.model.keys import calculation_key
from qdip_dft.model.structure import StructureRecord
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.stabilization import StabilizationMaker
from qdip_dft.planning.study_files import read_study
from qdip_dft.runtime.journal import SCRATCH_VARIABLE
from tests.unit.studies import TINY_STUDY
from tests.unit.test_vasp import STAND_IN, cubic, write_potentials

pytestmark = [
    pytest.mark.filterwarnings("ignore:cd is deprecated"),
    pytest.mark.filterwarnings("ignore:Some jobs are not connected"),
    pytest.mark.filterwarnings("ignore:POTCAR data with symbol"),  # stand-ins, which pymatgen does not know
]

STUDY: dict[str, Any] = {
    **TINY_STUDY,
    "name": "by-atomate2",
    "engine": {"name": "vasp", "runner": "atomate2", "dispersion": "d3bj"},
    "geometry": {"name": "testing"},
}
"""Energies of the stand-in at structures of the toy potential."""


@pytest.fixture(autouse=True)
def vasp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in as the program, in the environment as well as in the settings that atomate2 read at its import."""
    from atomate2.vasp import run
    from pymatgen.core import SETTINGS

    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(tmp_path / "potentials"))
    write_potentials(tmp_path / "potentials", "Cs_sv", "I", "Pb_d", "Te")
    program = f"{sys.executable} -P {STAND_IN}"
    variables = {
        "PYTHONPATH": str(STAND_IN.parents[1]),
        VERSION_VARIABLE: "6.4.2",
        "FAKE_VASP": "version=6.4.2",
        SCRATCH_VARIABLE: str(tmp_path / "scratch"),
        "ATOMATE2_VASP_CMD": program,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    kind, _, *others = run.run_vasp.__defaults__
    monkeypatch.setattr(run.run_vasp, "__defaults__", (kind, program, *others))


def by_atomate2(**changes: Any) -> VaspEngine:
    spec = {"name": "vasp", "runner": Runner.ATOMATE2, "dispersion": Dispersion.NONE, **changes}
    engine = engine_from_spec(EngineSpec(**spec))
    assert isinstance(engine, VaspEngine)
    return engine


def as_flow(structure: StructureRecord, freedom: Freedom = Freedom.NONE, *, engine: VaspEngine | None = None) -> Flow:
    found = engine or by_atomate2()
    task = CalculationTask(label="bulk of a test", freedom=freedom, structure=structure)
    key = calculation_key(task, found.theory(), found.relaxation_settings())
    jobs = atomate2_jobs(task, found, list_makers([found])[found.name], key=key)
    return Flow(list(jobs), output=jobs[-1].output)


def carry(flow: Flow, folder: Path) -> JobStore:
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    run_locally(flow, store=store, log=False, root_dir=folder, create_folders=True)
    return store


def record_of(flow: Flow, store: JobStore) -> CalculationRecord:
    output = {name: value for name, value in store.get_output(flow.jobs[-1].uuid).items() if name != "checksum"}
    return CalculationRecord.model_validate(output)


def written(folder: Path, name: str) -> Iterator[str]:
    """Every input of a name that was written below a folder."""
    for path in sorted(each for each in folder.glob(f"**/{name}*") if ".orig" not in each.name):
        with zopen(path, "rt", encoding="utf-8") as file:
            yield str(file.read())


def test_an_energy_is_that_of_our_own_runner_and_has_its_key(tmp_path: Path) -> None:
    structure, flow = cubic(), as_flow(cubic())
    store = carry(flow, tmp_path / "run")
    record, own = record_of(flow, store), engine_from_spec(EngineSpec(name="vasp", dispersion=Dispersion.NONE))
    expected = own.static(structure)
    assert record.failure is None
    assert record.result is not None
    assert record.result.energy_ev == pytest.approx(expected.energy_ev, abs=1e-8)
    assert record.result.structure == structure
    assert record.theory == own.theory()
    assert record.key == calculation_key(record.task, own.theory(), own.relaxation_settings())
    document = store.query_one({"name": "bulk of a test"})
    assert document is not None
    assert document["output"]["task_label"] == "bulk of a test"
    assert document["output"]["output"]["energy"] == pytest.approx(expected.energy_ev + 0.01, abs=0.02)
    assert document["output"]["state"] == "successful"


@pytest.mark.parametrize("freedom", [Freedom.POSITIONS, Freedom.CELL, Freedom.OUT_OF_PLANE])
def test_vasp_itself_relaxes_what_may_move(tmp_path: Path, freedom: Freedom) -> None:
    structure = cubic(rattle_ang=0.05)
    flow = as_flow(structure, freedom)
    record = record_of(flow, carry(flow, tmp_path))
    assert record.failure is None
    assert record.result is not None
    assert record.result.max_force_ev_per_ang <= by_atomate2().relaxation.force_threshold_ev_per_ang
    moved = [
        one != other for one, other in zip(record.result.structure.lattice_ang, structure.lattice_ang, strict=True)
    ]
    assert moved == {"positions": [False] * 3, "cell": [True] * 3, "out_of_plane": [False, False, True]}[freedom.value]
    own = engine_from_spec(EngineSpec(name="vasp", dispersion=Dispersion.NONE))
    assert record.theory == own.theory()
    assert record.key != calculation_key(record.task, own.theory(), own.relaxation_settings())


def test_a_version_that_holds_no_vectors_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VERSION_VARIABLE, "6.3.2")
    by_atomate2().require_freedom(Freedom.CELL)
    with pytest.raises(EngineError, match="leave `runner: atomate2` out"):
        by_atomate2().require_freedom(Freedom.OUT_OF_PLANE)


def test_a_tag_of_parallel_running_is_in_the_incar_and_changes_nothing(tmp_path: Path) -> None:
    flow = update_user_incar_settings(as_flow(cubic()), {"NCORE": 4})
    record = record_of(flow, carry(flow, tmp_path))
    assert record.failure is None
    assert all(re.search(r"^NCORE *= *4$", text, re.MULTILINE) for text in written(tmp_path, "INCAR"))
    assert any("NCORE = 4" in words for words in record.result.warnings if record.result is not None)


def test_a_powerup_that_changes_the_physics_is_a_failure_that_names_it(tmp_path: Path) -> None:
    changed = {
        "ENCUT": update_user_incar_settings(as_flow(cubic()), {"ENCUT": 600}),
        "SIGMA": update_user_incar_settings(as_flow(cubic()), {"SIGMA": 0.2}),
        "IVDW": update_user_incar_settings(as_flow(cubic()), {"IVDW": 12}),
        "k-points": update_user_kpoints_settings(as_flow(cubic()), {"reciprocal_density": 5}),
    }
    names = {"IVDW": "dispersion in the code"}
    for name, flow in changed.items():
        record = record_of(flow, carry(flow, tmp_path / name))
        assert record.result is None
        assert record.failure is not None
        assert names.get(name, name) in record.failure


def test_handlers_and_metadata_are_those_of_the_user(tmp_path: Path) -> None:
    flow = update_vasp_custodian_handlers(as_flow(cubic()), (VaspErrorHandler(),))
    flow = add_metadata_to_flow(flow, {"project": "dots"}, BaseVaspMaker)
    (maker,) = [job.maker for job in flow.jobs if job.maker is not None]
    assert [type(handler).__name__ for handler in maker.run_vasp_kwargs["handlers"]] == ["VaspErrorHandler"]
    store = carry(flow, tmp_path)
    assert store.query_one({"output.project": "dots"}) is not None


@pytest.mark.filterwarnings("ignore:.*is an unconverged VASP run")
def test_an_unconverged_density_is_a_failure_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VASP", "version=6.4.2;unconverged=9")
    flow = as_flow(cubic())
    record = record_of(flow, carry(flow, tmp_path))
    assert record.failure is not None
    assert "not self-consistent" in record.failure


@pytest.mark.slow
def test_a_study_has_the_terms_of_our_own_runner_whoever_runs_vasp(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY), "utf-8")
    flow = update_user_incar_settings(StabilizationMaker.from_study(str(path)).make(), {"NCORE": 2})
    store = carry(flow, tmp_path / "run")
    answer = store.get_output(flow.jobs[-1].uuid, which="last")["stabilization"]
    own = {**STUDY, "engine": {"name": "vasp", "dispersion": "d3bj"}}
    path.write_text(yaml.safe_dump(own), "utf-8")
    (document,) = run_study(plan_study(read_study(str(path))), results=tmp_path / "own").documents
    for name in ("bulk_ev_per_fu", "strain_ev_per_fu", "surface_ev_per_fu", "binding_ev_per_fu", "total_ev_per_fu"):
        assert answer[name] == pytest.approx(getattr(document.stabilization, name), abs=1e-9)
    incars = list(written(tmp_path / "run", "INCAR"))
    assert len(incars) == len(list(store.query({"output.task_label": {"$exists": True}}, {"uuid": 1}))) > 4
    assert all(re.search(r"^NCORE *= *2$", text, re.MULTILINE) for text in incars)  # later stages, too


def test_a_powerup_without_anything_to_change_says_so(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, "engine": {"name": "testing"}}), "utf-8")
    flow = StabilizationMaker.from_study(str(path)).make()
    with pytest.warns(UserWarning, match="changed nothing in the flow of by-atomate2"):
        update_user_incar_settings(flow, {"NCORE": 2})


def test_our_own_managers_leave_such_a_study_to_others(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY), "utf-8")
    plan = plan_study(read_study(str(path)))
    with pytest.raises(EngineError, match="qdip import-store"):
        run_study(plan, results=tmp_path / "results")
    assert not (tmp_path / "results").exists()
    scans = {"engine": {"name": "vasp", "runner": "atomate2"}}
    path.write_text(yaml.safe_dump({**STUDY, "film": {**STUDY["film"], "registry_scan": scans}}), "utf-8")
    with pytest.raises(StudyError, match=r"leave `runner` out of film\.registry_scan"):
        _ = plan_study(read_study(str(path))).engines
    with pytest.raises(EngineError, match="leave `runner` out"):
        engine_from_spec(EngineSpec(name="espresso", runner=Runner.ATOMATE2))
