"""What a batch job runs: one job, in its own folder, without a database.

    python -m qdip_dft.cluster.remote.work FOLDER

A runner that was killed after it had called the batch system does not know so and calls it again.  Therefore a folder
belongs to one process at a time, and a job that has ended there is not run again.  The next one may have been killed
at any moment: what is cut short is removed, what was evaluated before is gone on from.
"""

from __future__ import annotations

import fcntl
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qdip_dft.cluster.stored_job import require_known_job
from qdip_dft.runtime.journal import recording_in
from qdip_dft.runtime.unlinked import open_unlinked

LOCK = "qdip.lock"
DATA = "remote_job_data.json"
"""jobflow-remote's name for the output of a job."""


def run_in(folder: Path) -> bool:
    """Run the job of a folder unless it has ended there; return whether it was run."""
    from jobflow_remote.jobs.data import IN_FILENAME
    from jobflow_remote.jobs.run import run_remote_job

    with _owning(folder):
        if has_ended(folder):
            return False
        if not _is_readable(folder / DATA):
            (folder / DATA).unlink(missing_ok=True)
        require_known_job(json.loads((folder / IN_FILENAME).read_text(encoding="utf-8"))["job"])
        with recording_in(folder):
            run_remote_job(folder)
        return True


def has_ended(folder: Path) -> bool:
    """Return whether a job has ended in a folder with a result and without an error."""
    from jobflow_remote.jobs.data import OUT_FILENAME

    out = folder / OUT_FILENAME
    if not (_is_readable(out) and _is_readable(folder / DATA)):
        return False
    said = json.loads(out.read_text(encoding="utf-8"))
    return said.get("response") is not None and said.get("error") is None


def _is_readable(file: Path) -> bool:
    try:
        return bool(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


@contextmanager
def _owning(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel gives it back when the process ends, however it ends."""
    with open_unlinked(folder / LOCK, mode="a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    run_in(Path(sys.argv[1]))
