"""Saving what is sound of a damaged results file, and copying a results file while it is in use."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from qdip_dft.errors import ResultsError
from qdip_dft.storage.checkup import SET_ASIDE, Finding, decode_row, find_fault
from qdip_dft.storage.results_folder import ResultsFolder, write_meta
from qdip_dft.storage.sqlite_errors import explain_file_errors, explain_sqlite_errors
from qdip_dft.storage.sqlite_file import UNREADABLE, find_log, open_connection

COLLECTIONS = ("calculations", "stabilizations", "studies", "temperatures")
"""Collections that are saved also where the list of tables cannot be read."""

_ROWS_PER_PAGE = 100
"""More rows than this do not fit on a page of a file."""

_CREATE_ASIDE = (
    f"CREATE TABLE IF NOT EXISTS {SET_ASIDE} (id INTEGER PRIMARY KEY, collection TEXT NOT NULL, row INTEGER, "
    "reason TEXT NOT NULL, set_aside_at TEXT NOT NULL, doc BLOB)"
)


@dataclass(frozen=True, slots=True)
class RepairSummary:
    """What became of a results file.

    Parameters
    ----------
    n_saved
        Sound documents by collection.
    set_aside
        Documents that were set aside, and why.
    kept
        Where the damaged file is kept.
    """

    n_saved: Mapping[str, int]
    set_aside: tuple[Finding, ...]
    kept: Path


def repair_folder(path: Path) -> RepairSummary:
    """Write a new results file with every sound document; the damaged file stays beside it under another name.

    Documents that can be read but not believed lie in the table ``set_aside`` of the new file; nothing reads them.

    Parameters
    ----------
    path
        A results folder that no run uses.

    Raises
    ------
    ResultsError
        If the folder is in use, holds no results file, or cannot be written.
    """
    folder = ResultsFolder.of_damaged(path)
    damaged = folder.database
    if not damaged.is_file():
        raise ResultsError(
            f"{damaged} does not exist",
            limit="a results folder has a file qdip.sqlite",
            why="there is nothing to repair",
            remedy="name the folder that a run has written: qdip db repair DIR",
        )
    with folder.lock_for_run():
        fresh, kept = damaged.with_name(".qdip.sqlite.repaired"), _name_kept(damaged)
        with explain_file_errors(path):
            fresh.unlink(missing_ok=True)
        counts, aside = _save_sound(damaged, fresh)
        with explain_file_errors(path):
            for suffix in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    damaged.with_name(f"{damaged.name}{suffix}").rename(kept.with_name(f"{kept.name}{suffix}"))
            fresh.rename(damaged)
    return RepairSummary(counts, tuple(aside), kept)


def backup_folder(source: Path, target: Path) -> int:
    """Copy a results file as it is at one moment, also while a run writes to it; return the number of its bytes.

    The copy has no log beside it and may lie on a medium that cannot be written.

    Parameters
    ----------
    source
        A results folder.
    target
        A folder that does not exist; it becomes a results folder.

    Raises
    ------
    ResultsError
        If the target exists, or one of the two cannot be used.
    """
    folder = ResultsFolder(source)
    if target.exists():
        raise ResultsError(
            f"{target} exists",
            limit="a backup is written into a new folder",
            why="another backup would be replaced",
            remedy="name a folder that does not exist, such as one with today's date",
        )
    partial = target.absolute().with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with explain_file_errors(target):
            partial.mkdir(parents=True)
        copied = partial / folder.database.name
        with (
            explain_sqlite_errors(folder.database),
            closing(open_connection(folder.database)) as there,
            closing(sqlite3.connect(copied)) as here,
        ):
            there.backup(here)
            here.execute("PRAGMA journal_mode = DELETE")
        with explain_file_errors(target):
            with copied.open("rb") as file:
                os.fsync(file.fileno())
            partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return (target / folder.database.name).stat().st_size


def _save_sound(damaged: Path, fresh: Path) -> tuple[dict[str, int], list[Finding]]:
    counts: Counter[str] = Counter()
    aside: list[Finding] = []
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with (
        explain_sqlite_errors(fresh),
        closing(sqlite3.connect(fresh, isolation_level=None)) as new,
        closing(_open_damaged(damaged)) as old,
    ):
        new.execute("BEGIN")
        write_meta(new)
        for name in _list_tables(old):
            if name == SET_ASIDE:
                continue
            new.execute(f'CREATE TABLE IF NOT EXISTS "{name}" (id INTEGER PRIMARY KEY, doc TEXT NOT NULL)')
            for row, content in _read_rows(old, name):
                document = decode_row(content)
                reason = "its text is no document any more" if document is None else find_fault(name, document)
                if reason is None:
                    new.execute(f'INSERT INTO "{name}" (id, doc) VALUES (?, ?)', (row, content.decode()))
                    counts[name] += 1
                    continue
                aside.append(Finding(f"{name} row {row}", reason))
                new.execute(_CREATE_ASIDE)
                new.execute(
                    f"INSERT INTO {SET_ASIDE} (collection, row, reason, set_aside_at, doc) VALUES (?, ?, ?, ?, ?)",
                    (name, row, reason, now, content),
                )
        new.execute("COMMIT")
    return dict(counts), aside


def _open_damaged(path: Path) -> sqlite3.Connection:
    """Open the damaged file with its log, and hand out texts as bytes."""
    mode = "rw" if find_log(path).exists() else "ro&immutable=1"
    connection = sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None)
    connection.text_factory = bytes
    return connection


def _list_tables(old: sqlite3.Connection) -> list[str]:
    try:
        found = old.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    except UNREADABLE:
        return list(COLLECTIONS)
    names = [row[0].decode("utf-8", errors="replace") for row in found if isinstance(row[0], bytes)]
    kept = [name for name in names if name.isidentifier() and name != "meta" and "_summary_" not in name]
    return sorted({*kept, *COLLECTIONS})


def _read_rows(old: sqlite3.Connection, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield every row that can be read; where a page is destroyed, its neighbours are looked for one by one."""
    seen: set[int] = set()
    for direction in ("ASC", "DESC"):
        try:
            for row, content in old.execute(f'SELECT id, CAST(doc AS BLOB) FROM "{name}" ORDER BY id {direction}'):
                if row not in seen and isinstance(content, bytes):
                    seen.add(row)
                    yield row, content
            return
        except UNREADABLE as error:
            if "no such table" in str(error):
                return
    for row in sorted(set(range(1, _guess_last_row(old, seen) + 1)) - seen):
        content = _read_row(old, name, row)
        if content is not None:
            yield row, content


def _read_row(old: sqlite3.Connection, name: str, row: int) -> bytes | None:
    """Return the text of a row; None if there is none, or its page is destroyed."""
    try:
        found = old.execute(f'SELECT CAST(doc AS BLOB) FROM "{name}" WHERE id = ?', (row,)).fetchone()
    except UNREADABLE:
        return None
    return found[0] if found is not None and isinstance(found[0], bytes) else None


def _guess_last_row(old: sqlite3.Connection, seen: set[int]) -> int:
    try:
        n_pages = int(old.execute("PRAGMA page_count").fetchone()[0])
    except UNREADABLE:
        n_pages = 0
    return max(max(seen, default=0), min(n_pages * _ROWS_PER_PAGE, 1_000_000))


def _name_kept(path: Path) -> Path:
    """A name beside the file that is free."""
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    names = (path.with_name(f"{path.name}.damaged-{stamp}{suffix}") for suffix in ("", *(f"-{i}" for i in range(99))))
    return next(name for name in names if not name.exists())
