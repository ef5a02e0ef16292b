"""What workers are sent for in the tests: they stand where an `Assignment` stands."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdip_dft.errors import ScratchError


@dataclass(frozen=True)
class Errand:
    """Something to be carried out.

    Parameters
    ----------
    key
        Its name.
    what
        ``answer``, ``die``, ``die once``, ``sleep``, ``complain``, ``run out of memory`` or ``run out of memory once``.
    """

    key: str
    what: str = "answer"

    @property
    def label(self) -> str:
        """The name for people."""
        return self.key

    def carry_out(self, checkpoints: Path) -> dict[str, Any]:
        """Do it; the answer names the process and its threads."""
        mark = checkpoints / self.key
        if self.what == "die" or (self.what == "die once" and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "run out of memory" or (self.what == "run out of memory once" and not mark.exists()):
            mark.touch()
            raise MemoryError("an array of 80 GiB")
        if self.what == "sleep":
            mark.write_text(str(os.getpid()))
            time.sleep(600)
        if self.what == "complain":
            raise ScratchError("the disk is full", limit="none", why="none", remedy="free some space there")
        return {"key": self.key, "process_id": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}
