"""How many calculations fit on this machine side by side."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from qdip_dft.units import BYTES_PER_GIB

if TYPE_CHECKING:
    from qdip_dft.engines.base import Engine

MEMORY_PER_WORKER_GIB = 2.0
"""A potential with its libraries takes 0.8 GiB, a force call of 300 atoms as much again."""

WORTH_STARTING_S = 60.0
"""Below this estimated time of all calculations a second process does not pay: it loads the potential in about 5 s."""


def choose_workers(engines: Iterable[Engine], *, estimated_s: float) -> int:
    """Return the number of worker processes: as many as there are cores, as far as the memory goes.

    DFT codes take all cores themselves, as their command says; for them it is one.

    Parameters
    ----------
    engines
        The engines of the study.
    estimated_s
        Estimated time of all that is to be calculated, in s.
    """
    from qdip_dft.engines.potential import PotentialEngine

    if estimated_s < WORTH_STARTING_S or not all(isinstance(engine, PotentialEngine) for engine in engines):
        return 1
    return max(1, min(count_cores(), int(free_memory_gib() / MEMORY_PER_WORKER_GIB)))


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory_gib() -> float:
    """Return the memory that is free on the machine and within the limit of the control group, in GiB."""
    free = [_read_available(), _read_cgroup_rest()]
    return min(amount for amount in free if amount is not None) if any(free) else MEMORY_PER_WORKER_GIB


def _read_available() -> float | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024 / BYTES_PER_GIB
    with suppress(OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / BYTES_PER_GIB
    return None


def _read_cgroup_rest() -> float | None:
    with suppress(OSError, ValueError):
        limit, used = (
            int(Path(f"/sys/fs/cgroup/memory.{name}").read_text(encoding="ascii")) for name in ("max", "current")
        )
        return (limit - used) / BYTES_PER_GIB
    return None
