"""Somebody else has written to the shared database: our tools import and run nothing that they find there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qdip_dft.cluster.database import ClusterDatabase
from qdip_dft.cluster.fireworks.queue import FireworksQueue
from qdip_dft.cluster.fireworks.worker import FOREIGN
from qdip_dft.cluster.resources import Resources
from qdip_dft.cluster.submission import submit_through
from qdip_dft.errors import ResultsError
from tests.cluster.test_walltime import worker_files

BAIT = {"@module": "this", "@class": "Poem", "@version": "1"}
"""Whoever decodes this imports the module ``this``, which Python itself never does."""


@pytest.fixture(autouse=True)
def nothing_is_imported() -> Any:
    sys.modules.pop("this", None)
    yield
    assert "this" not in sys.modules


def test_a_stored_output_that_names_a_class_is_refused_before_it_becomes_one(toy_plan, launchpad, database, work):
    submit_through(FireworksQueue(launchpad), toy_plan, resources=Resources())
    assert work(3) == 3
    database.database["calculations"].update_one({}, {"$set": {"output.result.structure": BAIT}})
    assert work(1) == 1  # the job that builds the next stage reads all three
    (fizzled,) = database.fireworks.find({"state": "FIZZLED"})
    action = database.database["launches"].find_one({"fw_id": fizzled["fw_id"]})["action"]
    assert "find out who may write to the database" in str(action)


def test_queries_leave_out_a_document_that_names_a_class(toy_plan, launchpad, database, work):
    submit_through(FireworksQueue(launchpad), toy_plan, resources=Resources())
    work(2)
    database.database["calculations"].update_one({}, {"$set": {"output.theory": BAIT}})
    assert len(list(database.archive().list_calculations())) == 1


@pytest.mark.parametrize(
    "task",
    [
        {"_fw_name": "ScriptTask", "script": "touch was-here"},
        {"_fw_name": "PyTask", "func": "this.poem"},
        {"_fw_name": "{{this.Poem}}"},
    ],
)
def test_our_worker_runs_no_task_but_ours(task, launchpad, database, tmp_path):
    insert_firework(launchpad, [task])
    run_worker(launchpad, tmp_path)
    assert not list(tmp_path.rglob("was-here"))
    assert database.fireworks.find_one({})["spec"]["_category"] == FOREIGN
    assert database.database["launches"].count_documents({}) == 0


def test_our_worker_decodes_nothing_that_stands_beside_the_task(launchpad, database, tmp_path):
    ours = {"_fw_name": "{{qdip_dft.cluster.fireworks.task.RunJob}}", "job": "{}"}
    insert_firework(
        launchpad, [ours], bait=BAIT, _background_tasks=[{"_fw_name": "ScriptTask", "script": "touch was-here"}]
    )
    insert_firework(launchpad, [ours], bait=BAIT)
    said = run_worker(launchpad, tmp_path)
    assert "this imported: False" in said
    assert not list(tmp_path.rglob("was-here"))
    with_script, with_bait = database.fireworks.find({}, sort={"fw_id": 1})
    assert with_script["spec"]["_category"] == FOREIGN
    assert with_bait["state"] == "FIZZLED"  # it was read, and is no job of ours


def insert_firework(launchpad: Any, tasks: list[dict[str, Any]], **spec: Any) -> None:
    """Put a firework into the queue as somebody would who knows the database and not our package."""
    from fireworks import Firework, PyTask

    number = launchpad.add_wf(Firework([PyTask(func="time.time")], spec={"_category": "mlip"}))
    (fw_id,) = number.values()
    changes = {"spec._tasks": tasks, **{f"spec.{name}": value for name, value in spec.items()}}
    ClusterDatabase(launchpad.db).fireworks.update_one({"fw_id": fw_id}, {"$set": changes})


WATCHED_WORKER = """
import sys
from qdip_dft.cluster.fireworks.worker import main
main()
print("this imported:", "this" in sys.modules)
"""


def run_worker(launchpad: Any, folder: Path) -> str:
    """Run a worker of ours until there is nothing left, and return what it says at its end."""
    command = [sys.executable, "-c", WATCHED_WORKER, *worker_files(launchpad, folder), "rapidfire", "--idle", "1"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd", "a/b"])
def test_the_name_of_a_study_from_the_database_cannot_leave_the_results_folder(name, tmp_path):
    from qdip_dft.storage.results_folder import ResultsFolder

    with pytest.raises(ResultsError, match="name"):
        ResultsFolder(tmp_path / "results").reports_folder(name)


def test_a_job_may_name_no_method_of_a_class_and_no_attribute_of_a_module(toy_plan):
    from qdip_dft.cluster.orders import is_advance
    from qdip_dft.cluster.stored_job import StoredJob, write_job

    job = next(job for job in toy_plan.make_flow(lambda _: None).jobs if not is_advance(job))
    content = json.loads(write_job(job))
    content["function_args"][1] = BAIT
    with pytest.raises(ResultsError, match="who may write to the database"):
        StoredJob(json.dumps(content)).run()
