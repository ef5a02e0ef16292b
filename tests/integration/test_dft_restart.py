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

from qdip_dft.engines.recorded import SCRATCH_VARIABLE
from tests.dft_codes import CODES, require_code, silicon, spec_of

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
