"""The results folder: one SQLite file with everything calculated, the reports, and a lock for the running study.

.. code-block:: text

    qdip-results/
      qdip.sqlite      all documents (`qdip_dft.storage.sqlite_collection`)
      run.lock         held by the kernel for a running study; its text says who
      run.json         what the running study is at (`qdip_dft.execution.run_notes`); left behind by a killed run
      checkpoints/     energies of registry scans and relaxations that are not finished
      reports/NAME/    figures and tables, drawn from the documents

Reading needs neither the lock nor the right to write.  On a network file system a slower journal is used that is safe
there; one without locks is refused (`file_systems`).  To move results, end all runs and copy the folder, or
``qdip db backup``.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from qdip_dft.errors import DamagedDocumentError, ResultsError
from qdip_dft.results.fields import INDEXES, SUMMARY_FIELDS
from qdip_dft.runtime.installation import update_hint
from qdip_dft.runtime.unlinked import open_unlinked
from qdip_dft.storage.codec import Document
from qdip_dft.storage.file_systems import WITHOUT_LOCKS, refuse_without_locks
from qdip_dft.storage.mongo_address import require_folder_name
from qdip_dft.storage.sqlite_collection import SQLiteCollection
from qdip_dft.storage.sqlite_errors import explain_file_errors, explain_sqlite_errors, measure_free_space_mb
from qdip_dft.storage.sqlite_file import (
    connect,
    identify,
    is_writable,
    open_connection,
    open_for_reading,
    refuse_missing,
)
from qdip_dft.storage.summary_collection import SummaryCollection
from qdip_dft.version import __version__

if TYPE_CHECKING:
    from jobflow import JobStore

    from qdip_dft.results.archive import Archive

SCHEMA_VERSION = 1
"""Version of the layout of the results folder and its documents."""

MIN_FREE_SPACE_MB = 200.0
"""Free space that a run must find.

