"""Results on disk before they go to the database: an outage or a kill after the calculation loses nothing.

A worker writes the document of a finished calculation into its outbox, sends it to the database and removes the file.
Whatever lies there when the same job starts again is sent instead of calculated again; `qdip reconcile` sends the rest.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

from qdip_dft.errors import ResultsError
from qdip_dft.runtime.unlinked import open_unlinked, replace_text
from qdip_dft.storage.codec import decode_value, encode_document
from qdip_dft.storage.sqlite_errors import explain_file_errors

logger = logging.getLogger("qdip_dft.cluster")

Answer = TypeVar("Answer")
Document = dict[str, Any]
StoreOutput = Callable[[Document], object]
"""What puts a job's document into the database, in the place of an earlier one of the same job."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 20.0

JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Outbox:
    """A folder on a disk that all workers of one cluster see.

    Parameters
    ----------
    folder
        Created when missing.
    patience_s
        For how long a worker keeps trying to reach the database, in s.
    """

    folder: Path
    patience_s: float = 600.0

    def send(self, document: Document, store: StoreOutput) -> None:
        """Keep a job's document on disk, store it in the database, and remove the file.

        Raises
        ------
        ResultsError
            If the disk is full or not writable; the document is stored in the database all the same.
        """
        try:
            path = self._write(document)
        except ResultsError:
            self._store(document, store)
            raise
        self._store(document, store)
        path.unlink(missing_ok=True)

    def deliver(self, job: str, store: StoreOutput) -> bool:
        """Send what an earlier run of a job has left here, and return whether there was anything."""
        path = self._path(job)
        if not path.exists():
            return False
        self._store(_read(path), store)
        path.unlink(missing_ok=True)
        logger.info("delivered the result of an earlier run of job %s", job)
        return True

    @contextmanager
    def owning(self, job: str) -> Iterator[None]:
        """Hold a job's lock while it is calculated; another worker that was given the same job waits for its result.

        A worker that the database or the network has kept silent may be taken for lost while it is alive.  The kernel
        gives the lock back when the process ends, however it ends; where a disk has no locks there is none.
        """
        path = self._path(job).with_suffix(".lock")
        with self._lock(path):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def _lock(self, path: Path) -> TextIO:
        """Return a locked file; one that its last owner has removed while we waited for it locks nothing any more."""
        while True:
            with explain_file_errors(path):
                self.folder.mkdir(parents=True, exist_ok=True)
                file = open_unlinked(path, mode="a")
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:
                return file
            if _is_same(file, path):
                return file
            file.close()

    def list_jobs(self) -> Iterator[str]:
        """Return the ids of the jobs whose results lie here; files that are still being written are no results."""
        return (path.stem for path in sorted(self.folder.glob("*.json")) if JOB_ID.fullmatch(path.stem))

    def _path(self, job: str) -> Path:
        if JOB_ID.fullmatch(job) is None:
            raise ResultsError(
                f"{job!r} is no id of a job",
                limit="ids are UUIDs",
                why="the name of a file must not lead out of the outbox",
                remedy="delete this job from the database",
            )
        return self.folder / f"{job}.json"

    def _write(self, document: Document) -> Path:
        path = self._path(document["uuid"])
        with explain_file_errors(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_text(path, encode_document(document))  # no fsync: the database follows at once
        return path

    def _store(self, document: Document, store: StoreOutput) -> None:
        insist(lambda: store(document), patience_s=self.patience_s)


def insist(action: Callable[[], Answer], *, patience_s: float) -> Answer:
    """Return what an action returns; while the database cannot be reached, try again."""
    from pymongo.errors import ConnectionFailure

    deadline_s, pause_s = time.monotonic() + patience_s, FIRST_PAUSE_S
    while True:
        try:
            return action()
        except ConnectionFailure as error:
            if time.monotonic() + pause_s > deadline_s:
                raise
            logger.warning("the database cannot be reached (%s), trying again in %.0f s", error, pause_s)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _is_same(file: TextIO, path: Path) -> bool:
    """Return whether an open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _read(path: Path) -> Document:
    document: Document = decode_value(path.read_text(encoding="utf-8"))
    return document
