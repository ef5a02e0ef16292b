"""What file system a folder lies on: the shared memory of SQLite's log works on disks of this machine only.

Linux names the kind by a number (``statfs``).  On a network file system a rollback journal is used, which needs nothing
but locks that reach all machines; a file system without locks is refused.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from qdip_dft.errors import ResultsError

_MAGIC = {
    0x6969: "NFS",
    0x0BD00BD0: "Lustre",
    0x19830326: "BeeGFS",
    0x47504653: "GPFS",
    0x00C36400: "Ceph",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB",
    0x5346414F: "AFS",
    0x01021997: "9P",
    0x65735546: "FUSE",
    0x20030528: "OrangeFS",
    0x01161970: "GFS2",
    0x7461636F: "OCFS2",
    0x73757245: "Coda",
}
"""Kinds that other machines may mount as well, by the number of ``statfs`` (see ``man 2 statfs``)."""

WITHOUT_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
"""What the system answers where a file cannot be locked."""


@dataclass(frozen=True, slots=True)
class FileSystem:
    """The file system of a folder.

    Parameters
    ----------
    kind
        Its name where other machines may mount it as well, such as ``NFS``; None: a disk of this machine.
    """

    kind: str | None

    @property
    def is_shared(self) -> bool:
        """Whether other machines may use the same files."""
        return self.kind is not None


def find_file_system(path: Path) -> FileSystem:
    """The file system where a path is or would be; one that cannot be asked counts as a disk of this machine."""
    return FileSystem(_MAGIC.get(_ask_kind(nearest_folder(path))))


def nearest_folder(path: Path) -> Path:
    """The folder that a path is, or the nearest one above it that exists."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.is_dir())


def require_locks(path: Path) -> None:
    """Refuse a folder on whose file system no lock can be had.

    Parameters
    ----------
    path
        An existing folder; one that is not writable needs no locks.

    Raises
    ------
    ResultsError
        If the system answers that there are no locks.
    """
    if not os.access(path, os.W_OK):
        return
    with tempfile.TemporaryFile(dir=path) as file:
        for lock in (fcntl.flock, fcntl.lockf):
            try:
                lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in WITHOUT_LOCKS:
                    raise refuse_without_locks(path, error) from error
                raise


def refuse_without_locks(path: Path, error: OSError) -> ResultsError:
    """Return the error for a place whose file system has no locks."""
    kind = find_file_system(path).kind
    where = f"{path} lies on {kind}" if kind else f"{path} lies on a file system"
    return ResultsError(
        f"{where} without file locks ({error.strerror or error})",
        limit="a results folder needs locks (flock and fcntl) that hold for every process on every machine",
        why="two processes could write at the same time and destroy the results",
        remedy="choose a folder on a local disk with --results DIR and copy it afterwards (qdip db backup), or have "
        "the file system mounted with locks (Lustre: -o flock; NFS: version 4, or with the lock manager running)",
    )


def _ask_kind(path: Path) -> int:
    """The number that ``statfs`` gives; 0 where the system has none."""
    ask = getattr(ctypes.CDLL(None), "statfs", None) if os.name == "posix" else None
    if ask is None:
        return 0
    answer = ctypes.create_string_buffer(512)
    if ask(os.fsencode(path), answer) != 0:
        return 0
    return ctypes.c_long.from_buffer(answer).value & 0xFFFFFFFF  # the first field of the structure
