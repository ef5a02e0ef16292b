"""The flow of a study, carried as it is by jobflow's managers with a user's own stores: the numbers of `qdip run`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from jobflow import Flow, JobStore, job, run_locally
from maggma.stores import MemoryStore, MongoStore

from qdip_dft.execution.local import run_study
from qdip_dft.jobs.advance import pack_records, unpack_records
from qdip_dft.planning.plan import StudyPlan
from qdip_dft.planning.stabilization import StabilizationMaker
from tests.cluster.conftest import TOY_STUDY
from tests.command_line import assert_four_parts, qdip
from tests.private_mongod import PrivateMongod

LIMIT_S = 480.0
FIELDS = ("bulk_ev_per_fu", "strain_ev_per_fu", "surface_ev_per_fu", "binding_ev_per_fu", "total_ev_per_fu")
SETUP = "from qdip_dft.cluster.remote.plugin import setup_jf_plugin; setup_jf_plugin()"
JF = [sys.executable, "-c", f"from jobflow_remote.cli.jf import app; {SETUP}; app()"]
"""The command line of jobflow-remote with our plugin, as it is where the package is installed."""

SCRIPTS = Path(__file__).parents[2] / "workflows" / "python"


@pytest.fixture(scope="module")
def expected(toy_plan: StudyPlan, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The terms of a run of ours."""
    (document,) = run_study(toy_plan, results=tmp_path_factory.mktemp("expected")).documents
    return {name: getattr(document.stabilization, name) for name in FIELDS}


@pytest.fixture
def store_of_user(mongod: PrivateMongod, mongo_uri: str) -> dict[str, Any]:
    """A store in a database of its own, in the words of jobflow's settings."""
    return {
        "type": "MongoStore",
        "database": mongo_uri.partition("?")[0].rpartition("/")[2],
        "collection_name": "outputs",
        "host": mongod.host,
        "port": mongod.port,
        "username": mongod.username,
        "password": mongod.password,
        "auth_source": "admin",
    }


def check(store: JobStore, uuid: str, expected: dict[str, float]) -> None:
    """Compare the answer, and let no calculation of one flow be made twice."""
    answer = store.get_output(uuid, which="last")["stabilization"]
    assert {name: answer[name] for name in FIELDS} == pytest.approx(expected, abs=1e-9)
    keys = Counter(each["output"]["key"] for each in store.query({"output.key": {"$exists": True}}, {"output.key": 1}))
    assert len(keys) == 24
    assert set(keys.values()) == {1}


def run_script(name: str, *arguments: object, environment: Mapping[str, str], folder: Path) -> str:
    """Run a script of `workflows/python` as a user would, and return the last word that it prints."""
    command = [sys.executable, str(SCRIPTS / name), str(TOY_STUDY), *map(str, arguments)]
    return run(command, environment=environment, folder=folder).split()[-1]


def run(command: list[str], *, environment: Mapping[str, str], folder: Path) -> str:
    options: dict[str, Any] = {"env": {**os.environ, **environment}, "cwd": folder, "capture_output": True}
    ended = subprocess.run(command, check=False, text=True, **options)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout


@contextmanager
def opened(store_of_user: dict[str, Any]) -> Iterator[JobStore]:
    store = JobStore(MongoStore(**{name: value for name, value in store_of_user.items() if name != "type"}))
    store.connect()
    try:
        yield store
    finally:
        store.close()


@pytest.mark.filterwarnings("ignore:Some jobs are not connected")
@pytest.mark.filterwarnings("ignore:cd is deprecated")
def test_run_locally_carries_it_twice(expected, tmp_path):
    for number in (1, 2):
        flow, store = StabilizationMaker.from_study(str(TOY_STUDY)).make(), JobStore(MemoryStore())
        folder = tmp_path / str(number)
        run_locally(flow, store=store, log=False, root_dir=folder, create_folders=True, ensure_success=True)
        check(store, flow.jobs[-1].uuid, expected)


@pytest.mark.filterwarnings("ignore:Some jobs are not connected")
@pytest.mark.filterwarnings("ignore:cd is deprecated")
def test_a_store_comes_back_into_a_results_folder(expected, toy_plan, store_of_user, tmp_path):
    settings, results = tmp_path / "jobflow.yaml", tmp_path / "results"
    settings.write_text(yaml.safe_dump({"JOB_STORE": {"docs_store": store_of_user}}), "utf-8")
    empty = qdip("import-store", settings, "--results", tmp_path / "none", check=False)
    assert_four_parts(empty, "holds nothing of a study")
    assert not (tmp_path / "none").exists()
    with opened(store_of_user) as store:
        flow = StabilizationMaker.from_study(str(TOY_STUDY)).make()
        run_locally(flow, store=store, log=False, root_dir=tmp_path / "run", create_folders=True, ensure_success=True)
    said = qdip("import-store", settings, "--results", results).stdout
    assert "24 records written" in said
    assert "qdip report toy-study" in said
    assert "0 records written" in qdip("import-store", settings, "--results", results).stdout
    summary = run_study(toy_plan, results=results)
    assert (summary.n_calculated, summary.n_reused) == (0, 24)
    assert summary.documents[0].stabilization.total_ev_per_fu == pytest.approx(expected["total_ev_per_fu"], abs=1e-9)


def test_a_stage_is_written_as_a_plain_flow() -> None:
    flow = StabilizationMaker.from_study(str(TOY_STUDY)).make()
    written = flow.as_dict()
    assert (written["@module"], written["@class"]) == ("jobflow.core.flow", "Flow")
    assert type(Flow.from_dict(written)) is Flow


