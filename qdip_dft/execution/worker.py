"""A process that calculates one assignment after the other; `WorkerCrew` starts it and tells it what to do.

    python -m qdip_dft.execution.worker SOCKET CHECKPOINTS

It stores nothing.  It ends when the run does, however that ends: a run that was killed closes its side of the socket,
and no worker goes on for a run that is gone.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from qdip_dft.model.progress import ProgressEvent
from qdip_dft.runtime.faults import explain_machine_fault

if TYPE_CHECKING:
    from qdip_dft.execution.assignments import Assignment

PROGRESS_LOGGER = "qdip_dft.progress"
STEP_EVERY_S = 0.2
"""How often the steps of a calculation are told, in s."""

GRACE_S = 5.0
"""Time in which a code that runs is stopped in order, in s."""

Message = tuple[str, Any]
"""``event`` and a `ProgressEvent`, ``note`` and a text, ``done`` and a record, or ``raised`` and an exception."""


class _Reporter(logging.Handler):
    """Sends what calculations say to the run."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(logging.INFO)
        self.connection = connection
        self._told_at_s = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "progress", None)
        if isinstance(event, ProgressEvent):
            if event.kind == "step" and time.monotonic() - self._told_at_s < STEP_EVERY_S:
                return
            self._told_at_s = time.monotonic()
            self.connection.send(("event", event))
        elif record.levelno >= logging.WARNING:
            error = record.exc_info[1] if record.exc_info else None
            words = "" if error is None else f": {type(error).__name__}: {error}"
            self.connection.send(("note", record.getMessage() + words))


def main() -> None:
    """Calculate what comes through the socket until it closes."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background of a shell ignores it
    connection, checkpoints = Connection(int(sys.argv[1])), Path(sys.argv[2])
    orders: SimpleQueue[Assignment] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, orders), daemon=True).start()
    logger = logging.getLogger(PROGRESS_LOGGER)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(_Reporter(connection))
    try:
        while True:
            connection.send(_carry_out(orders.get(), checkpoints))
    except (KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        os._exit(1)  # the run is gone or wants no more; nothing here needs saving


def _carry_out(assignment: Assignment, checkpoints: Path) -> Message:
    try:
        return "done", assignment.carry_out(checkpoints)
    except Exception as error:  # noqa: BLE001 (it is raised again in the run)
        return "raised", _make_portable(explain_machine_fault(error) or error)


def _make_portable(error: Exception) -> Exception:
    """Return the error, or one with its text where it cannot be sent."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 (any class may refuse)
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def _listen(connection: Connection, orders: SimpleQueue[Assignment]) -> None:
    """Pass orders on; when the run is gone, stop the calculation in order, and soon in any case."""
    try:
        while True:
            orders.put(connection.recv())
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(GRACE_S)
    except Exception as error:  # noqa: BLE001 (an engine whose module a worker cannot import)
        connection.send(("raised", _make_portable(error)))
    os._exit(1)


if __name__ == "__main__":
    main()
