"""How long `qdip status` and `qdip atlas` take on ten thousand results, and the most memory they use.

    python benchmarks/overview.py [--count 10000] [--samples 5]

The results are synthetic and say so.  The limit is 1.5 s of processor time and 300 MB for each command.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from synthetic_results import make_results  # noqa: E402

from qdip_dft.storage.results_folder import ResultsFolder  # noqa: E402

QDIP = [sys.executable, "-c", "import sys; sys.argv[0] = 'qdip'; from qdip_dft.cli import main; main()"]
WITH_MEMORY = (
    "import re, sys; sys.argv[0] = 'qdip'\nfrom qdip_dft.cli import main\n"
    "try: main()\n"
    "finally: sys.stderr.write(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
)
MOST_CPU_S, MOST_MEMORY_MB = 1.5, 300


def fill(folder: Path, count: int) -> None:
    """Store so many synthetic results."""
    collection = ResultsFolder(folder).collection("stabilizations")
    documents = make_results(count)
    while batch := list(islice(documents, 200)):
        collection.update(batch, key="id")


def measure_cpu_s(*arguments: str) -> float:
    """Return the processor time of a command in s."""
    process = os.posix_spawn(
        QDIP[0], [*QDIP, *arguments], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    )
    _, status, used = os.wait4(process, 0)
    if status != 0:
        raise SystemExit(f"qdip {' '.join(arguments)} failed")
    return used.ru_utime + used.ru_stime


def measure_memory_mb(*arguments: str) -> float:
    """Return the largest memory of a command in MB; Linux hands that of a parent down to `ru_maxrss` of its child."""
    run = subprocess.run([sys.executable, "-c", WITH_MEMORY, *arguments], capture_output=True, text=True, check=True)
    return int(run.stderr.split()[-1]) / 1000


def main() -> None:
    """Fill a folder and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        fill(Path(scratch), asked.count)
        for name in ("status", "atlas"):
            cpu_s = min(measure_cpu_s(name, "--results", scratch) for _ in range(asked.samples))
            memory_mb = measure_memory_mb(name, "--results", scratch)
            is_kept = cpu_s <= MOST_CPU_S and memory_mb <= MOST_MEMORY_MB
            print(
                f"{name}: {asked.count} results in {cpu_s:.2f} s, {memory_mb:.0f} MB, {'kept' if is_kept else 'missed'}"
            )


if __name__ == "__main__":
    main()
