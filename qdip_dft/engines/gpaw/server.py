"""GPAW kept alive between the steps of a relaxation: one process that answers question after question."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import IO, Any

from qdip_dft.engines.programs import end_command, start_command
from qdip_dft.runtime.watched import WatchedProgram

POLLING_S = 0.02
"""An answer is looked for in this rhythm."""

PATIENCE_S = 60.0
"""A process that has nothing left to do may take this long to end."""

QUESTION, ANSWER = "question.json", "answer.json"


@dataclass
class Server:
    """A running worker of GPAW.

    Parameters
    ----------
    command
        The command that starts the worker, as words.
    folder
        Where it runs.
    log
        Where its output goes.
    numerics
        The numerical settings that it was started with.
    """

    command: Sequence[str]
    folder: Path
    log: Path
    numerics: dict[str, Any]
    _process: WatchedProgram = field(init=False)

    def __post_init__(self) -> None:
        self._process = start_command(self.command, folder=self.folder, stdin=subprocess.PIPE, stdout=self.log)

    @property
    def _questions(self) -> IO[bytes]:
        assert self._process.stdin is not None  # asked for above
        return self._process.stdin

    def ask(self) -> dict[str, Any]:
        """Return the answer to the question in the folder; nothing if the process ended instead."""
        answer = self.folder / ANSWER
        answer.unlink(missing_ok=True)
        try:
            self._questions.write(f"{QUESTION} {ANSWER}\n".encode())
            self._questions.flush()
        except BrokenPipeError:
            return {}
        while not answer.exists() and self._process.poll() is None:
            sleep(POLLING_S)
        return dict(json.loads(answer.read_text(encoding="utf-8"))) if answer.exists() else {}

    def close(self, save_to: str | None) -> bool:
        """End the process; return whether it has saved its wavefunctions before.

        Parameters
        ----------
        save_to
            File of the wavefunctions; None: they are not needed.
        """
        is_saved = False
        if save_to is not None and self._process.poll() is None:
            (self.folder / QUESTION).write_text(json.dumps({"save_to": save_to}), encoding="utf-8")
            is_saved = bool(self.ask().get("is_saved"))
        self._questions.close()
        end_command(self._process, patience_s=PATIENCE_S)
        return is_saved

    def exit_code(self) -> int:
        """Return the exit code of a process that has ended or is about to."""
        return self._process.wait()
