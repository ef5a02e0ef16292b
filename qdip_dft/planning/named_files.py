"""Structure files that a study or campaign names: paths start from its folder, wherever a command runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qdip_dft.errors import StudyError
from qdip_dft.runtime.names import CHOICE, is_file

NAMING_KEYS = frozenset({"material", "phase", "ax", "bx2", "products", "file", "calculator", "weights"})
"""Keys whose values name crystals, ids of the library or structure files, or files of a molecule or a potential."""

NAMED_KEYS = "formal_charges"
"""The key of a mapping whose own keys name crystals."""


def find_named_files(content: Any, folder: Path) -> Any:
    """The plain data of a study, a campaign or an engine with the paths of its files seen from the working directory.

    Parameters
    ----------
    content
        The plain data; not changed.
    folder
        Where its paths start from.

    Raises
    ------
    StudyError
        If a file lies in the working directory alone.
    """
    return _rename(content, lambda name: find_named_file(name, folder))


def write_named_files(content: Any, folder: Path, *, start: Path) -> Any:
    """The plain data of a study whose paths start from a folder, with paths that start from another.

    Parameters
    ----------
    content
        The plain data; not changed.
    folder
        Where its paths are to start from.
    start
        Where they start from now.
    """
    return _rename(content, lambda name: _write_from(find_named_file(name, start), folder))


def _rename(content: Any, rename: Callable[[str], str], *, is_name: bool = False) -> Any:
    if isinstance(content, dict):
        if isinstance(content.get(NAMED_KEYS), dict):
            charges = {rename(str(name)): value for name, value in content[NAMED_KEYS].items()}
            content = {**content, NAMED_KEYS: charges}
        return {k: _rename(value, rename, is_name=is_name or k in NAMING_KEYS) for k, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_rename(value, rename, is_name=is_name) for value in content]
    return rename(content) if is_name and isinstance(content, str) else content


def find_named_file(name: str, folder: Path) -> str:
    """The name of a crystal or file of a study as it is found from the working directory; errors as of the study's."""
    if is_file(folder / name):
        return name if Path(name).is_absolute() else os.path.relpath(folder / name)
    if is_file(name):
        raise StudyError(
            f"`{name}` is a file of the working directory, not of the study's folder",
            limit="the paths in a study start from the folder of the study",
            why="one study run from two folders would ask about two crystals",
            remedy=f"write `{os.path.relpath(name, folder)}` for this file, or move it away if the library's is meant",
        )
    file, inside = _split(name)
    return f"{find_named_file(file, folder)}{inside}" if inside else name


def _write_from(name: str, folder: Path) -> str:
    file, inside = (name, "") if is_file(name) else _split(name)
    return os.path.relpath(file, folder) + inside if is_file(file) else name


def _split(name: str) -> tuple[str, str]:
    """A file and what of it is meant, ``("mine.py", ":Mine")`` or ``("two.cif", "#beta")``; else a name and nothing."""
    file, colon, inside = name.rpartition(":")
    if file.endswith(".py"):
        return file, colon + inside
    file, mark, inside = name.rpartition(CHOICE)
    return (file, mark + inside) if file else (name, "")
