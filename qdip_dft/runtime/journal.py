"""Files of entries that are appended one by one and survive a kill: what was written before it is read again.

Each line holds a checksum and its entry.  A line that was cut short or changed on the disk is no entry: what it held is
calculated again.  So is a line without a checksum, as versions before wrote them: nothing tells a sound one from one in
which a digit has changed, an energy from it would be stored for ever, and it only costs part of one calculation.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from qdip_dft.errors import ScratchError
from qdip_dft.runtime.unlinked import open_unlinked

SCRATCH_VARIABLE = "QDIP_SCRATCH"
"""Environment variable with the folder where codes run; the default is ``qdip-scratch`` in the working directory."""


_CHECKSUM_DIGITS = 16

logger = logging.getLogger("qdip_dft.progress")


def append_entry(path: Path, entry: Sequence[Any]) -> None:
    """Append an entry, a list of plain data; the file is created when missing.

    Parameters
    ----------
    path
        The file; its folder must exist.
    entry
        What is kept.

    Raises
    ------
    ScratchError
        If the disk is full, or the file cannot be written.
    """
    text = json.dumps(entry)
    with explain_scratch(path), open_unlinked(path, mode="a") as file:
        file.write(f"\n{_checksum(text.encode())} {text}")  # the line feed comes first: it closes a line cut short


@contextmanager
def explain_scratch(path: Path) -> Iterator[None]:
    """Turn the system's errors about a file into one that names the disk."""
    try:
        yield
    except OSError as error:
        raise ScratchError(
            f"{path} cannot be written ({error.strerror or error})",
            limit=f"the disk of {path.parent} must have space for what calculations keep",
            why="nothing was wrong with the calculation, and what it has found so far would be lost",
            remedy=f"free some space there, or choose another disk ({SCRATCH_VARIABLE}), and run the same again",
        ) from error


def read_entries(path: Path) -> Iterator[list[Any]]:
    """Yield the entries of a file in order, without lines that were cut short or changed; none if there is no file."""
    if not path.exists():
        return
    n_bad = 0
    for line in path.read_bytes().split(b"\n"):
        checksum, _, text = line.partition(b" ")
        if checksum.decode("ascii", errors="replace") == _checksum(text):
            yield json.loads(text)
        else:
            n_bad += bool(line.strip())
    if n_bad:
        logger.warning("%s: %d lines were cut short or changed; what they held is calculated again", path, n_bad)


def _checksum(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:_CHECKSUM_DIGITS]


_recordings: ContextVar[Path | None] = ContextVar("recordings", default=None)


@contextmanager
def recording_in(folder: Path) -> Iterator[None]:
    """Let what runs inside keep its journals in a folder; it is created when it is needed."""
    token = _recordings.set(folder)
    try:
        yield
    finally:
        _recordings.reset(token)


def recordings() -> Path | None:
    """Return the folder that `recording_in` has named."""
    return _recordings.get()
