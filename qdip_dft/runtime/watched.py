"""A code that runs, and what holds it: limits on its time, the lock of its folder, a guard that outlives this process.

* A code that writes nothing for `IDLE_VARIABLE` seconds, or runs longer than `WALL_VARIABLE`, is ended with everything
  that it started, and its calculation has failed with this reason.
* The lock of the folder is inherited by whatever the code starts: it is held until the last of them has ended.
* The guard is a shell that waits for the end of this process, even by a kill, and then ends the code's process group.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from qdip_dft.errors import EngineError, MachineError
from qdip_dft.runtime.unlinked import open_unlinked

IDLE_VARIABLE = "QDIP_IDLE_LIMIT"
"""Environment variable with the longest time without a written byte, in s; 0: none."""

IDLE_LIMIT_S = 4 * 3600.0
"""Without the variable; codes write with every step to self-consistency."""

WALL_VARIABLE = "QDIP_WALL_LIMIT"
"""Environment variable with the longest run of a code, in s; without it there is none."""

LOCK = ".qdip-lock"
"""The file in a scratch folder that is locked while a code runs there."""

LOCK_PATIENCE_S = 10.0
"""So long a code of an earlier run may take to end, in s."""

_POLL_S = 5.0
_GUARD = 'read line; kill -9 "-$1"'


class WatchedProgram(subprocess.Popen[bytes]):
    """A started code; `wait` raises what ended it if that was a limit.

    Parameters
    ----------
    words
        The command.
    folder
        Where it runs.
    options
        As of `subprocess.Popen`.

    Raises
    ------
    MachineError
        If a code of an earlier run still works in the folder.
    """

    ended_because: str | None = None
    """The limit that it broke."""

    def __init__(self, words: Sequence[str], *, folder: Path, **options: Any) -> None:
        self._lock = _lock_folder(folder)
        self._guard: subprocess.Popen[bytes] | None = None
        self._is_over = threading.Event()
        try:
            super().__init__(words, cwd=folder, start_new_session=True, pass_fds=(self._lock,), **options)
        finally:
            os.close(self._lock)  # the code holds it now, and what it starts
        self._guard = _start_guard(self.pid)
        idle_s, wall_s = read_limit(IDLE_VARIABLE, IDLE_LIMIT_S), read_limit(WALL_VARIABLE, 0.0)
        if idle_s or wall_s:
            watcher = threading.Thread(target=self._watch, args=(words[0], folder, idle_s, wall_s), daemon=True)
            watcher.start()

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once the code has ended.

        Raises
        ------
        EngineError
            If it was ended because of a limit.
        """
        code = super().wait(timeout)
        self._release()
        if self.ended_because is not None:
            raise EngineError(
                self.ended_because,
                limit=f"{IDLE_VARIABLE} and {WALL_VARIABLE} say how long a code may be silent and run, in s",
                why="it would hold up the study for ever",
                remedy="read its output; if it was only slow, raise the limit and run again with --retry",
            )
        return code

    def poll(self) -> int | None:
        """Return the exit code; None while the code runs."""
        code = super().poll()
        if code is not None:
            self._release()
        return code

    def end(self) -> None:
        """End the code and what it started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _release(self) -> None:
        """Let the guard go: it must not meet another process of the same number."""
        self._is_over.set()
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.kill()
            guard.wait()
            if guard.stdin is not None:
                guard.stdin.close()

    def _watch(self, name: str, folder: Path, idle_s: float, wall_s: float) -> None:
        started_s = time.time()
        pause_s = min(_POLL_S, *(limit / 4 for limit in (idle_s, wall_s) if limit))
        while not self._is_over.wait(pause_s):
            now_s = time.time()
            silent_s = now_s - max(started_s, find_last_writing_s(folder))
            if wall_s and now_s - started_s > wall_s:
                self.ended_because = f"{name} ran in {folder} for more than {wall_s:.0f} s and was ended"
            elif idle_s and silent_s > idle_s:
                self.ended_because = f"{name} wrote nothing in {folder} for {silent_s:.0f} s and was ended"
            if self.ended_because is not None:
                self.end()
                return


def find_last_writing_s(folder: Path) -> float:
    """When a file of a folder was last written, in s since 1970; 0 if there is none."""
    last_s = 0.0
    with suppress(OSError):
        for entry in os.scandir(folder):
            with suppress(OSError):
                last_s = max(last_s, entry.stat().st_mtime)
    return last_s


def read_limit(variable: str, otherwise_s: float) -> float:
    """The limit that the environment names, in s; 0 for none.

    Raises
    ------
    EngineError
        If it is no number of seconds.
    """
    text = os.environ.get(variable)
    try:
        limit_s = otherwise_s if text is None else float(text)
    except ValueError:
        limit_s = -1.0
    if 0.0 <= limit_s < float("inf"):
        return limit_s
    raise EngineError(
        f"{variable} is {text!r}",
        limit="it must be a number of seconds, or 0 for no limit",
        why="nobody would know when a code hangs",
        remedy=f"unset {variable}, or set it as in: export {variable}=7200",
    )


def _lock_folder(folder: Path) -> int:
    """Return the open lock of a folder, once nothing of an earlier run works there any more."""
    with open_unlinked(folder / LOCK, mode="r+") as file:
        end_s = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return os.dup(file.fileno())
            except BlockingIOError:
                if time.monotonic() > end_s:
                    raise _still_in_use(folder) from None
            except OSError:  # a scratch disk without locks: the results folder has them
                return os.dup(file.fileno())
            time.sleep(0.1)


def _start_guard(group: int) -> subprocess.Popen[bytes]:
    """Start the shell that ends a process group when this process ends: its input ends then."""
    return subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, "qdip-guard", str(group)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


def _still_in_use(folder: Path) -> MachineError:
    return MachineError(
        f"a code of an earlier run still works in {folder}",
        limit=f"one code at a time works in a folder ({LOCK} is locked)",
        why="two codes would write into each other's files",
        remedy=f"end it (fuser -v {folder / LOCK} names it), and run the same command again",
    )
