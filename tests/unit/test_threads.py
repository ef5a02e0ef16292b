"""Every calculation has a stated number of threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from qdip_dft.runtime.threads import thread_settings, threads_per_calculation


@pytest.mark.parametrize(("stated", "expected"), [(None, 1), ("3", 3), ("4,2", 4), ("", 1), ("0", 1), ("many", 1)])
def test_a_calculation_has_one_thread_unless_another_number_is_stated(stated: str | None, expected: int) -> None:
    environment = {} if stated is None else {"OMP_NUM_THREADS": stated}
    assert threads_per_calculation(environment) == expected


def test_all_libraries_follow_the_stated_number() -> None:
    found = thread_settings({"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "2"})
    assert found["OPENBLAS_NUM_THREADS"] == "3"
    assert found["MKL_NUM_THREADS"] == "2"


def test_threads_sleep_while_they_wait_unless_told_otherwise() -> None:
    assert thread_settings({})["OMP_WAIT_POLICY"] == "PASSIVE"
    assert thread_settings({"OMP_WAIT_POLICY": "ACTIVE"})["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize(("stated", "expected"), [({}, "1"), ({"OMP_NUM_THREADS": "2"}, "2")])
def test_pytorch_keeps_to_the_number(stated: dict[str, str], expected: str) -> None:
    code = (
        "from qdip_dft.runtime.threads import limit_torch; import torch; limit_torch(); print(torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment | stated, capture_output=True, text=True, check=True
    )
    assert found.stdout.split()[-1] == expected
