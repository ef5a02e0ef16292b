"""After every state that FireWorks leaves behind the study goes on, without a second calculation."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fireworks import FWorker

from qdip_dft.cluster.database import ClusterDatabase
from qdip_dft.cluster.fireworks.control import list_statuses, rerun_failed
from qdip_dft.cluster.fireworks.outbox import Outbox
from qdip_dft.cluster.fireworks.queue import FireworksQueue
from qdip_dft.cluster.fireworks.reconcile import Reconciler
from qdip_dft.cluster.resources import Resources
from qdip_dft.cluster.submission import submit_through

LONG_AGO = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
def submitted(toy_plan: Any, launchpad: Any, database: ClusterDatabase) -> ClusterDatabase:
    submit_through(FireworksQueue(launchpad), toy_plan, resources=Resources())
    return database


@pytest.fixture
def mend(launchpad: Any, tmp_path: Path) -> Any:
    """One round of repairs; nothing is too young for it."""

    def run(live_jobs: frozenset[str] | None = frozenset(), **options: Any) -> dict[str, int]:
        outbox = Outbox(tmp_path / "outbox")
        return Reconciler(launchpad, outbox, live_jobs, grace_s=-60.0, lock_s=0.0, **options).run()

    return run


@pytest.fixture
def starts(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO, logger="qdip_dft.progress")

    def count() -> Counter[str]:
        events = (getattr(record, "progress", None) for record in caplog.records)
        return Counter(event.label for event in events if event is not None and event.kind == "started")

    return count


def check_out(launchpad: Any, state: str, *, batch_job: str | None = None) -> tuple[int, int]:
    """Leave a firework as a worker does that is killed at once."""
    firework, launch_id = launchpad.checkout_fw(FWorker(category="mlip"), ".", state=state)
    if batch_job is not None and state == "RESERVED":
        launchpad.set_reservation_id(launch_id, batch_job)
    elif batch_job is not None:
        launchpad.launches.update_one({"launch_id": launch_id}, {"$set": {"fworker.env.batch_job": batch_job}})
    return firework.fw_id, launch_id


def assert_it_goes_on(database: ClusterDatabase, work: Any, starts: Any) -> None:
    """Run the first stage to its end: three bulks, and the job that builds the next stage."""
    while database.fireworks.find_one({"spec.qdip.term": "advance", "state": "COMPLETED"}) is None:
        assert work(1) == 1
    assert {"bulk CsPbI3-alpha", "bulk CsPbI3-beta", "dot bulk PbTe"} <= set(starts())
    assert set(starts().values()) == {1}


def test_a_queue_in_order_needs_no_repair(submitted, mend, work, starts):
    assert mend() == {}
    work(2)
    assert mend() == {}
    assert_it_goes_on(submitted, work, starts)


def test_a_run_whose_batch_job_is_gone_starts_again(submitted, launchpad, mend, work, starts):
    check_out(launchpad, "RUNNING", batch_job="17")
    assert mend(frozenset({"17"})) == {}
    assert mend(frozenset({"18"})) == {"lost runs found": 1, "lost jobs started again": 1}
    assert_it_goes_on(submitted, work, starts)


def test_a_job_whose_memory_is_full_again_and_again_is_left_with_the_reason(submitted, launchpad, mend, work, starts):
    full = "batch job 17 was killed, most likely because its memory was full (sacct: OUT_OF_MEMORY)"
    submitted.fireworks.update_many({"name": {"$ne": "dot bulk PbTe"}}, {"$set": {"spec._priority": -1}})
    asked = []

    def lose_it() -> dict[str, int]:
        fw_id, _ = check_out(launchpad, "RUNNING", batch_job="17")
        asked.append(fw_id)
        return mend(explain_end=lambda number: full if number == "17" else None)

    for _ in range(2):
        assert lose_it() == {"lost runs found": 1, "out of memory": 1, "lost jobs started again": 1}
        assert list_statuses(submitted)[0].left == ()
    assert lose_it() == {"lost runs found": 1, "out of memory": 1, "claims passed on": 1}
    assert len(set(asked)) == 1
    assert mend() == {}
    assert list_statuses(submitted)[0].left == (f"dot bulk PbTe: {full}",)
    assert rerun_failed(launchpad, "toy-study") == 1
    assert list_statuses(submitted)[0].left == ()
    assert_it_goes_on(submitted, work, starts)


@pytest.mark.usefixtures("submitted")
def test_a_run_on_another_cluster_is_left_to_that_ones_reconciler(launchpad, mend):
    """Batch job 7 is unknown here and may run there; a launch without mark is from before there were marks."""
    _, launch_id = check_out(launchpad, "RUNNING", batch_job="7")
    launchpad.launches.update_one({"launch_id": launch_id}, {"$set": {"fworker.env.cluster": "there"}})
    assert mend(frozenset({"1"}), cluster="here") == {}
    assert mend(frozenset({"1"}), cluster="there")["lost runs found"] == 1


def test_a_silent_run_of_no_batch_job_starts_again(submitted, launchpad, mend, work, starts):
    check_out(launchpad, "RUNNING")
    assert mend() == {}
    assert mend(silence_s=-1) == {"lost runs found": 1, "lost jobs started again": 1}
    assert_it_goes_on(submitted, work, starts)


def test_a_reservation_whose_batch_job_is_gone_is_freed(submitted, launchpad, mend, work, starts):
    check_out(launchpad, "RESERVED", batch_job="17")
    assert mend(frozenset({"17"})) == {}
    assert mend() == {"reservations freed": 1}
    assert_it_goes_on(submitted, work, starts)


def test_a_reservation_without_launch_is_freed(submitted, mend, work, starts):
    submitted.fireworks.update_one({"state": "READY"}, {"$set": {"state": "RESERVED"}})
    assert mend() == {"reservations without launch freed": 1}
    assert_it_goes_on(submitted, work, starts)


def test_a_workflow_that_stays_locked_is_unlocked(submitted, mend, work, starts):
    workflows = submitted.database["workflows"]
    workflows.update_one({}, {"$set": {"locked": True}})
    assert mend() == {"workflows unlocked": 1}
    assert workflows.count_documents({"locked": True}) == 0
    assert_it_goes_on(submitted, work, starts)


def test_a_launch_that_ended_unnoticed_completes_its_firework(submitted, launchpad, mend, work, starts):
    """Killed after the launch was written and before the workflow was."""
    work(1)
    (done,) = submitted.fireworks.find({"state": "COMPLETED"})
    submitted.fireworks.update_one({"fw_id": done["fw_id"]}, {"$set": {"state": "RUNNING"}})
    states = f"fw_states.{done['fw_id']}"
    submitted.database["workflows"].update_one({}, {"$set": {states: "RUNNING"}})
    assert mend() == {"workflows refreshed": 1}
    assert launchpad.get_fw_by_id(done["fw_id"]).state == "COMPLETED"
    assert_it_goes_on(submitted, work, starts)


def test_a_firework_that_no_workflow_knows_is_removed(submitted, mend, work, starts):
    orphan = submitted.fireworks.find_one({"state": "READY"}, {"_id": 0})
    assert orphan is not None
    submitted.fireworks.insert_one({**orphan, "fw_id": 4711, "state": "WAITING"})
    assert mend() == {"orphans removed": 1}
    assert_it_goes_on(submitted, work, starts)


def test_a_result_left_in_the_outbox_is_delivered(submitted, mend, work, starts, tmp_path):
    work(1)
    done = submitted.database["calculations"].find_one_and_delete({}, {"_id": 0})
    assert done is not None
    import json

    (tmp_path / "outbox" / f"{done['uuid']}.json").write_text(json.dumps(done, default=str), encoding="utf-8")
    assert mend() == {"results delivered": 1}
    assert_it_goes_on(submitted, work, starts)


def test_a_claim_that_nobody_works_on_goes_to_who_waits(submitted, other_dot_plan, launchpad, mend, work):
    """The first submission lost its fireworks, as when somebody deletes its workflow with lpad."""
    submit_through(FireworksQueue(launchpad), other_dot_plan, resources=Resources())
    submitted.fireworks.delete_many({"spec.qdip.study": "toy-study"})
    submitted.database["workflows"].delete_many({"name": "toy-study"})
    assert mend() == {"claims passed on": 3}
    work()
    (document,) = submitted.archive().find_stabilizations("other-dot")
    assert document.stabilization.total_ev_per_fu is not None


def test_one_who_waits_for_something_stored_is_woken(submitted, other_dot_plan, launchpad, mend, work):
    submit_through(FireworksQueue(launchpad), other_dot_plan, resources=Resources())
    submitted.fireworks.update_many({"spec.qdip.study": "toy-study"}, {"$set": {"spec.qdip.job": str(uuid4())}})
    work(3)
    stored = submitted.database["calculations"].distinct("uuid")
    standing_by = submitted.fireworks.count_documents({"spec._category": "standby", "spec.qdip.job": {"$in": stored}})
    assert standing_by > 0
    assert mend()["standing by woken"] == standing_by


@pytest.mark.usefixtures("submitted")
def test_a_job_that_is_lost_again_and_again_is_left_for_people(launchpad, mend):
    fw_id, _ = check_out(launchpad, "RUNNING", batch_job="1")
    for _ in range(6):
        repairs = mend()
        if "lost jobs started again" in repairs:
            launchpad.checkout_fw(FWorker(category="mlip"), ".", fw_id=fw_id)
            launchpad.launches.update_many({"fw_id": fw_id}, {"$set": {"fworker.env.batch_job": "1"}})
    assert launchpad.get_fw_by_id(fw_id).state == "FIZZLED"
