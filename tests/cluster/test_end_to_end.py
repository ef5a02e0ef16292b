"""From nothing to a report through a real MongoDB and a real Slurm, as a new user would do it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qdip_dft.model.term_names import TERM_FIELDS, TOTAL_FIELD
from qdip_dft.storage.location import open_results
from tests.cluster.conftest import TOY_STUDY
from tests.cluster.private_slurm import PrivateSlurm
from tests.command_line import qdip
from tests.private_mongod import PrivateMongod

LIMIT_S = 180.0
TERMS = (*TERM_FIELDS, TOTAL_FIELD)


@pytest.fixture(scope="module")
def local_report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    results = tmp_path_factory.mktemp("local") / "results"
    return dict(json.loads(qdip("run", TOY_STUDY, "--results", results, "--quiet", "--json").stdout))


def init_cluster(folder: Path, mongod: PrivateMongod, mongo_uri: str, *options: str) -> None:
    database = mongo_uri.partition("?")[0].rpartition("/")[2]
    password_file = folder.with_suffix(".password")
    password_file.write_text(mongod.password, encoding="utf-8")
    qdip(
        "init-cluster", folder, "--uri", f"mongodb://{mongod.host}:{mongod.port}", "--user", mongod.username,
        "--password-file", password_file, "--database", database, "--authentication-database", "admin", *options,
    )  # fmt: skip


@contextmanager
def qlaunch(cluster: Path, slurm: PrivateSlurm, *arguments: str) -> Iterator[None]:
    """Feed the batch system with nothing but the worker's FW_config.yaml, and empty it at the end."""
    environment = {
        **os.environ,
        **slurm.environment,
        "FW_CONFIG_FILE": str(cluster / "mlip" / "FW_config.yaml"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "fireworks.scripts.qlaunch_run", *arguments]
    silent: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=cluster / "launches", env=environment, **silent)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)
        slurm.call("scancel", "--full", f"--partition={slurm.partition}")


def wait_for(cluster: Path, is_reached: Callable[[dict[str, Any]], bool]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while True:
        (status,) = json.loads(qdip("queue", "toy-study", "--cluster", cluster, "--json").stdout)
        if is_reached(status):
            return
        logs = "".join(path.read_text() for path in cluster.glob("launches/**/*.error"))
        assert time.monotonic() < deadline_s, f"{status}\n{logs[-3000:]}"
        time.sleep(0.5)


def test_one_allocation_on_both_nodes_runs_a_whole_study(mongod, mongo_uri, slurm, local_report, tmp_path):
    cluster = tmp_path / "cluster"
    init_cluster(cluster, mongod, mongo_uri, "--packed-nodes", "2", "--packed-ranks", "2")
    assert "4 fireworks" in qdip("submit", TOY_STUDY, "--cluster", cluster).stdout
    with qlaunch(cluster, slurm, "singleshot"):
        wait_for(cluster, lambda status: status["state"] == "finished")
    qdip("db", "copy", mongo_uri, tmp_path / "results")
    report = json.loads(qdip("report", "toy-study", "--results", tmp_path / "results", "--json").stdout)
    for phase in local_report["phases"]:
        for term in TERMS:
            assert report["phases"][phase][term] == pytest.approx(local_report["phases"][phase][term], abs=1e-9)
    assert "0 fireworks" in qdip("submit", TOY_STUDY, "--cluster", cluster).stdout
    assert slurm.list_node_sets()[-1] == "n[1-2]"


def test_every_job_may_have_a_batch_job_of_its_own(mongod, mongo_uri, slurm, toy_plan, tmp_path):
    """The first stage: three bulks on both nodes; the next stage is built in a batch job, too."""
    cluster = tmp_path / "cluster"
    init_cluster(cluster, mongod, mongo_uri, "--packed-ranks", "0")
    qdip("submit", TOY_STUDY, "--cluster", cluster)
    with qlaunch(cluster, slurm, "--reserve", "rapidfire", "--nlaunches", "4", "--sleep", "1"):
        wait_for(cluster, lambda status: "strain" in status["counts"])
    archive = open_results(mongo_uri)
    stored = {record.task.label: record for record in archive.list_calculations()}
    for task in toy_plan.resolve(lambda _: None).ready.values():
        expected = toy_plan.engine.relax(task.structure, task.freedom)
        assert stored[task.label].result.energy_ev == pytest.approx(expected.energy_ev, abs=1e-9)
    assert {"n1", "n2"} <= set(slurm.list_node_sets())
