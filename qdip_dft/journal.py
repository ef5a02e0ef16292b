"""Files of entries that are appended one by one and survive a kill: what was written before it is read again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any


def append_entry(path: Path, entry: Sequence[Any]) -> None:
    """Append an entry, a list of plain data; the file is created when missing.

    Parameters
    ----------
    path
        The file; its folder must exist.
    entry
        What is kept.
    """
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n{json.dumps(entry)}")  # the line feed comes first: it closes a line that was cut short


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
