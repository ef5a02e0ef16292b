"""How many threads a calculation has: one place that decides, for every numeric library.

One thread for each calculation and as many calculations as cores is the fastest use of a machine: the network gains
nothing from a second thread, and threads that wait for each other keep their cores busy, so that two calculations with
all cores each take 3 to 40 times longer.  Whoever wants more says so with ``OMP_NUM_THREADS``; such threads sleep while
they wait, unless ``OMP_WAIT_POLICY`` says otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

THREADS_VARIABLE = "OMP_NUM_THREADS"
"""Environment variable with the number of threads of one calculation; the other libraries follow it."""

FOLLOWING_VARIABLES = ("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}


def threads_per_calculation(environment: Mapping[str, str] = os.environ) -> int:
    """Number of threads of one calculation: what the environment says, else one."""
    stated = environment.get(THREADS_VARIABLE, "").split(",")[0].strip()  # OpenMP allows a number for each level
    return int(stated) if stated.isdigit() and int(stated) > 0 else 1


def thread_settings(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables that give each numeric library its number of threads; what is set already stays."""
    number = str(threads_per_calculation(environment))
    wanted = {THREADS_VARIABLE: number, **dict.fromkeys(FOLLOWING_VARIABLES, number), **WAITING}
    return {name: environment.get(name, value) for name, value in wanted.items()}


def state_threads() -> None:
    """Give this process and those that it starts their number of threads; before NumPy or PyTorch are loaded."""
    os.environ.update(thread_settings())


def limit_torch() -> None:
    """The same for PyTorch, which has read the environment long before."""
    import torch

    torch.set_num_threads(threads_per_calculation())
