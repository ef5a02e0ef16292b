"""Writing a file so that a reader or a crash never meets half of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from qdip_dft.errors import ResultsError

_MODE = 0o644
"""Readable by colleagues; temporary files are not."""


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
        raise ResultsError(
            f"{path} could not be written",
            limit=f"its folder must be writable and have room ({error.strerror or error})",
            why="nothing would be left of what was asked for",
            remedy="free some space, correct the permissions or give another path",
        ) from error
