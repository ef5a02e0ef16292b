"""The results folder: versions, the lock of a run, safe names, and what happens when the disk says no."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from jobflow import job, run_locally

from qdip_dft.errors import ResultsError
from qdip_dft.storage.results_folder import SCHEMA_VERSION, ResultsFolder
from qdip_dft.storage.sqlite_errors import explain_file_errors
from qdip_dft.version import __version__


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    return ResultsFolder(tmp_path / "qdip-results")


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_python() -> Iterator[Start]:
    """Start a Python process; its pipes are closed at the end."""
    with ExitStack() as stack:

        def start(script: str, *arguments: object) -> subprocess.Popen[str]:
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            command = [sys.executable, "-c", script, *map(str, arguments)]
            pipe = subprocess.PIPE
            return stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment))

        yield start


def take_fingerprint(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


# --- the folder and its version ---------------------------------------------------------------------------------


def test_a_new_folder_knows_its_versions(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "deep" / "qdip-results")
    with closing(sqlite3.connect(folder.database)) as connection:
        meta = dict(connection.execute("SELECT name, value FROM meta"))
    assert meta["schema_version"] == str(SCHEMA_VERSION)
    assert meta["package_version"] == __version__


def test_opening_a_folder_again_changes_nothing(folder: ResultsFolder) -> None:
    before = take_fingerprint(folder.path)
    assert ResultsFolder(folder.path).path == folder.path
    assert take_fingerprint(folder.path) == before


def test_the_default_folder_is_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = ResultsFolder()
    monkeypatch.chdir("/")
    assert folder.path == tmp_path / "qdip-results"


@pytest.mark.parametrize("is_in_use", [False, True])
def test_a_folder_of_a_newer_schema_is_refused_and_not_touched(folder: ResultsFolder, is_in_use: bool) -> None:
    with closing(sqlite3.connect(folder.database)) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'schema_version'", (SCHEMA_VERSION + 1,))
        connection.commit()
        if not is_in_use:
            connection.close()
        before = take_fingerprint(folder.path)
        with pytest.raises(ResultsError, match=r"schema version 2: .*reads versions up to 1; .*; update qdip_dft"):
            ResultsFolder(folder.path)
        after = take_fingerprint(folder.path)
    after.pop("qdip.sqlite-shm", None)  # readers register themselves in the shared memory of a log in use
    before.pop("qdip.sqlite-shm", None)
    assert after == before


def test_a_foreign_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "qdip.sqlite")) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    before = take_fingerprint(tmp_path)
    with pytest.raises(ResultsError, match=r"recipes.*choose another folder"):
        ResultsFolder(tmp_path)
    assert take_fingerprint(tmp_path) == before


def test_a_file_that_is_no_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    (tmp_path / "qdip.sqlite").write_text("notes " * 1000)
    before = take_fingerprint(tmp_path)
    with pytest.raises(ResultsError, match="move it away"):
        ResultsFolder(tmp_path)
    assert take_fingerprint(tmp_path) == before


def test_an_interrupted_creation_is_completed(tmp_path: Path) -> None:
    (tmp_path / "qdip.sqlite").touch()
    ResultsFolder(tmp_path).collection("studies").update({"id": "a"})
    assert ResultsFolder(tmp_path).collection("studies").count() == 1


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    for path in (tmp_path / "results", tmp_path / "results" / "inner"):
        with pytest.raises(ResultsError, match="move the file that stands there away"):
            ResultsFolder(path)


OPEN = """
import sys
from qdip_dft.storage.results_folder import ResultsFolder

