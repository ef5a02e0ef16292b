"""What SQLite's and the operating system's complaints about a results file mean, and what to do about them."""

from __future__ import annotations

import errno
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qdip_dft.errors import DamagedDocumentError, ResultsDiskError, ResultsError
from qdip_dft.storage.file_systems import nearest_folder

_KEPT = "what was stored before is still there, the calculation at hand is not stored"
_DISK_FULL = ("the disk or your quota is full", _KEPT, "free some space and start the same run again, it goes on")
_NO_WRITE = (
    "the file and its folder must be writable",
    _KEPT,
    "check the permissions, or choose another folder with --results DIR",
)
_NO_FOLDER = (
    "it must be a folder, or not exist yet",
    "there is no other place to keep results",
    "move the file that stands there away, or choose another folder with --results DIR",
)
_BROKEN = (
    "it must be an intact SQLite database",
    "results in it could be wrong",
    "save what is sound (qdip db repair DIR), restore a backup, or move it away and start again; do not edit it",
)
_BUSY = (
    "only one process can write at a time",
    _KEPT,
    "see which process holds the file (qdip status), end it if it hangs, and start again",
)
_IO_ERROR = (
    "the operating system refused to read or write",
    _KEPT,
    "check the disk, the quota and the largest allowed file (ulimit -f), then start the same run again",
)
_TOO_LARGE = (
    "one document may have at most 1 GB",
    _KEPT,
    "store large arrays beside the documents and keep their path in the document",
)
_NOT_UNIQUE = (
    "a unique index allows each value once",
    _KEPT,
    "store the document under another value of that field",
)
_MEANINGS = {
    "SQLITE_FULL": _DISK_FULL,
    "SQLITE_READONLY": _NO_WRITE,
    "SQLITE_CANTOPEN": _NO_WRITE,
    "SQLITE_PERM": _NO_WRITE,
    "SQLITE_AUTH": _NO_WRITE,
    "SQLITE_NOTADB": _BROKEN,
    "SQLITE_CORRUPT": _BROKEN,
    "SQLITE_BUSY": _BUSY,
    "SQLITE_LOCKED": _BUSY,
    "SQLITE_IOERR": _IO_ERROR,
    "SQLITE_TOOBIG": _TOO_LARGE,
}
_SAYS_BROKEN = re.compile("unsupported file format|malformed database schema|no such (?:column|table|index)")
"""What SQLite says of a damaged file under the number of a wrong statement."""

_MEANINGS_OF_ERRNO = {
    errno.ENOSPC: _DISK_FULL,
    errno.EDQUOT: _DISK_FULL,
    errno.EFBIG: _IO_ERROR,
    errno.EIO: _IO_ERROR,
    errno.EACCES: _NO_WRITE,
    errno.EPERM: _NO_WRITE,
    errno.EROFS: _NO_WRITE,
    errno.ENOTDIR: _NO_FOLDER,
    errno.EEXIST: _NO_FOLDER,
}


@contextmanager
def explain_sqlite_errors(path: str | Path) -> Iterator[None]:
    """Turn SQLite's errors about a file into ones that say what to do; errors of programming pass unchanged."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise _explain(path, "a name in it is not text", _BROKEN) from error
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", None) or ""
        meaning = _NOT_UNIQUE if "UNIQUE" in name else _MEANINGS.get("_".join(name.split("_")[:2]))
        if meaning is None and _SAYS_BROKEN.search(str(error)):
            meaning = _BROKEN
        if meaning is None:
            raise
        raise _explain(path, str(error), meaning) from error


@contextmanager
def explain_file_errors(path: str | Path) -> Iterator[None]:
    """Turn the operating system's errors about a file or folder into ones that say what to do."""
    try:
        yield
    except OSError as error:
        meaning = _MEANINGS_OF_ERRNO.get(error.errno or 0)
        if meaning is None:
            raise
        raise _explain(error.filename or path, error.strerror or str(error), meaning) from error


def measure_free_space_mb(path: str | Path) -> float | None:
    """Return the free space in MB (10⁶ bytes) where a path is or would be; None if that cannot be found out."""
    try:
        return shutil.disk_usage(nearest_folder(Path(path))).free / 1e6
    except OSError:
        return None


def _explain(path: str | Path, complaint: str, meaning: tuple[str, str, str]) -> ResultsError:
    free_mb = measure_free_space_mb(path)
    space = "" if free_mb is None else f"; {free_mb:.0f} MB are free there"
    limit, why, remedy = meaning
    kinds = {_DISK_FULL: ResultsDiskError, _IO_ERROR: ResultsDiskError, _BROKEN: DamagedDocumentError}
    kind: type[ResultsError] = kinds.get(meaning, ResultsError)
    return kind(f"{path} cannot be used ({complaint}{space})", limit=limit, why=why, remedy=remedy)
