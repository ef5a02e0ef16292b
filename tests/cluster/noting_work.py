"""The worker of jobflow-remote's batch jobs, which notes every job that it has run to its end.

python noting_work.py LOG FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from qdip_dft.cluster.remote.work import has_ended, run_in

if __name__ == "__main__":
    log, folder = map(Path, sys.argv[1:])
    if run_in(folder) and has_ended(folder):
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{folder.name}\n")
