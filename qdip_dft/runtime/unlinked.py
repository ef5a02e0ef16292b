"""Opening files of predictable names for writing, so that no link of that name leads to another file."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TextIO, cast

_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)  # not on Windows


def open_unlinked(path: Path, *, mode: str) -> TextIO:
    """Open a file for writing; it is created when missing, never emptied, and no symbolic link is followed.

    Parameters
    ----------
    path
        The file; its folder must exist and may be a link.
    mode
        ``a`` to append, ``r+`` to read and write, ``x`` to write a file that must not exist.

    Raises
    ------
    OSError
        ``ELOOP`` if the path is a symbolic link.
    """
    flags = {"a": os.O_WRONLY | os.O_APPEND, "r+": os.O_RDWR, "x": os.O_WRONLY | os.O_EXCL}[mode]
    if not _NO_LINK and path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    descriptor = os.open(path, flags | os.O_CREAT | _NO_LINK, 0o666)
    return cast("TextIO", os.fdopen(descriptor, "w" if mode == "x" else mode, encoding="utf-8"))


def replace_text(path: Path, text: str) -> None:
    """Replace a file as a whole: readers see the old text or the new one, and a link of its name is replaced.

    Parameters
    ----------
    path
        The file.
    text
        What it is to hold.
    """
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.unlink(missing_ok=True)  # of an earlier process of this number, or a link that somebody has laid
    with open_unlinked(partial, mode="x") as file:
        file.write(text)
    partial.replace(path)
