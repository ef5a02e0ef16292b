"""A queue of our own for each test, workers in this process, and a Slurm of our own."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fireworks import FWorker, LaunchPad
from fireworks.core.rocket_launcher import launch_rocket

from qdip_dft.cluster.database import ClusterDatabase
from qdip_dft.planning.plan import StudyPlan, plan_study
from qdip_dft.planning.study_files import read_study
from tests.cluster.private_slurm import PrivateSlurm, find_program
from tests.conftest import skip_or_fail

TOY_STUDY = Path(__file__).with_name("toy-study.yaml")
TOY_CAMPAIGN = TOY_STUDY.with_name("toy-campaign.yaml")


@pytest.fixture(scope="session")
def toy_plan() -> StudyPlan:
    """The plan of the study of the tests; its structures are built once."""
    return plan_study(read_study(str(TOY_STUDY)))


@pytest.fixture(scope="session")
def other_dot_plan() -> StudyPlan:
    """The same host on another dot."""
    study = read_study(str(TOY_STUDY))
    dot = study.dot.model_copy(update={"material": "PbSe"})
    return plan_study(study.model_copy(update={"name": "other-dot", "dot": dot}))


@pytest.fixture
def launchpad(mongo_uri: str) -> Iterator[LaunchPad]:
    """An empty queue in a database of its own."""
    opened = LaunchPad(host=mongo_uri, uri_mode=True, name=mongo_uri.partition("?")[0].rpartition("/")[2])
    opened.m_logger.setLevel(logging.ERROR)
    ClusterDatabase(opened.db).prepare()
    yield opened
    for thread in threading.enumerate():  # FireWorks' signs of life, which would find the connection closed
        if "ping_launch" in thread.name:
            thread.join(10)
    opened.connection.close()


@pytest.fixture
def database(launchpad: LaunchPad) -> ClusterDatabase:
    """The database of that queue."""
    return ClusterDatabase(launchpad.db)


@pytest.fixture
def work(launchpad: LaunchPad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """A worker: runs what is ready, at most so many jobs, and returns their number."""
    logging.getLogger("rocket.launcher").setLevel(logging.ERROR)

    def run_ready(limit: int = 1000, *, category: str = "mlip") -> int:
        worker = FWorker("tester", category=category, env={"outbox": str(tmp_path / "outbox"), "patience_s": 1})
        for count in range(limit):
            folder = tmp_path / f"launch-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            monkeypatch.chdir(folder)
            if not launch_rocket(launchpad, worker, strm_lvl="CRITICAL"):
                return count
        return limit

    return run_ready


@pytest.fixture(scope="session")
def slurm() -> Iterator[PrivateSlurm]:
    """A private Slurm of two nodes."""
    missing = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if find_program(name) is None]
    if missing:
        skip_or_fail(f"{', '.join(missing)} not installed (apt-get install slurm-wlm munge)")
    if os.geteuid() != 0:
        skip_or_fail("a private Slurm needs the rights of root")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)  # munge refuses a socket in a folder that others cannot enter
    started = PrivateSlurm(folder / "s")
    try:
        started.start()
        yield started
    finally:
        started.stop()
        shutil.rmtree(folder, ignore_errors=True)
