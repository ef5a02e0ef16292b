"""Studies in the queue: the numbers of a local run, and every calculation once for the whole group."""

from __future__ import annotations

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread
from typing import Any

import pytest
from fireworks import LaunchPad

from qdip_dft.cli.managers import Action, act_on_study
from qdip_dft.cluster.database import STANDBY, ClusterDatabase
from qdip_dft.cluster.fireworks.control import cancel_study, list_statuses, pause_study, rerun_failed, resume_study
from qdip_dft.cluster.fireworks.queue import FireworksQueue
from qdip_dft.cluster.folder import write_cluster_folder
from qdip_dft.cluster.resources import Resources
from qdip_dft.cluster.submission import SubmitSummary, count_together, submit_through
from qdip_dft.errors import ResultsError
from qdip_dft.execution.local import run_study
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.planning.campaign import plan_all
from qdip_dft.planning.plan import StudyPlan, plan_study
from tests.cluster.conftest import TOY_CAMPAIGN

N_CALCULATIONS = 24  # 22 of the terms and two registry scans
N_STAGES = 5


def submit(plan: StudyPlan, launchpad: Any, **options: Any) -> SubmitSummary:
    return submit_through(FireworksQueue(launchpad), plan, resources=Resources(), **options)


def result_of(plan: StudyPlan, database: ClusterDatabase) -> StabilizationDoc:
    (document,) = database.archive().find_stabilizations(plan.study.name)
    return document


