"""Ctrl-C ends a command once, in its own words, whatever the interpreter is doing at that moment.

Python raises `KeyboardInterrupt` wherever it stands.  In a destructor, or in a callback of its garbage collector, it
would print a traceback, forget the interruption and go on; while it ends, after the answer, it would print one as well.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from qdip_dft.errors import StoppedError

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

AGAIN_AFTER_S: Final = 0.02
"""An interruption that was swallowed comes again after this time in s, when the destructor has ended."""


@contextmanager
def interrupted_once() -> Iterator[None]:
    """Surround the command of a process: an interruption is raised inside, and from its end on there is none.

    Raises
    ------
    StoppedError
        If it was interrupted.
    """
    listener = _Listener(sys.unraisablehook)
    listener.start()
    # Not written in Python: there an interruption would be raised in the hook, and be told as its error.
    sys.unraisablehook = listener.swallowed.put
    try:
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it may have come before the line above was reached
        raise explain_interruption() from None
    finally:
        sys.unraisablehook = listener.tell
        listener.swallowed.put(None)
        listener.join()


class _Listener(threading.Thread):
    """Hears of exceptions that were swallowed: an interruption is sent again, any other is told as ever.

    Parameters
    ----------
    tell
        The hook that tells of exceptions.
    """

    def __init__(self, tell: Callable[[UnraisableHookArgs], object]) -> None:
        super().__init__(daemon=True)
        self.tell = tell
        self.swallowed: SimpleQueue[UnraisableHookArgs | None] = SimpleQueue()

    def run(self) -> None:
        """Listen until None comes."""
        while (swallowed := self.swallowed.get()) is not None:
            if not issubclass(swallowed.exc_type, KeyboardInterrupt):
                self.tell(swallowed)
                continue
            time.sleep(AGAIN_AFTER_S)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def explain_interruption() -> StoppedError:
    """The error of a command that was interrupted."""
    return StoppedError(
        "the command was interrupted",
        limit="it must run until it says what it has found",
        why="everything finished is stored, what was under way is not",
        remedy="run the same command again: it resumes where it stopped",
    )