A stored calculation of 500 atoms takes about 0.15 MB, so a study of 100 calculations takes 15 MB, as much again in the
log, and a few MB of figures; the rest is what other programs may use up while it runs.
"""

EXPENSIVE_S = 1.0
"""A calculation that took longer, in s, is on the disk before the run goes on."""

NOTES_FILE = "run.json"
"""What the running study is at."""

_HOLDER_BEGINS = b'{"process_id": '

_KEYS = {"calculations": "uuid"}
_IS_FAILED = "CASE type WHEN 'object' THEN value ->> '$.is_decisive' AND NOT value ->> '$.is_passed' END"
_COUNT_FILMS = "(SELECT count(*) FROM json_each(doc, '$.candidates') AS film WHERE CASE film.type WHEN 'object' THEN"
_COUNTS = {
    "incomplete": f"{_COUNT_FILMS} json_array_length(film.value, '$.missing') > 0 END)",
    "left_out": f"{_COUNT_FILMS} EXISTS (SELECT 1 FROM json_each(film.value, '$.checks') WHERE {_IS_FAILED}) END)",
    "variations": "coalesce(json_array_length(doc, '$.uncertainty.samples'), 0)",
}
"""The fields of `qdip_dft.results.overview.FilmCounts`, counted by SQLite."""

_CREATE_META = "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
_READ_META = "SELECT value FROM meta WHERE name = 'schema_version'"


class ResultsFolder:
    """A results folder, created when missing.

    Parameters
    ----------
    path
        The folder.

    Raises
    ------
    ResultsError
        If the folder cannot be used, holds a foreign database, or was written by a newer version; nothing in it is
        changed then.
    """

    def __init__(self, path: str | Path = "qdip-results") -> None:
        self.path = Path(require_folder_name(path)).absolute()
        with explain_file_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        if _read_schema_version(self.database) is None:
            self._write_meta()
        self._identity = identify(self.database)

    @classmethod
    def of_damaged(cls, path: str | Path) -> ResultsFolder:
        """Return a folder whose file may be damaged; it is not looked at.

        Raises
        ------
        ResultsError
            If the file is a foreign one, or of a newer version.
        """
        folder = cls.__new__(cls)
        folder.path = Path(require_folder_name(path)).absolute()
        with suppress(DamagedDocumentError):
            _read_schema_version(folder.database)
        return folder

    @property
    def database(self) -> Path:
        """The path of the SQLite file."""
        return self.path / "qdip.sqlite"

    @property
    def checkpoints(self) -> Path:
        """The folder for what unfinished calculations have found so far; created when it is needed."""
        return self.path / "checkpoints"

    def collection(self, name: str) -> SQLiteCollection:
        """Return a collection, such as ``calculations``, ``stabilizations`` or ``studies``."""
        if name == "stabilizations":
            return SummaryCollection(self.database, name, "id", SUMMARY_FIELDS, INDEXES, counts=_COUNTS)
        is_expensive = _took_long if name == "calculations" else None
        return SQLiteCollection(self.database, name, key=_KEYS.get(name, "id"), is_expensive=is_expensive)

    @property
    def is_writable(self) -> bool:
        """Whether something may be stored here; reading does not need it."""
        return is_writable(self.database)

    def require_in_place(self) -> None:
        """Require that the folder and its file are still where they were.

        Raises
        ------
        ResultsDiskError
            If they were removed or moved.
        """
        if identify(self.database) != self._identity:
            raise refuse_missing(self.database)

    def job_store(self) -> JobStore:
        """Return the jobflow store whose documents are the calculations."""
        from jobflow import JobStore

        from qdip_dft.storage.sqlite_store import SQLiteStore

        return JobStore(SQLiteStore(self.database, "calculations", key=_KEYS["calculations"]))

    def reports_folder(self, study_name: str) -> Path:
        """Return the folder for the reports of a study or result, created when missing.

        Raises
        ------
        ResultsError
            If the name would lead out of the results folder.
        """
        folder = self.path / "reports" / _require_safe_name(study_name)
        if not folder.resolve().is_relative_to(self.path.resolve()):
            raise _unsafe(f"the reports of {study_name!r} lead to {folder.resolve()}")
        with explain_file_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def require_free_space(self, minimum_mb: float = MIN_FREE_SPACE_MB) -> None:
        """Refuse to start with less free space than this, in MB (10⁶ bytes).

        Raises
        ------
        ResultsError
            If there is less.
        """
        free_mb = measure_free_space_mb(self.path)
        if free_mb is not None and free_mb < minimum_mb:
            raise ResultsError(
                f"{self.path} has {free_mb:.0f} MB of free space",
                limit=f"a run needs {minimum_mb:.0f} MB",
                why="the disk would fill up during the run, and calculations at hand would be lost",
                remedy="free some space, or choose a folder on another disk with --results DIR",
            )

    @contextmanager
    def lock_for_run(self) -> Iterator[None]:
        """Hold the folder for one run; the kernel lets go of the lock even when the process is killed.

        Raises
        ------
        ResultsError
            If another run holds the folder or there is too little free space.
        """
        import fcntl  # not on Windows, where the rest of the package works

        self.require_free_space()
        path = self.path / "run.lock"
        with explain_file_errors(self.path), _open_lock(path) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self._held_by(_read_holder(path)) from None
            except OSError as error:
                if error.errno in WITHOUT_LOCKS:
                    raise refuse_without_locks(self.path, error) from error
                raise
            _require_lock_file(lock, path)
            _write_holder(lock)
            try:
                yield
            finally:
                lock.truncate(0)

    def _held_by(self, holder: str) -> ResultsError:
        return ResultsError(
            f"{self.path} is in use by another run ({holder})",
            limit="one run at a time writes to a results folder",
            why="two runs would calculate the same things twice",
            remedy="wait for it (qdip status shows how far it is), end it, or choose another folder with --results DIR",
        )

    def _write_meta(self) -> None:
        """Write the versions before anything else, so that a folder without them is known to be foreign."""
        with explain_sqlite_errors(self.database), closing(open_connection(self.database)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            write_meta(connection)
            connection.execute("COMMIT")


def write_meta(connection: sqlite3.Connection) -> None:
    """Write the versions of this package into a results file that has none."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    rows = [("schema_version", str(SCHEMA_VERSION)), ("package_version", __version__), ("created_at", now)]
    connection.execute(_CREATE_META)
    connection.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", rows)


def _took_long(document: Document) -> bool:
    """Whether a calculation cost more than `EXPENSIVE_S`; one that failed counts as expensive."""
    output = document.get("output")
    result = (output.get("result") or output) if isinstance(output, dict) else {}
    wall_time_s = result.get("wall_time_s") if isinstance(result, dict) else None
    return not isinstance(wall_time_s, int | float) or wall_time_s > EXPENSIVE_S


def _read_schema_version(database: Path) -> int | None:
    """Return the schema version of a results file, or None for a new one; the file is not changed."""
    if not database.exists() or database.stat().st_size == 0:
        return None
    with explain_sqlite_errors(database):
        tables, version = _read_meta(database)
    if not tables:
        return None
    if version is None or re.fullmatch("[0-9]{1,9}", version) is None:
        raise _unreadable(database) if "calculations" in tables else _foreign(database, tables)
    if int(version) > SCHEMA_VERSION:
        raise _too_new(database, int(version))
    return int(version)


