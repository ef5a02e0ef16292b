"""A whole study with this version and with an earlier one, in turn, on a quiet machine or beside busy processes.

    git clone . /tmp/before && git -C /tmp/before checkout d067956
    python benchmarks/whole_study.py /tmp/before /tmp/before/workflows/pbs-fapbi3.yaml [--rounds 3] [--busy 2]

Each version runs as a user starts it, without `OMP_NUM_THREADS`, from an empty results folder: the earlier one by its
own default, this one with two workers.  Printed are wall and processor time, the stabilization of both, and the ratio
of the medians.  `--busy N` keeps N processes busy meanwhile, in rounds of their own, and compares with the quiet ones.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

HERE = Path(__file__).resolve().parents[1]
QDIP = "import sys; sys.argv[0] = 'qdip'; from qdip_dft.cli import main; main()"
ANSWERED, FINISHED_WITHOUT_AN_ANSWER = 0, 1


@dataclass(frozen=True, slots=True)
class Run:
    """One run: wall time and processor time of all its processes in s, and the stabilization in eV per formula unit."""

    wall_s: float
    cpu_s: float
    total_ev_per_fu: float | None


def run_study(checkout: Path, study: Path, *options: str) -> Run:
    """Run a study with the version of a checkout, whose folder goes before the installed package."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with tempfile.TemporaryDirectory() as results:
        start_s, start_cpu_s = perf_counter(), children_cpu_s()
        done = subprocess.run(
            [sys.executable, "-c", QDIP, "run", str(study), "--results", results, "--quiet", "--json", *options],
            cwd=checkout, env=environment, stdout=subprocess.PIPE, check=False,
        )  # fmt: skip
        wall_s, cpu_s = perf_counter() - start_s, children_cpu_s() - start_cpu_s
    if done.returncode not in {ANSWERED, FINISHED_WITHOUT_AN_ANSWER}:
        raise SystemExit(f"the run of {checkout} left with {done.returncode}")
    stabilization = json.loads(done.stdout).get("stabilization", {})
    return Run(wall_s, cpu_s, stabilization.get("total_ev_per_fu"))


def children_cpu_s() -> float:
    """Return the processor time of all programs that were started and have ended, in s."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def busy_machine(n_processes: int) -> Iterator[None]:
    """Keep so many processes busy."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def compare(before: Path, study: Path, *, rounds: int, busy: int) -> dict[str, float]:
    """Run both versions in turn and return the median wall time of each in s."""
    found: dict[str, list[Run]] = {"before": [], "now": []}
    for _ in range(rounds):
        with busy_machine(busy):
            found["before"].append(run_study(before, study))
            found["now"].append(run_study(HERE, study, "--workers", "2"))
        for name, runs in found.items():
            last = runs[-1]
            print(
                f"{name:7} busy {busy}, load {os.getloadavg()[0]:.1f}: {last.wall_s:7.1f} s,"
                f" {last.cpu_s:7.1f} s of processor time, {last.total_ev_per_fu} eV/f.u.",
                flush=True,
            )
    medians = {name: median(run.wall_s for run in runs) for name, runs in found.items()}
    cpu = {name: median(run.cpu_s for run in runs) for name, runs in found.items()}
    print(
        f"busy {busy}: before / now {medians['before'] / medians['now']:.2f} in wall time,"
        f" {cpu['before'] / cpu['now']:.2f} in processor time"
    )
    return medians


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="checkout of the earlier version")
    parser.add_argument("study", type=Path, help="a study that both versions read")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, default=0, help="busy processes in the second half of the rounds")
    asked = parser.parse_args()
    quiet = compare(asked.before.resolve(), asked.study.resolve(), rounds=asked.rounds, busy=0)
    if asked.busy:
        loaded = compare(asked.before.resolve(), asked.study.resolve(), rounds=asked.rounds, busy=asked.busy)
        print(", ".join(f"{name}: {loaded[name] / quiet[name]:.2f} times its quiet time" for name in quiet))


if __name__ == "__main__":
    main()