def test_a_file_without_a_store_is_refused_without_its_content(tmp_path):
    settings = tmp_path / "jobflow.yaml"
    settings.write_text("JOB_STORE: {docs_store: {type: NoSuchStore, password: secret}}", "utf-8")
    refused = qdip("import-store", settings, "--results", tmp_path / "none", check=False)
    assert_four_parts(refused, "opens no JobStore")
    assert "secret" not in refused.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.filterwarnings("ignore:cd is deprecated")
def test_it_is_a_part_of_a_larger_flow_with_a_typed_output(expected, tmp_path):
    @job
    def twice(number: float) -> float:
        return 2 * number

    study, store = StabilizationMaker.from_study(str(TOY_STUDY)).make(), JobStore(MemoryStore())
    with pytest.raises(AttributeError, match="nothing"):
        _ = study.output.stabilization.nothing
    following = twice(study.output.stabilization.total_ev_per_fu)
    run_locally(Flow([study, following]), store=store, log=False, root_dir=tmp_path, ensure_success=True)
    assert store.get_output(following.uuid) == pytest.approx(2 * expected["total_ev_per_fu"], abs=1e-9)


def test_the_script_for_jobflow_alone_prints_the_answer(tmp_path):
    last = run_script("with_run_locally.py", environment={}, folder=tmp_path)
    assert last.endswith(".")


def test_rockets_of_fireworks_carry_it_in_the_users_own_launchpad(
    expected, launchpad, mongo_uri, store_of_user, tmp_path
):
    launchpad.reset("", require_password=False)
    own = {"host": mongo_uri, "uri_mode": True, "name": store_of_user["database"]}
    (tmp_path / "my_launchpad.yaml").write_text(yaml.safe_dump(own), "utf-8")
    (tmp_path / "FW_config.yaml").write_text(yaml.safe_dump({"CONFIG_FILE_DIR": str(tmp_path)}), "utf-8")
    (tmp_path / "jobflow.yaml").write_text(yaml.safe_dump({"JOB_STORE": {"docs_store": store_of_user}}), "utf-8")
    environment = {
        "FW_CONFIG_FILE": str(tmp_path / "FW_config.yaml"),
        "JOBFLOW_CONFIG_FILE": str(tmp_path / "jobflow.yaml"),
    }
    answer = run_script("with_fireworks.py", environment=environment, folder=tmp_path)
    launch = [sys.executable, "-m", "fireworks.scripts.rlaunch_run", "--silencer", "rapidfire"]
    run(launch, environment=environment, folder=tmp_path)
    with opened(store_of_user) as store:
        check(store, answer, expected)
    run_script("with_fireworks.py", environment=environment, folder=tmp_path)  # once more


@pytest.mark.slow
def test_jobflow_remote_carries_it_in_the_users_own_project(expected, store_of_user, slurm, tmp_path):
    project = describe_project(store_of_user, tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(project), encoding="utf-8")
    environment = {
        **slurm.environment,
        "JFREMOTE_PROJECTS_FOLDER": str(tmp_path),
        "JFREMOTE_PROJECT": "mine",
        "OMP_NUM_THREADS": "1",
    }
    options: dict[str, Any] = {"env": {**os.environ, **environment}, "cwd": tmp_path, "stdout": subprocess.DEVNULL}
    reset = "from jobflow_remote import JobController; JobController.from_project_name().reset()"
    subprocess.run([sys.executable, "-c", reset], check=True, **options)
    answer = run_script("with_jobflow_remote.py", "slurm", environment=environment, folder=tmp_path)
    forever = "from jobflow_remote.jobs.runner import Runner; Runner().run()"
    runner = subprocess.Popen([sys.executable, "-c", forever], stderr=subprocess.DEVNULL, **options)
    try:
        with opened(store_of_user) as store:
            wait_for(store, answer)
            check(store, answer, expected)
    finally:
        runner.kill()
        runner.wait()
    said = run([*JF, "qdip", "answers"], environment=environment, folder=tmp_path)
    assert f"{answer}: {expected['total_ev_per_fu']}"[:50] in said
    again = run([*JF, "qdip", "submit", str(TOY_STUDY), "-w", "slurm"], environment=environment, folder=tmp_path)
    assert "the answer will be the output of job" in again  # once more


def wait_for(store: JobStore, uuid: str) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while store.query_one({"uuid": uuid, "output.stabilization": {"$exists": True}}, {"uuid": 1}) is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.5)


def describe_project(store_of_user: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A project as a user has it: nothing of ours in it."""
    return {
        "name": "mine",
        "base_dir": str(folder / "base"),
        "log_level": "error",
        "runner": {"delay_checkout": 1, "delay_check_run_status": 1, "delay_advance_status": 1},
        "workers": {
            "slurm": {
                "type": "local",
                "scheduler_type": "slurm",
                "work_dir": str(folder / "work"),
                "pre_run": f"export OMP_NUM_THREADS=1 PATH={Path(sys.executable).parent}:{os.environ['PATH']}",
                "max_jobs": 4,
            }
        },
        "queue": {"store": {**store_of_user, "collection_name": "queue"}},
        "jobstore": {"docs_store": store_of_user},
    }


def test_records_are_the_same_after_packing() -> None:
    records = {"a": {"energy_ev": -1.25, "sites": [[0.1, 0.2, 1 / 3]], "name": "β"}, "b": {}}
    assert unpack_records(pack_records(records)) == records
    assert pack_records(records) == pack_records(dict(reversed(records.items())))
