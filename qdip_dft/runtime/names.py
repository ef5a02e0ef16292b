"""Names that people give, which may or may not be those of files."""

from __future__ import annotations

from pathlib import Path


def is_file(name: str | Path) -> bool:
    """Whether a name is that of a file; one that no file can have, such as a very long one, is not."""
    try:
        return Path(name).is_file()
    except OSError:
        return False
