"""What the real density-functional codes do after an interruption, and what they reuse."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qdip_dft.errors import OutOfTime
from qdip_dft.runtime.deadline import Deadline, working_until
from qdip_dft.runtime.journal import SCRATCH_VARIABLE
from tests.dft_codes import CODES, coarse_engine, require_code, silicon, spec_of

RUN = """
import json, sys
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.structure import StructureRecord
spec, structure = json.loads(sys.argv[1])
result = engine_from_spec(EngineSpec.model_validate(spec)).relax(
    StructureRecord.model_validate(structure), Freedom.POSITIONS
)
print(result.model_dump_json())
"""


@pytest.mark.parametrize("name", CODES)
def test_a_run_killed_in_the_middle_of_a_density_goes_on_and_gives_the_same_answer(name: str, tmp_path: Path) -> None:
    require_code(name)
    structure = silicon(rattle_ang=0.15)
    question = f"[{spec_of(name).model_dump_json()}, {structure.model_dump_json()}]"

    def start(scratch: str) -> subprocess.Popen[str]:
        environment = {**os.environ, SCRATCH_VARIABLE: str(tmp_path / scratch)}
        return subprocess.Popen(
            [sys.executable, "-c", RUN, question], env=environment, stdout=subprocess.PIPE, text=True
        )

    straight, _ = start("straight").communicate(timeout=300)
    victim = start("killed")
    wait_for_evaluations(tmp_path / "killed", n=2)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    kept = sum(1 for _ in evaluations(tmp_path / "killed"))
    resumed, _ = start("killed").communicate(timeout=300)
    one, other = (json_result(text) for text in (straight, resumed))
    assert kept >= 2
    assert other["energy_ev"] == pytest.approx(one["energy_ev"], abs=1e-4)
    assert other["is_converged"]
    assert sum(1 for _ in evaluations(tmp_path / "killed")) > kept


def json_result(text: str) -> dict[str, object]:
    content: dict[str, object] = json.loads(text.strip().splitlines()[-1])
    return content


def evaluations(scratch: Path) -> list[str]:
    return [line for path in scratch.glob("*/evaluations.jsonl") for line in path.read_text().splitlines() if line]


def wait_for_evaluations(scratch: Path, *, n: int) -> None:
    end = time.monotonic() + 200
    while len(evaluations(scratch)) < n:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(params=CODES)
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "scratch"))
    require_code(request.param)
    return str(request.param)


def test_a_restart_gives_the_same_energy_in_fewer_steps(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two arrangements as they follow each other at the end of a relaxation."""
    near = silicon(rattle_ang=0.101)
    coarse_engine(name).static(silicon(rattle_ang=0.1))
    restarted = coarse_engine(name).static(near)
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "other"))
    scratch = coarse_engine(name, restart="none").static(near)
    assert restarted.energy_ev == pytest.approx(scratch.energy_ev, abs=1e-5)
    assert restarted.n_scf_steps is not None
    assert scratch.n_scf_steps is not None
    assert restarted.n_scf_steps < scratch.n_scf_steps
    assert (restarted.restart, scratch.restart) == ("full", "none")
    assert coarse_engine(name).theory() == coarse_engine(name, restart="none").theory()


def test_a_code_stops_itself_before_its_allocation_ends_and_the_next_run_gives_the_answer(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    structure = silicon(rattle_ang=0.1)
    slow = coarse_engine(name, k_spacing_per_ang=0.5)
    with (
        working_until(Deadline(end_s=time.time() + 2.0, margin_s=0.0)),
        pytest.raises(OutOfTime, match="run the same again"),
    ):
        slow.static(structure)
    continued = slow.static(structure)
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "other"))
    straight = coarse_engine(name, k_spacing_per_ang=0.5, restart="none").static(structure)
    assert continued.energy_ev == pytest.approx(straight.energy_ev, abs=1e-5)


def test_files_that_do_not_fit_are_left_out_and_the_record_says_so(name: str, tmp_path: Path) -> None:
    coarse_engine(name).static(silicon(rattle_ang=0.04))
    for path in (tmp_path / "scratch" / "restart").rglob("*"):
        if path.is_file():
            path.write_bytes(b"cut short" + path.read_bytes()[:100])
    near = silicon(rattle_ang=0.02)
    result = coarse_engine(name).static(near)
    assert any("left out" in words for words in result.corrections)
    straight = coarse_engine(name, restart="none", k_spacing_per_ang=1.2000001).static(near)
    assert result.energy_ev == pytest.approx(straight.energy_ev, abs=1e-5)
