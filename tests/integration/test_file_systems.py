"""Results folders on network file systems, without locks, read-only, moved, removed, with a log that is gone."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

import pytest

from qdip_dft.errors import MachineError, ResultsError
from qdip_dft.execution.local import run_study
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study
from qdip_dft.storage.file_systems import find_file_system, require_locks
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from qdip_dft.storage.sqlite_collection import SQLiteCollection
from qdip_dft.storage.sqlite_file import open_connection, transaction
from tests.command_line import QDIP

ROOT = Path(__file__).parents[1]
TOY_STUDY = ROOT / "data" / "toy-study.yaml"
NFS, LUSTRE = 0x6969, 0x0BD00BD0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("finished") / "results"
    run_study(plan_study(read_study(str(TOY_STUDY))), results=results)
    return results


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that stands for another file system."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("a C compiler on Linux is needed to stand for another file system")
    library = tmp_path_factory.mktemp("fake") / "fake.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, ROOT / "fake_file_system.c", "-ldl"], check=True)
    return library


def run_on(
    fake: Path, *arguments: object, kind: int | None = None, lock_errno: int | None = None
) -> subprocess.CompletedProcess[str]:
    settings = {"FAKE_FS_TYPE": hex(kind) if kind else None, "FAKE_LOCK_ERRNO": str(lock_errno) if lock_errno else None}
    environment = {**os.environ, "LD_PRELOAD": str(fake), **{k: v for k, v in settings.items() if v is not None}}
    return subprocess.run(
        [*QDIP, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def ask_journal(results: Path) -> str:
    with closing(sqlite3.connect(results / "qdip.sqlite")) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def test_a_disk_of_this_machine_has_a_log_and_locks(tmp_path: Path) -> None:
    assert not find_file_system(tmp_path).is_shared
    assert not find_file_system(tmp_path / "not" / "there").is_shared
    require_locks(tmp_path)


def test_on_a_network_file_system_a_run_uses_a_journal_that_needs_no_shared_memory(fake: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = run_on(fake, "run", TOY_STUDY, "--quiet", "--workers", 1, "--results", results, kind=NFS)
    assert done.returncode == 0, done.stderr
    assert ask_journal(results) == "delete"
    assert sorted(path.name for path in results.glob("qdip.sqlite*")) == ["qdip.sqlite"]
    checked = run_on(fake, "doctor", "--results", results, kind=NFS)
    assert "NFS: may be used by several machines" in checked.stdout


def test_a_folder_with_a_log_changes_its_journal_on_a_network_file_system(
    finished: Path, fake: Path, tmp_path: Path
) -> None:
    results = Path(copytree(finished, tmp_path / "results"))
    assert ask_journal(results) == "wal"
    found = run_on(fake, "query", "--results", results, kind=LUSTRE)
    assert "toy-study" in found.stdout, found.stderr
    assert ask_journal(results) == "delete"
    ResultsFolder(results).collection("studies").connect()
    assert ask_journal(results) == "wal"


@pytest.mark.parametrize(("kind", "number"), [(LUSTRE, errno.ENOSYS), (None, errno.ENOLCK), (None, errno.EOPNOTSUPP)])
def test_without_locks_a_run_is_refused_with_the_reason_and_the_remedy(
    kind: int | None, number: int, fake: Path, tmp_path: Path
) -> None:
    command = ("run", TOY_STUDY, "--quiet", "--workers", 1, "--results", tmp_path / "results")
    refused = run_on(fake, *command, kind=kind, lock_errno=number)
    assert refused.returncode == 2, refused.stderr
    assert "Traceback" not in refused.stderr
    assert "without file locks" in refused.stderr
    assert "choose a folder on a local disk with --results DIR" in refused.stderr


@dataclass(frozen=True)
class Host:
    """A machine of its own name that has mounted a folder in a place of its own: namespaces stand for a kernel.

    The folder is on NFS, as far as the run can see; locks are those of one kernel.
    """

    name: str
    fake: Path
    shared: Path

    def start(self) -> subprocess.Popen[str]:
        """Start the study there."""
        place = self.shared.with_name(self.name)
        place.mkdir(exist_ok=True)
        mounting = f'hostname {self.name} && mount --bind {self.shared} {place} && exec "$@"'
        command = [*QDIP, "run", TOY_STUDY, "--quiet", "--workers", "1", "--results", place]
        environment = {**os.environ, "LD_PRELOAD": str(self.fake), "FAKE_FS_TYPE": hex(NFS)}
        return subprocess.Popen(
            [*UNSHARE, "sh", "-c", mounting, "sh", *map(str, command)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self) -> tuple[int, str]:
        """Run the study there to its end; return exit code and words."""
        process = self.start()
        out, errors = process.communicate(timeout=120)
        return process.returncode, out + errors


UNSHARE = ("unshare", "--map-root-user", "--mount", "--uts")


def list_stored(results: Path) -> set[str]:
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{results}/qdip.sqlite?mode=ro", uri=True)) as found:
        return {row[0] for row in found.execute("SELECT doc ->> '$.uuid' FROM calculations")}
    return set()


def test_two_hosts_use_a_folder_one_after_the_other_and_lose_nothing(fake: Path, tmp_path: Path) -> None:
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces need privileges that this machine does not give")
    shared = tmp_path / "shared"
    shared.mkdir()
    here, there = Host("here", fake, shared), Host("there", fake, shared)
    first, end_s = here.start(), time.monotonic() + 60
    try:
        while not list_stored(shared):
            assert first.poll() is None, first.communicate()
            assert time.monotonic() < end_s
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)
        code, said = there.run()
        assert (code, "Traceback" in said) == (2, False), said
        assert f"in use by another run (process {first.pid} on here" in " ".join(said.split())
        before = list_stored(shared)
    finally:
        first.kill()
        first.communicate()
    code, said = there.run()
    assert code == 0, said
    assert before <= list_stored(shared)
    code, said = here.run()
    assert code == 0, said
    assert "0 calculations made" in said
    assert ask_journal(shared) == "delete"


def test_the_doctor_names_a_file_system_without_locks(fake: Path, tmp_path: Path) -> None:
    checked = run_on(fake, "doctor", "--results", tmp_path / "results", kind=LUSTRE, lock_errno=errno.ENOSYS)
    assert "lies on Lustre without file locks" in " ".join(checked.stdout.split())


READING = ("report", "toy-study"), ("query",), ("status",), ("explain", "toy-study"), ("db", "check")


@pytest.fixture
def read_only(finished: Path, tmp_path: Path) -> Iterator[Path]:
    results = Path(copytree(finished, tmp_path / "results"))
    shutil.rmtree(results / "reports", ignore_errors=True)
    for path in (*results.rglob("*"), results):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield results
    results.chmod(0o755)


def run_without_rights(results: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command without the right of root to write everywhere, which would hide everything."""
    place = [str(results)] if arguments[0] == "db" else ["--results", str(results)]

    def drop_rights() -> None:
        if os.getuid() == 0:
            drop_from_bounding_set, override_permissions = 24, 1
            ctypes.CDLL(None).prctl(drop_from_bounding_set, override_permissions, 0, 0, 0)

    return subprocess.run(
        [*QDIP, *arguments, *place], preexec_fn=drop_rights, cwd="/", capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("has_log", [False, True])
def test_reading_needs_no_permission_to_write(has_log: bool, read_only: Path) -> None:
    before = sorted(path.name for path in read_only.iterdir())
    if has_log:  # a run was killed: its log holds a document that is in the file of nobody else
        read_only.chmod(0o755)
        script = (
            "import sys, os; from qdip_dft.storage.results_folder import ResultsFolder\n"
            "store = ResultsFolder(sys.argv[1]).collection('studies')\n"
            "store.update({'id': 'in the log'}); os._exit(0)"
        )
        for path in read_only.glob("qdip.sqlite*"):
            path.chmod(0o644)
        subprocess.run([sys.executable, "-c", script, read_only], check=True)
        for path in read_only.glob("qdip.sqlite*"):
            path.chmod(0o444)
        read_only.chmod(0o555)
        before = sorted(path.name for path in read_only.iterdir())
        assert "qdip.sqlite-wal" in before
    for command in READING:
        read = run_without_rights(read_only, *command)
        assert read.returncode == 0, (command, read.stdout, read.stderr)
        assert "Traceback" not in read.stderr
    assert sorted(path.name for path in read_only.iterdir()) == before


def test_a_run_in_a_read_only_folder_is_refused(read_only: Path) -> None:
    refused = run_without_rights(read_only, "run", str(TOY_STUDY), "--quiet")
    assert refused.returncode == 2, refused.stderr
    assert "Traceback" not in refused.stderr
    assert "check the permissions, or choose another folder with --results DIR" in refused.stderr


def count_stored(results: Path) -> int:
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{results}/qdip.sqlite?mode=ro", uri=True)) as found:
        return int(found.execute("SELECT count(*) FROM calculations").fetchone()[0])
    return 0


def run_and_meddle(results: Path, meddle: Callable[[], None]) -> tuple[int, str, int]:
    """Start a run, meddle once some calculations are stored; return its exit code, its errors, and how many were."""
    command = [*QDIP, "run", str(TOY_STUDY), "--quiet", "--workers", "1", "--results", str(results)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        while count_stored(results) < 5:
            assert running.poll() is None
            time.sleep(0.02)
        n_stored = count_stored(results)
        meddle()
        assert running.stderr is not None
        errors = running.stderr.read()
    return running.returncode, errors, n_stored


def remove(folder: Path) -> None:
    """Remove a folder in which a run may write a file between the removal of its content and its own."""
    end_s = time.monotonic() + 30
    while folder.exists():
        assert time.monotonic() < end_s, sorted(folder.rglob("*"))
        shutil.rmtree(folder, ignore_errors=True)


def test_a_folder_that_is_removed_ends_the_run(tmp_path: Path) -> None:
    results = tmp_path / "results"
    code, errors, _ = run_and_meddle(results, lambda: remove(results))
    assert code == 3, errors
    assert "was removed, moved or replaced" in errors
    assert "Traceback" not in errors


def test_a_folder_that_is_moved_ends_the_run_which_goes_on_at_the_new_place(tmp_path: Path) -> None:
    results, moved = tmp_path / "results", tmp_path / "moved"
    code, errors, n_stored = run_and_meddle(results, lambda: results.rename(moved) and None)
    assert code == 3, errors
    assert "name its new place with --results DIR" in errors
    assert count_stored(moved) >= n_stored
    again = subprocess.run(
        [*QDIP, "run", TOY_STUDY, "--quiet", "--results", moved], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr


def test_a_log_that_is_removed_takes_no_acknowledged_calculation(tmp_path: Path) -> None:
    results = tmp_path / "results"

    def remove_log() -> None:
        for suffix in ("-wal", "-shm"):
            (results / f"qdip.sqlite{suffix}").unlink()

    code, errors, n_stored = run_and_meddle(results, remove_log)
    assert code == 3, errors
    assert "everything stored before was saved into the file" in errors
    assert count_stored(results) >= n_stored
    again = subprocess.run(
        [*QDIP, "run", TOY_STUDY, "--quiet", "--results", results], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("is_read", [False, True])
def test_a_removed_log_is_said_to_be_saved_only_if_it_is(is_read: bool, tmp_path: Path) -> None:
    file = tmp_path / "results.sqlite"
    with closing(open_connection(file)) as writer, closing(sqlite3.connect(file, isolation_level=None)) as reader:
        writer.execute("CREATE TABLE numbers (value)")
        if is_read:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM numbers").fetchall()
        with transaction(writer):
            writer.execute("INSERT INTO numbers VALUES (1)")
        writer.execute("PRAGMA busy_timeout = 50")
        for suffix in ("-wal", "-shm"):
            Path(f"{file}{suffix}").unlink()
        with pytest.raises(ResultsError, match="removed, moved or replaced") as refused, transaction(writer):
            writer.execute("INSERT INTO numbers VALUES (2)")
        said = "what was stored last may be missing" if is_read else "everything stored before was saved into the file"
        assert said in str(refused.value)
    with closing(sqlite3.connect(file)) as found:  # the last that had the log open saved it, however late
        assert found.execute("SELECT value FROM numbers").fetchall() == [(1,)]


def test_another_file_in_the_place_of_the_results_is_not_written(tmp_path: Path) -> None:
    store = SQLiteCollection(tmp_path / "results.sqlite", key="id")
    store.update({"id": 1})
    (tmp_path / "results.sqlite").rename(tmp_path / "moved.sqlite")
    other = SQLiteCollection(tmp_path / "results.sqlite", key="id")
    other.update({"id": "other"})
    with pytest.raises(MachineError, match="removed, moved or replaced"):
        store.update({"id": 2})
    assert [document["id"] for document in other.query()] == ["other"]


EXPENSIVE = """
import os, sys
from qdip_dft.storage.results_folder import ResultsFolder
store = ResultsFolder(sys.argv[1]).collection("calculations")
keep = ResultsFolder(sys.argv[1]).collection("calculations").query_one()
for number in range(8):
    document = {"uuid": str(number), "index": 1, "output": {"result": {"wall_time_s": 3600.0}}}
    store.update(document, key=["uuid", "index"])
for suffix in ("-wal", "-shm"):
    os.unlink(f"{store.path}{suffix}")
os._exit(9)
"""


def test_expensive_calculations_are_in_the_file_itself_as_soon_as_they_are_stored(tmp_path: Path) -> None:
    """The log is removed and the process killed at once: the issue's eight acknowledged calculations stay."""
    ResultsFolder(tmp_path)
    assert subprocess.run([sys.executable, "-c", EXPENSIVE, tmp_path], check=False).returncode == 9
    assert open_archive(ResultsFolder(tmp_path)).calculations.count() == 8


def test_a_backup_of_a_folder_in_use_is_whole_and_replaces_nothing(finished: Path, tmp_path: Path) -> None:
    from qdip_dft.storage.repair import backup_folder

    store = ResultsFolder(finished).collection("studies")
    store.update({"id": "in the log"})
    backup_folder(finished, tmp_path / "backup")
    assert sorted(path.name for path in (tmp_path / "backup").iterdir()) == ["qdip.sqlite"]
    assert ResultsFolder(tmp_path / "backup").collection("studies").count() == 1
    with pytest.raises(ResultsError, match="name a folder that does not exist"):
        backup_folder(finished, tmp_path / "backup")
