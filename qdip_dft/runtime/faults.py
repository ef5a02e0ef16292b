"""Faults of the machine: full memory, a full disk, a graphics processor that fails, a code that the kernel has killed.

They say nothing about a structure.  Whoever calculates lets them end the calculation and stores nothing; the same
question is asked again once the machine is in order.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from qdip_dft.errors import MachineError, ScratchError
from qdip_dft.runtime.journal import SCRATCH_VARIABLE

FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The system's numbers for a full disk and a used-up quota."""

_FAILING_SYSTEM = frozenset(
    {errno.ENOMEM, errno.EIO, errno.EROFS, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.EAGAIN}
)
"""No memory, a disk that fails or is gone, no more files or processes."""

_FAULT = re.compile(
    r"out of memory|oom-kill|can't allocate memory|cannot allocate memory|not enough memory|failed to allocate"
    r"|CUDA error|CUDA driver|cuda runtime error|CUBLAS_STATUS|CUSOLVER_STATUS|CUFFT_\w+|cuDNN error|cudnn_status"
    r"|HIP error|NCCL error|GPU has fallen off"
    r"|exit code (?:-7|-9|-15|135|137|143)\b|(?:on|with|by) signal (?:7|9|15)\b|SIGKILL|SIGBUS",
    re.IGNORECASE,
)
"""What potentials, codes and their launchers say when the machine was at fault, in their errors."""


def explain_machine_fault(error: BaseException) -> MachineError | None:
    """Name the fault of the machine behind an error; None where the error is about the calculation.

    Parameters
    ----------
    error
        What was raised; the errors that it was raised from are looked at as well.
    """
    for cause in _list_causes(error):
        if isinstance(cause, MachineError):
            return cause
        if isinstance(cause, OSError) and cause.errno in FULL_DISK:
            return _disk_is_full(cause)
        if _is_fault(cause):
            return _machine_failed(cause)
    return None


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what it was raised from, what that was raised from, and so on."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _is_fault(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno in _FAILING_SYSTEM
    return _FAULT.search(str(error)) is not None


def _disk_is_full(error: OSError) -> ScratchError:
    """Name the file; a full disk is no property of the calculation."""
    return ScratchError(
        f"{error.filename or 'a file of the calculation'} cannot be written ({error.strerror})",
        limit=f"the disk of {os.environ.get(SCRATCH_VARIABLE, Path.cwd())} must have space for what codes write",
        why="nothing was wrong with the calculation",
        remedy=f"free some space there, or choose another disk ({SCRATCH_VARIABLE}), and run the same again",
    )


def _machine_failed(error: BaseException) -> MachineError:
    said = " ".join(str(error).split())[:300]
    return MachineError(
        f"the machine failed during a calculation ({type(error).__name__}{': ' if said else ''}{said})",
        limit="a calculation needs memory, processors and disks that work until it has ended",
        why="this says nothing about the structure: nothing was stored of it, and what was finished before is kept",
        remedy="free memory (--workers 1, another device, a larger machine), and run the same command again",
    )