def engine_starts(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the label of every calculation that an engine has begun."""
    events = (getattr(record, "progress", None) for record in caplog.records)
    return [event.label for event in events if event is not None and event.kind == "started"]


@pytest.fixture
def listening(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="qdip_dft.progress")
    return caplog


def test_a_queued_study_gives_the_numbers_of_a_local_run(toy_plan, launchpad, database, work, tmp_path):
    summary = submit(toy_plan, launchpad)
    assert (summary.n_fireworks, summary.n_later) == (4, N_CALCULATIONS - 3)
    assert work() == N_CALCULATIONS + N_STAGES
    assert submit(toy_plan, launchpad).n_fireworks == 0
    (local,) = run_study(toy_plan, results=tmp_path / "local").documents
    queued = result_of(toy_plan, database)
    for mine, theirs in zip(queued.candidates, local.candidates, strict=True):
        assert mine.total_ev_per_fu == pytest.approx(theirs.total_ev_per_fu, abs=1e-9)
        assert mine.binding_ev_per_fu == pytest.approx(theirs.binding_ev_per_fu, abs=1e-9)
    assert queued.calculations == local.calculations
    assert queued.stabilization.sentence == local.stabilization.sentence


def test_a_dry_run_leaves_the_database_as_it_was(toy_plan, launchpad, database):
    summary = submit(toy_plan, launchpad, is_dry_run=True)
    assert summary.classes == {"mlip": 3}
    assert database.fireworks.count_documents({}) == 0
    assert database.claims.collection.count_documents({}) == 0
    assert list_statuses(database) == []


def test_a_running_study_again_is_no_firework_and_says_who_has_submitted_it(toy_plan, launchpad, work):
    submit(toy_plan, launchpad)
    work(2)
    again = submit(toy_plan, launchpad)
    assert again.n_fireworks == 0
    assert "submitted already by" in again.note


def test_a_second_dot_on_the_host_repeats_no_calculation_of_the_host(
    toy_plan, other_dot_plan, launchpad, work, listening
):
    submit(toy_plan, launchpad)
    work()
    summary = submit(other_dot_plan, launchpad)
    assert summary.n_stored == 4  # both phases of the host, relaxed and static
    assert summary.n_fireworks == 2  # the bulk of the dot, and what follows
    work()
    assert max(Counter(engine_starts(listening)).values()) == 1
    assert not any(label.startswith("bulk") for label in engine_starts(listening)[N_CALCULATIONS:])


def test_a_campaign_makes_as_many_calculations_as_it_announced(launchpad, database, work):
    """Announced before anything has relaxed; afterwards a larger campaign pays for its third dot alone."""
    plans = plan_all([str(TOY_CAMPAIGN)]).plans
    counts = count_together(database, plans)
    assert (counts.n_total, counts.n_stored) == (2 * N_CALCULATIONS, 0)
    for plan in plans:
        submit(plan, launchpad)
    work()
    assert database.database["calculations"].count_documents({"output.key": {"$exists": True}}) == counts.n_new
    assert counts.n_new == counts.n_total - counts.n_shared
    again = count_together(database, plans)
    assert (again.n_stored, again.n_new) == (counts.n_new, 0)
    assert sum(submit(plan, launchpad).n_fireworks for plan in plans) == 0


def test_what_others_are_making_is_counted_as_theirs(toy_plan, launchpad, database):
    submit(toy_plan, launchpad)
    counts = count_together(database, [toy_plan])
    assert (counts.n_claimed, counts.n_new) == (3, N_CALCULATIONS - 3)


def test_a_second_study_waits_for_what_the_first_is_calculating(  # noqa: PLR0917 (fixtures)
    toy_plan, other_dot_plan, launchpad, database, work, listening
):
    submit(toy_plan, launchpad)
    summary = submit(other_dot_plan, launchpad)
    assert summary.n_shared == 2  # both bulks of the host
    assert work() == 2 * (N_CALCULATIONS + N_STAGES)
    assert max(Counter(engine_starts(listening)).values()) == 1
    assert result_of(other_dot_plan, database).stabilization.total_ev_per_fu is not None
    assert database.claims.collection.count_documents({}) == 0


def test_one_who_is_woken_while_fireworks_writes_its_state_stays_awake(
    toy_plan, other_dot_plan, launchpad, database, monkeypatch
):
    """FireWorks reads a firework, changes its state and writes it back as a whole; what changes meanwhile is lost."""
    submit(toy_plan, launchpad)
    submit(other_dot_plan, launchpad)
    (shared, *_) = database.fireworks.distinct("spec.qdip.job", {"spec._category": STANDBY})
    (waiting,) = database.fireworks.find({"spec.qdip.job": shared, "spec._category": STANDBY})
    wakers: list[Thread] = []
    write = LaunchPad._upsert_fws

    def wake_and_write(self: LaunchPad, fireworks: list[Any], **options: Any) -> Any:
        if waiting["fw_id"] in [firework.fw_id for firework in fireworks] and not wakers:
            wakers.append(Thread(target=database.wake, args=[[shared]]))
            wakers[0].start()
            wakers[0].join(0.5)  # without a lock it is over by now, with one it waits until the state is written
        return write(self, fireworks, **options)

    monkeypatch.setattr(LaunchPad, "_upsert_fws", wake_and_write)
    launchpad.defuse_fw(waiting["fw_id"])
    launchpad.reignite_fw(waiting["fw_id"])
    wakers[0].join()
    after = database.fireworks.find_one({"fw_id": waiting["fw_id"]})
    assert after["state"] == "READY"
    assert after["spec"]["_category"] == "mlip"


def test_twenty_pairs_of_simultaneous_submits_claim_each_calculation_once(
    toy_plan, other_dot_plan, launchpad, database
):
    for _ in range(20):
        both = Barrier(2)

        def submit_together(plan: StudyPlan, gate: Barrier = both) -> SubmitSummary:
            gate.wait()
            return submit(plan, launchpad)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(submit_together, (toy_plan, other_dot_plan)))
        fireworks = list(database.fireworks.find({"spec.qdip.term": "bulk"}))
        makers = Counter(f["spec"]["qdip"]["job"] for f in fireworks if f["spec"]["_category"] != STANDBY)
        assert len(fireworks) == 6
        assert len(makers) == 4  # two dots, two phases of the host
        assert set(makers.values()) == {1}
        for name in ("fireworks", "workflows", "claims", "submissions"):
            database.database[name].delete_many({})


def test_the_same_study_submitted_twice_at_once_is_one_workflow(toy_plan, launchpad, database):
    both = Barrier(2)

    def submit_together(_: int) -> SubmitSummary:
        both.wait()
        return submit(toy_plan, launchpad)

    with ThreadPoolExecutor(2) as pool:
        summaries = list(pool.map(submit_together, range(2)))
    assert sorted(summary.n_fireworks for summary in summaries) == [0, 4]
    assert database.database["workflows"].count_documents({}) == 1


def test_a_failed_attempt_does_not_block_the_next(toy_plan, launchpad, database, work):
    engine = toy_plan.study.engine.model_copy(update={"settings": {"max_steps": 1}})
    hurried = plan_study(toy_plan.study.model_copy(update={"name": "hurried", "engine": engine}))
    submit(hurried, launchpad)
    work()
    assert result_of(hurried, database).stabilization.total_ev_per_fu is None
    assert submit(hurried, launchpad).n_fireworks == 0
    retried = submit(hurried, launchpad, is_retry=True)
    assert retried.n_fireworks > 0
    work()
    attempts = {record.attempt for record in database.archive().list_calculations()}
    assert attempts == {0, 1}


def test_a_rerun_makes_a_new_attempt_of_what_did_not_converge(toy_plan, launchpad, database, work, mongod, tmp_path):  # noqa: PLR0917 (fixtures)
    engine = toy_plan.study.engine.model_copy(update={"settings": {"max_steps": 1}})
    hurried = plan_study(toy_plan.study.model_copy(update={"name": "hurried", "engine": engine}))
    folder = write_cluster_folder(tmp_path / "cluster", mongod.cluster_settings(launchpad.name))
    submit(hurried, launchpad)
    assert act_on_study(folder, Action.RERUN, "hurried", term=None) == 0  # it still goes on
    work()
    assert act_on_study(folder, Action.RERUN, "hurried", term="strain") == 0
    assert act_on_study(folder, Action.RERUN, "hurried", term=None) > 0
    work()
    assert {record.attempt for record in database.archive().list_calculations()} == {0, 1}


def test_a_cancelled_study_leaves_its_calculations_to_those_who_wait(  # noqa: PLR0917 (fixtures)
    toy_plan, other_dot_plan, launchpad, database, work, listening
):
    submit(toy_plan, launchpad)
    submit(other_dot_plan, launchpad)
    assert cancel_study(launchpad, "toy-study") == 4
    work()
    assert result_of(other_dot_plan, database).stabilization.total_ev_per_fu is not None
    assert max(Counter(engine_starts(listening)).values()) == 1
    states = {status.study: status.state for status in list_statuses(database)}
    assert states == {"toy-study": "cancelled", "other-dot": "finished"}


def test_a_cancelled_study_can_be_submitted_again(toy_plan, launchpad, database, work):
    submit(toy_plan, launchpad)
    cancel_study(launchpad, "toy-study")
    assert work() == 0
    assert submit(toy_plan, launchpad).n_fireworks == 4
    work(4)
    assert database.fireworks.count_documents({"state": "COMPLETED"}) == 4


def test_a_paused_study_waits_until_it_is_resumed(toy_plan, launchpad, work):
    submit(toy_plan, launchpad)
    assert pause_study(launchpad, "toy-study", term="bulk") == 3
    assert work() == 0
    assert resume_study(launchpad, "toy-study") == 3
    assert work(3) == 3


def test_the_status_counts_calculations_by_term_and_state(toy_plan, launchpad, database, work):
    submit(toy_plan, launchpad)
    work(1)
    (status,) = list_statuses(database, study="toy-study")
    assert status.counts == {"bulk": {"completed": 1, "ready": 2}}
    (nothing,) = list_statuses(database, term="strain")
    assert nothing.totals == {}


def test_the_status_is_answered_by_the_index_alone(toy_plan, launchpad, database):
    submit(toy_plan, launchpad)
    pipeline = [
        {"$match": {"spec.qdip.submission": {"$in": ["x"]}}},
        {"$group": {"_id": {"state": "$state", "term": "$spec.qdip.term"}}},
    ]
    plan = database.database.command("explain", {"aggregate": "fireworks", "pipeline": pipeline, "cursor": {}})
    assert "'stage': 'IXSCAN'" in str(plan)
    assert "'stage': 'FETCH'" not in str(plan)


def test_an_unknown_study_names_those_that_were_submitted(toy_plan, launchpad):
    submit(toy_plan, launchpad)
    with pytest.raises(ResultsError, match="qdip submit it first"):
        cancel_study(launchpad, "no-such-study")


def test_a_worker_without_category_does_not_calculate_what_another_study_makes(
    toy_plan, other_dot_plan, launchpad, database, work
):
    submit(toy_plan, launchpad)
    submit(other_dot_plan, launchpad)
    work(1, category=STANDBY)
    (fizzled,) = database.fireworks.find({"state": "FIZZLED"})
    message = database.database["launches"].find_one({"fw_id": fizzled["fw_id"]})["action"]["stored_data"]
    assert "give every worker a category" in str(message)
    assert rerun_failed(launchpad, "other-dot") == 1
    work()
    assert result_of(other_dot_plan, database).stabilization.total_ev_per_fu is not None