print("ready", flush=True)
sys.stdin.readline()
ResultsFolder(sys.argv[1]).collection("studies").update({"id": sys.argv[2]})
"""


def test_a_folder_may_be_created_by_several_processes_at_once(tmp_path: Path, start_python: Start) -> None:
    processes = [start_python(OPEN, tmp_path / "results", name) for name in "abcd"]
    assert [process.stdout.readline() for process in processes if process.stdout] == ["ready\n"] * 4
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert ResultsFolder(tmp_path / "results").collection("studies").count() == 4


# --- collections ------------------------------------------------------------------------------------------------


@job
def add(first: int, second: int) -> Any:
    return first + second


def test_jobs_and_results_lie_in_one_file(folder: ResultsFolder, tmp_path: Path) -> None:
    sums = add(1, 2)
    run_locally(sums, store=folder.job_store(), root_dir=tmp_path, log=False, ensure_success=True)
    folder.collection("stabilizations").update({"id": "pbs-fapbi3@111", "total_ev_per_fu": -0.1})
    again = ResultsFolder(folder.path)
    assert again.job_store().query_one({"uuid": sums.uuid})["output"] == 3
    assert again.collection("calculations").count() == 1
    assert again.collection("stabilizations").query_one()["id"] == "pbs-fapbi3@111"
    assert sorted(path.name for path in folder.path.iterdir() if path.suffix == ".sqlite") == ["qdip.sqlite"]


# --- the lock ---------------------------------------------------------------------------------------------------

HOLD = """
import sys
from qdip_dft.storage.results_folder import ResultsFolder

with ResultsFolder(sys.argv[1]).lock_for_run():
    print("locked", flush=True)
    sys.stdin.readline()
"""


def lock(folder: ResultsFolder) -> None:
    with folder.lock_for_run():
        pass


def test_a_second_run_is_refused_and_told_who_holds_the_folder(folder: ResultsFolder, start_python: Start) -> None:
    holder = start_python(HOLD, folder.path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    with pytest.raises(ResultsError, match=rf"process {holder.pid} on .*, started 20.*: one run at a time"):
        lock(folder)
    folder.collection("studies").update({"id": "readers and their documents are welcome"})
    holder.communicate("done\n", timeout=60)
    lock(folder)


def test_a_killed_run_lets_go_of_the_lock(folder: ResultsFolder, start_python: Start) -> None:
    holder = start_python(HOLD, folder.path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    lock(folder)


@pytest.mark.parametrize("lay", [Path.symlink_to, Path.hardlink_to])
def test_a_lock_that_leads_to_another_file_is_refused_and_that_file_kept(folder: ResultsFolder, lay: Any) -> None:
    target = folder.path.parent / "thesis.tex"
    target.write_text("my thesis")
    lay(folder.path / "run.lock", target)
    with pytest.raises(ResultsError, match="move it away"):
        lock(folder)
    assert target.read_text() == "my thesis"


@pytest.mark.parametrize("content", ["my notes", "{}", "[1]"])
def test_a_file_of_somebody_else_in_the_place_of_the_lock_is_kept(folder: ResultsFolder, content: str) -> None:
    (folder.path / "run.lock").write_text(content)
    with pytest.raises(ResultsError, match="move it away"):
        lock(folder)
    assert (folder.path / "run.lock").read_text() == content


@pytest.mark.parametrize("left", ["", '{"proc', '{"process_id": 12, "host": "a", "started_at": "2026-01-01"}'])
def test_what_a_killed_run_left_in_the_lock_is_no_obstacle(folder: ResultsFolder, left: str) -> None:
    (folder.path / "run.lock").write_text(left)
    lock(folder)
    assert (folder.path / "run.lock").read_text() == ""


def test_a_failed_run_lets_go_of_the_lock(folder: ResultsFolder) -> None:
    with pytest.raises(ZeroDivisionError, match="division"), folder.lock_for_run():
        _ = 1 / 0
    lock(folder)
    assert (folder.path / "run.lock").read_text() == ""


# --- reports ----------------------------------------------------------------------------------------------------


def test_reports_have_a_folder_of_their_own(folder: ResultsFolder) -> None:
    reports = folder.reports_folder("pbs-fapbi3@111")
    assert reports.is_dir()
    assert reports == folder.path / "reports" / "pbs-fapbi3@111"


@pytest.mark.parametrize("name", ["..", "../x", "/etc", "a/b", "", ".hidden", "a\\b", "a\0b", "x" * 101, "~", "-x"])
def test_reports_cannot_leave_the_results_folder(folder: ResultsFolder, name: str) -> None:
    with pytest.raises(ResultsError, match="rename the study"):
        folder.reports_folder(name)


def test_reports_do_not_follow_a_link_out_of_the_folder(folder: ResultsFolder, tmp_path: Path) -> None:
    (folder.path / "reports").mkdir()
    (folder.path / "reports" / "study").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ResultsError, match="elsewhere"):
        folder.reports_folder("study")
    assert not (tmp_path / "elsewhere").exists()


# --- when the disk says no --------------------------------------------------------------------------------------


def test_a_run_needs_free_space(folder: ResultsFolder) -> None:
    folder.require_free_space()
    with pytest.raises(ResultsError, match=r"MB of free space: a run needs 1000000000000 MB; .*; free some space"):
        folder.require_free_space(1e12)


FILL = """
import resource, sys
from qdip_dft.errors import ResultsError
from qdip_dft.storage.results_folder import ResultsFolder

