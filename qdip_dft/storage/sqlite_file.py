"""Opening a SQLite file so that what is acknowledged stays: on the disk, in the file that has its name.

* On a disk of this machine the file has a write-ahead log; on a network file system, where its shared memory would not
  reach other machines, a rollback journal that is waited for (`file_systems`).
* A file or folder that may not be written is opened for reading; nothing is created beside it.
* Before each commit the open file and its log are compared with their paths: a file that was removed, moved or replaced
  must not take results that nobody would find again.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qdip_dft.errors import ResultsDiskError
from qdip_dft.storage.file_systems import find_file_system, require_locks

BUSY_TIMEOUT_S = 60.0
"""How long a writer waits for another one before it gives up, in s."""

UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
"""What reading a damaged file raises: sqlite3 cannot even say what is wrong with a name that is not text."""

Identity = tuple[int, int]
"""Device and number of a file."""


class FileConnection(sqlite3.Connection):
    """A connection that knows which file it has opened."""

    path: Path
    identity: Identity | None = None
    """Of the open file."""
    log_identity: Identity | None = None
    """Of its write-ahead log, once something was written."""
    is_read_only: bool = False
    copy: tempfile.TemporaryDirectory[str] | None = None
    """What is read instead of a file that may not be written, because its log would have to be."""

    def require_in_place(self) -> None:
        """Refuse to go on with a file that is no longer the one of its name.

        Raises
        ------
        ResultsDiskError
            If it was removed, moved or replaced, or its log was replaced by that of another process.
        """
        if self.identity is not None and identify(self.path) != self.identity:
            raise refuse_missing(self.path)
        log = find_log(self.path)
        if self.log_identity is not None and identify(log) != self.log_identity:
            if log.exists():
                raise refuse_missing(log)
            self._rescue()

    def make_temporary(self, sql: str) -> None:
        """Make a table that only this connection sees, also where nothing may be written."""
        self.execute("PRAGMA query_only = OFF")
        try:
            self.execute(sql)
        finally:
            self.execute("PRAGMA query_only = ON")

    def note_log(self) -> None:
        """Note which log holds what was just written."""
        self.log_identity = identify(find_log(self.path))

    def _rescue(self) -> None:
        """Write into the file what its removed log holds; this process still has the log open.

        It is not all there if somebody reads an earlier state until the time to wait is over.
        """
        if self.in_transaction:
            self.execute("ROLLBACK")
        is_busy, *_ = self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        raise refuse_missing(find_log(self.path), is_rescued=not is_busy)


def open_connection(path: str | Path) -> FileConnection:
    """Open a SQLite file as the stores of this package use it; the caller begins its own transactions.

    Raises
    ------
    ResultsError
        If it lies where there are no locks.
    """
    file = Path(path).absolute()
    if file.exists() and not is_writable(file):
        return open_for_reading(file)
    is_shared = find_file_system(file.parent).is_shared
    if file.parent.is_dir():
        require_locks(file.parent)
    connection = connect(str(file))
    connection.path = file
    try:
        _set_journal(connection, "DELETE" if is_shared else "WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if is_shared else 'NORMAL'}")
    except BaseException:
        connection.close()
        raise
    connection.identity = identify(file)
    connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()  # opens the log
    connection.note_log()
    return connection


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Return whether there is a table or index; unlike IF NOT EXISTS this needs no write lock."""
    for schema in ("sqlite_master", "sqlite_temp_master"):
        if connection.execute(f"SELECT 1 FROM {schema} WHERE name = ?", (name,)).fetchone() is not None:
            return True
    return False


@contextmanager
def transaction(connection: FileConnection, *, is_durable: bool = False) -> Iterator[FileConnection]:
    """Hold the write lock from the first statement on, and take everything back if one fails.

    Parameters
    ----------
    connection
        The file.
    is_durable
        Whether to wait until the disk has what was written, in the file itself, before going on.

    Raises
    ------
    ResultsDiskError
        If the file is no longer in its place; nothing is committed then.
    """
    if is_durable:
        connection.execute("PRAGMA synchronous = FULL")
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.require_in_place()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.note_log()
    finally:
        if is_durable:
            with suppress(sqlite3.Error):  # a reader may hold the log open: it is on the disk all the same
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                connection.execute("PRAGMA synchronous = NORMAL")


def is_writable(path: Path) -> bool:
    """Whether a file and its folder may be written, which SQLite needs for its journal."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def find_log(path: Path) -> Path:
    """The path of the write-ahead log of a file."""
    return path.with_name(f"{path.name}-wal")


def identify(path: Path) -> Identity | None:
    """Device and number of a file; None if there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def connect(name: str, *, is_uri: bool = False) -> FileConnection:
    """Open a SQLite file, by its path or URI, without changing anything."""
    connection = sqlite3.connect(
        name, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, factory=FileConnection, uri=is_uri
    )
    connection.text_factory = _read_text
    return connection


def _read_text(content: bytes) -> str:
    """Read text whose bytes may have been changed: its checksum tells, not an error of the decoder."""
    return content.decode("utf-8", errors="replace")


def open_for_reading(file: Path) -> FileConnection:
    """Open a file that may not be written; where its log is not empty, a copy of both.

    SQLite cannot read a log without writing beside it, and must not leave out what it holds.
    """
    log, copy = find_log(file), None
    if log.exists() and log.stat().st_size > 0:
        copy = tempfile.TemporaryDirectory(prefix="qdip-reading-")
        for part in (file, log):
            shutil.copy(part, copy.name)
    source = file if copy is None else Path(copy.name) / file.name
    connection = connect(f"{source.as_uri()}?{'immutable=1' if copy is None else 'mode=rw'}", is_uri=True)
    connection.path, connection.is_read_only, connection.copy = file, True, copy
    connection.execute("PRAGMA query_only = ON")
    return connection


def _set_journal(connection: FileConnection, mode: str) -> None:
    """Choose the journal; while another process does the same, SQLite answers busy without waiting."""
    deadline_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            (found,) = connection.execute(f"PRAGMA journal_mode = {mode}").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline_s:
                raise
        else:
            if found.upper() == mode or time.monotonic() > deadline_s:
                return
        time.sleep(0.01)


def refuse_missing(path: Path, *, is_rescued: bool | None = None) -> ResultsDiskError:
    """Return the error for a file that is no longer where it was opened; for a log, whether its content was saved."""
    stored = {
        None: "",
        True: "everything stored before was saved into the file; ",
        False: "another process was reading all the time, so what was stored last may be missing (qdip db check); ",
    }[is_rescued]
    return ResultsDiskError(
        f"{path} was removed, moved or replaced while it was in use",
        limit="the file that is written must be the one that has the name",
        why=f"{stored}what is stored from now on would not be found again",
        remedy="put the folder back, or name its new place with --results DIR, and run the same command again; what "
        "was removed is made anew or comes back from a backup (qdip db backup)",
    )
