"""What a study asks for does not hang on the last bit of a number, nor on the processor that plans it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from qdip_dft.library.collections import list_studies
from tests.plan_fingerprint import Decisions, add_noise, decide, find_differences, plan_of

N_SEEDS = int(os.environ.get("QDIP_NOISE_SEEDS", "2"))
"""How often every study is planned with noise; 50 take a quarter of an hour."""

AVX512 = Path("/proc/cpuinfo")
KERNELS = [("Haswell", 1), ("Zen", 2), ("Nehalem", 1)]
if AVX512.is_file() and "avx512dq" in AVX512.read_text(encoding="utf-8"):
    KERNELS.append(("SkylakeX", 2))

each_study = pytest.mark.parametrize("path", list_studies(), ids=lambda path: path.stem)


@cache
def decided(path: Path) -> Decisions:
    return decide(plan_of(path))


@each_study
def test_noise_turns_no_decision(path: Path) -> None:
    plan = plan_of(path)
    for seed in range(N_SEEDS):
        assert find_differences(decided(path), decide(add_noise(plan, seed))) == [], f"seed {seed}"


@pytest.mark.parametrize(("kernel", "n_threads"), KERNELS)
def test_another_kernel_turns_no_decision(kernel: str, n_threads: int, repository: Path, tmp_path: Path) -> None:
    written = tmp_path / "decisions.json"
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(n_threads))
    subprocess.run(
        [sys.executable, "-W", "ignore", "tests/plan_fingerprint.py", str(written)],
        check=True,
        cwd=repository,
        env={**os.environ, **threads, "OPENBLAS_CORETYPE": kernel},
    )
    there = json.loads(written.read_text(encoding="utf-8"))
    here = {path.stem: decided(path) for path in list_studies()}
    assert find_differences(here, there) == []


def test_a_difference_is_found() -> None:
    path = next(path for path in list_studies() if path.stem == "quickstart")
    changed = json.loads(json.dumps(decided(path)))
    changed["candidates"][0]["cut"][0] += 1
    (found,) = find_differences(decided(path), changed)
    assert found.startswith("/candidates[0]/cut[0]")
