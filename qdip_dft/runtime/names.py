"""Names that people give, which may or may not be those of files."""

from __future__ import annotations

from pathlib import Path

CHOICE = "#"
"""Stands between a file of several crystals and the one that is meant: ``two-phases.cif#beta``, ``run.extxyz#1``."""


def split_choice(name: str | Path) -> tuple[str | Path, str]:
    """A file and which of its crystals is meant; empty where nothing is said, or the mark is in the file's own name."""
    file, _, choice = str(name).rpartition(CHOICE)
    return (file, choice) if file and not is_file(name) and is_file(file) else (name, "")


def is_file(name: str | Path) -> bool:
    """Whether a name is that of a file; one that no file can have, such as a very long one, is not."""
    try:
        return Path(name).is_file()
    except OSError:
        return False
