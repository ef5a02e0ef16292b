"""The worker of jobflow-remote's batch jobs, which notes every job that it has run to its end; the first has no memory.

python noting_work.py LOG FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from qdip_dft.cluster.remote.work import has_ended, run_in
from qdip_dft.engines.testing import TestingEngine


def fill_memory(_: TestingEngine) -> None:
    """Be an engine without memory."""
    raise MemoryError


if __name__ == "__main__":
    log, folder = map(Path, sys.argv[1:])
    try:
        log.with_name("fault").touch(exist_ok=False)
        TestingEngine.load_potential = fill_memory  # type: ignore[assignment,method-assign]
    except FileExistsError:
        pass
    if run_in(folder) and has_ended(folder):
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{folder.name}\n")