def _read_meta(database: Path) -> tuple[list[str], str | None]:
    """Return the tables and the stored schema version.

    A file without a log is opened as unchangeable, because otherwise SQLite would make an empty log beside it.  Another
    process may open it for writing at that moment; then the half-written page is read again with locks.
    """
    if not is_writable(database):
        with closing(open_for_reading(database)) as connection:
            return _read_meta_from(connection)
    has_log = Path(f"{database}-wal").exists() or Path(f"{database}-journal").exists()
    try:
        return _read_meta_with(database, "mode=ro" if has_log else "immutable=1")
    except sqlite3.DatabaseError:
        return _read_meta_with(database, "mode=ro")


def _read_meta_with(database: Path, mode: str) -> tuple[list[str], str | None]:
    with closing(connect(f"{database.as_uri()}?{mode}", is_uri=True)) as connection:
        return _read_meta_from(connection)


def _read_meta_from(connection: sqlite3.Connection) -> tuple[list[str], str | None]:
    tables = [str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = connection.execute(_READ_META).fetchone() if "meta" in tables else None
    return tables, None if found is None else str(found[0])


def _open_lock(path: Path) -> TextIO:
    """Open the lock file as it stands: no link is followed, nothing is emptied."""
    try:
        return open_unlinked(path, mode="r+")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _no_lock_file(path, "is a symbolic link") from None
        raise


def _require_lock_file(lock: TextIO, path: Path) -> None:
    """Refuse a file that holds something else than the text of a lock, or has a second name: it would be emptied."""
    state = os.fstat(lock.fileno())
    if not stat.S_ISREG(state.st_mode):
        raise _no_lock_file(path, "is no plain file")
    if state.st_nlink > 1:
        raise _no_lock_file(path, f"is one of {state.st_nlink} names of a file")
    text = os.pread(lock.fileno(), len(_HOLDER_BEGINS), 0)
    if not _HOLDER_BEGINS.startswith(text):  # the text of a killed run may be cut short
        raise _no_lock_file(path, "holds something else than the text of a lock")


def _no_lock_file(path: Path, what: str) -> ResultsError:
    return ResultsError(
        f"{path} {what}",
        limit="the lock of a results folder is a plain file of its own that this package has written",
        why="a run writes into it and empties it at its end: somebody else's data would be lost",
        remedy=f"see what it is (ls -l {path}), move it away, and run the same command again",
    )


def _read_holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['process_id']} on {holder['host']}, started {holder['started_at']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "which has just started"


def _write_holder(lock: TextIO) -> None:
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"process_id": os.getpid(), "host": socket.gethostname(), "started_at": started_at}
    lock.truncate(0)
    lock.write(json.dumps(holder))
    lock.flush()


def _require_safe_name(name: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@+~-]{0,99}", name) is None:
        raise _unsafe(f"{name!r} cannot name a folder")
    return name


def open_archive(folder: ResultsFolder) -> Archive:
    """Return the records of a results folder."""
    from qdip_dft.results.archive import Archive  # the records load numpy and pydantic; a summary needs neither

    return Archive(*map(folder.collection, ("calculations", "stabilizations", "revisions"))).connect()


def _unsafe(what: str) -> ResultsError:
    return ResultsError(
        what,
        limit="names have letters, digits and . _ @ + ~ -, start with one of the first two, and stay in the folder",
        why="reports must not be written elsewhere",
        remedy="rename the study",
    )


def _foreign(database: Path, tables: list[str]) -> ResultsError:
    return ResultsError(
        f"{database} was not written by qdip_dft (its tables: {', '.join(tables)})",
        limit="a results file has a table meta with a schema_version",
        why="somebody else's data would be changed",
        remedy="choose another folder with --results DIR",
    )


def _unreadable(database: Path) -> DamagedDocumentError:
    return DamagedDocumentError(
        f"{database} has no readable version",
        limit="a results file has a table meta with a schema_version",
        why="documents of an unknown version could be misread",
        remedy="save every sound document into a new file (qdip db repair DIR), or restore it from a backup",
    )


def _too_new(database: Path, version: int) -> ResultsError:
    return ResultsError(
        f"{database} has schema version {version}",
        limit=f"qdip_dft {__version__} reads versions up to {SCHEMA_VERSION}",
        why="newer documents could be misread or damaged; nothing was changed",
        remedy=f"{update_hint()}, or choose another folder with --results DIR",
    )