store = ResultsFolder(sys.argv[1]).collection("studies")
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    for number in range(1000):
        store.update({"id": number, "text": "x" * 5000})
        print(number, flush=True)
except ResultsError as error:
    print(error.what, error.limit, error.why, error.remedy, sep="|")
"""


def test_a_write_that_fails_half_way_takes_nothing_back(folder: ResultsFolder, start_python: Start) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] in (-1, resource.RLIM_INFINITY)
    answer, _ = start_python(FILL, folder.path).communicate(timeout=60)
    *stored, complaint = answer.splitlines()
    assert len(complaint.split("|")) == 4
    assert "MB are free" in complaint
    assert "start the same run again" in complaint
    assert len(stored) > 10
    studies = ResultsFolder(folder.path).collection("studies")
    assert [str(document["id"]) for document in studies.query()] == stored
    studies.update({"id": "after", "text": "x" * 500_000})
    assert studies.count() == len(stored) + 1


def test_a_full_disk_ends_a_run_with_its_cure(folder: ResultsFolder, tmp_path: Path) -> None:
    store = folder.job_store()
    run_locally(add(1, 2), store=store, root_dir=tmp_path, log=False)
    connection = store.docs_store._collection
    connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
    large = add("x" * 20_000, "y")
    with pytest.raises(ResultsError, match="disk or your quota is full"):
        run_locally(large, store=store, root_dir=tmp_path, log=False, raise_immediately=True)
    assert ResultsFolder(folder.path).collection("calculations").count({"output": 3}) == 1


WRITE_AS_NOBODY = """
import os, sys
from pathlib import Path
from qdip_dft.errors import ResultsError
from qdip_dft.storage.results_folder import ResultsFolder

path = Path(sys.argv[1])
ResultsFolder(path).collection("studies").update({"id": "kept"})
for each in (*path.iterdir(), path):
    os.chmod(each, 0o555 if each.is_dir() else 0o444)
if os.getuid() == 0:
    os.setuid(65534)
for attempt in (lambda: ResultsFolder(path).collection("studies").update({"id": "new"}),
                lambda: ResultsFolder(path / "inner"), lambda: ResultsFolder(path).reports_folder("study")):
    try:
        attempt()
    except ResultsError as error:
        print(error.what, error.limit, error.why, error.remedy, sep="|")
"""


def test_a_folder_without_write_permission_is_explained(start_python: Start) -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        folder = Path(place) / "results"
        answer, _ = start_python(WRITE_AS_NOBODY, folder).communicate(timeout=60)
        complaints = answer.splitlines()
        assert len(complaints) == 3
        for complaint in complaints:
            assert "check the permissions, or choose another folder with --results DIR" in complaint
        folder.chmod(stat.S_IRWXU)
        for path in folder.iterdir():
            path.chmod(0o600)
        assert [study["id"] for study in ResultsFolder(folder).collection("studies").query()] == ["kept"]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "free some space"), (errno.EDQUOT, "free some space"), (errno.EACCES, "check the permissions")],
)
def test_failed_writes_of_reports_are_explained(tmp_path: Path, number: int, remedy: str) -> None:
    with pytest.raises(ResultsError, match=remedy), explain_file_errors(tmp_path):
        raise OSError(number, os.strerror(number), str(tmp_path / "report.json"))


def test_errors_of_other_kinds_pass_unchanged(tmp_path: Path) -> None:
    def read_nothing() -> Any:
        with explain_file_errors(tmp_path):
            return (tmp_path / "missing").read_text()

    with pytest.raises(FileNotFoundError, match="missing"):
        read_nothing()
