"""Writing a file so that a reader or a crash never meets half of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from qdip_dft.errors import ResultsError

_BEGINS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

_MODE = 0o644
"""Readable by colleagues; temporary files are not."""


def guard_cell(value: object) -> object:
    """A cell of a CSV file; a text that a spreadsheet would take for a formula begins with an apostrophe.

    Parameters
    ----------
    value
        Numbers stay as they are.
    """
    return f"'{value}" if isinstance(value, str) and value[:1] in _BEGINS_FORMULA else value


@contextmanager
def open_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing beside the target; it takes the target's place when the block ends without an error.

    Raises
    ------
    ResultsError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            partial = Path(file.name)
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                partial.chmod(_MODE)
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise _explain(error, path) from error


def write_content(path: Path, content: bytes) -> Path:
    """Write a file and its folder, whole or not at all.

    Raises
    ------
    ResultsError
        If it cannot be written.
    """
    with open_whole(path) as file:
        file.write(content)
    return path


def _explain(error: OSError, path: Path) -> ResultsError:
    reason = error.strerror or str(error)
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    cure = "free some space" if is_full else "correct the permissions or the path"
    return ResultsError(
        f"{path} could not be written",
        limit=f"the disk or quota is full ({reason})" if is_full else f"its folder must be writable ({reason})",
        why="the file would be missing or half written; results that are stored are not lost",
        remedy=f"{cure} and run the same command again, or write elsewhere",
    )
