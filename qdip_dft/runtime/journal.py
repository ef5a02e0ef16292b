"""Files of entries that are appended one by one and survive a kill: what was written before it is read again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from qdip_dft.errors import ScratchError

SCRATCH_VARIABLE = "QDIP_SCRATCH"
"""Environment variable with the folder where codes run; the default is ``qdip-scratch`` in the working directory."""


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
    with explain_scratch(path), path.open("a", encoding="utf-8") as file:
        file.write(f"\n{json.dumps(entry)}")  # the line feed comes first: it closes a line that was cut short


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
    """Yield the entries of a file in order, without those that were cut short; none if there is no file."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


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
