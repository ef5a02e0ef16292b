"""Independent calculations side by side: how much faster they are, and that no kill loses or repeats one.

    python benchmarks/workers.py kills [--count 40] [--workers 2] [--seed 1]
    python benchmarks/workers.py throughput [--n-atoms 72]

The drill runs ``quickstart`` with the toy potential and kills the run (SIGKILL, SIGTERM, SIGINT) or one of its workers
(SIGKILL) at random moments, then starts the same command again.  After each kill every record that was stored is still
there, byte for byte (nothing is lost or calculated again), and no worker is left.  The last run ends; every energy is
that of a run that nobody disturbed.  The throughput is that of two relaxations with the default potential, one after
the other against both at once, in wall time and in processor time: on a machine that does something else only the
latter means anything.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from qdip_dft.execution.assignments import Assignment
from qdip_dft.execution.crew import Crew, WorkerCrew

QDIP = [sys.executable, "-c", "import sys; sys.argv[0] = 'qdip'; from qdip_dft.cli import main; main()"]
ANSWERED, FINISHED_WITHOUT_AN_ANSWER = 0, 1
RUN = ["run", "quickstart", "--engine", "testing", "--quiet", "--json"]


def read_records(folder: Path) -> dict[str, str]:
    """Return the text of every stored calculation by its job's id; several with one id are an error."""
    database = folder / "qdip.sqlite"
    if not database.exists():
        return {}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'calculations'").fetchone():
            return {}
        rows = connection.execute("SELECT doc ->> '$.uuid', doc FROM calculations").fetchall()
    if len(rows) != len(dict(rows)):
        raise SystemExit("a calculation is stored twice")
    return dict(rows)


def read_energies(folder: Path) -> dict[str, float]:
    """Return the energy of every stored calculation by its job's id, in eV."""
    with closing(sqlite3.connect(folder / "qdip.sqlite")) as connection:
        sql = "SELECT doc ->> '$.uuid', doc ->> '$.output.result.energy_ev' FROM calculations"
        return dict(connection.execute(sql).fetchall())


def list_children(process_id: int) -> list[int]:
    """Return the processes that a process has started."""
    with suppress(OSError):
        return [int(c) for c in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()]
    return []


def is_running(process_id: int) -> bool:
    """Return whether a process exists and is no zombie."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@dataclass
class Drill:
    """Kills of one results folder after another.

    Parameters
    ----------
    workers
        Worker processes of each run.
    chance
        The source of randomness.
    longest_s
        Longest time before a kill, in s.
    """

    workers: int
    chance: random.Random
    longest_s: float
    kinds: dict[str, int] = field(default_factory=dict)

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        """Start the study."""
        command = [*QDIP, *RUN, "--results", str(folder), "--workers", str(self.workers)]
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )

    def finish(self, folder: Path) -> None:
        """Run the study to its end."""
        if self.start(folder).wait() not in {ANSWERED, FINISHED_WITHOUT_AN_ANSWER}:
            raise SystemExit("the run that nobody disturbed failed")

    def kill_once(self, folder: Path) -> bool:
        """Run the study and kill something; return whether the run had ended before."""
        run = self.start(folder)
        try:
            run.wait(self.chance.uniform(0.2, self.longest_s))
            return True
        except subprocess.TimeoutExpired:
            pass
        before, crew = read_records(folder), list_children(run.pid)
        if crew and self.chance.random() < 0.4:
            self._kill_worker(run, self.chance.choice(crew))
        else:
            self._kill_run(run)
        after = read_records(folder)
        if any(after.get(key) != text for key, text in before.items()):
            raise SystemExit("a stored calculation was lost or made again")
        deadline = time.monotonic() + 15
        while any(map(is_running, crew)):
            if time.monotonic() > deadline:
                raise SystemExit("a worker goes on although its run is gone")
            time.sleep(0.1)
        return False

    def _kill_worker(self, run: subprocess.Popen[bytes], worker: int) -> None:
        self.kinds["worker SIGKILL"] = self.kinds.get("worker SIGKILL", 0) + 1
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
        time.sleep(self.chance.uniform(0.0, self.longest_s))  # the run goes on with a new worker
        run.send_signal(signal.SIGINT)
        run.wait()

    def _kill_run(self, run: subprocess.Popen[bytes]) -> None:
        way = self.chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        self.kinds[f"run {way.name}"] = self.kinds.get(f"run {way.name}", 0) + 1
        run.send_signal(way)
        run.wait()


def drill_kills(*, count: int, workers: int, seed: int, longest_s: float) -> None:
    """Kill as often as asked; a folder whose study has ended is compared and replaced by a new one."""
    drill = Drill(workers, random.Random(seed), longest_s)
    with tempfile.TemporaryDirectory() as scratch:
        reference = Path(scratch) / "undisturbed"
        drill.finish(reference)
        wanted, n_kills, n_folders = read_energies(reference), 0, 0
        while n_kills < count:
            folder, n_folders = Path(scratch) / f"folder-{n_folders}", n_folders + 1
            while n_kills < count and not drill.kill_once(folder):
                n_kills += 1
            drill.finish(folder)
            if read_energies(folder) != wanted:
                raise SystemExit(f"the energies of {folder.name} differ from those of the run that nobody disturbed")
            print(f"{n_kills} kills, {n_folders} folders: {len(wanted)} calculations each, nothing lost, same numbers")
    print(", ".join(f"{number} × {kind}" for kind, number in sorted(drill.kinds.items())))


def make_relaxations(n_atoms: int, *, seed: int) -> list[Assignment]:
    """Return two relaxations of rattled supercells of cubic FAPbI3, cells included, with the default potential."""
    import numpy as np

    from qdip_dft.engines.registry import engine_from_spec
    from qdip_dft.library.crystals import load_crystal
    from qdip_dft.model.calculation import CalculationTask, Freedom
    from qdip_dft.model.engine import EngineSpec, PresetName
    from qdip_dft.model.structure import StructureRecord

    cell = load_crystal("FAPbI3-alpha").structure
    engine = engine_from_spec(EngineSpec(name="mlip", preset=PresetName.PRECISE))
    assignments = []
    for index in (seed, seed + 1):
        crystal = cell.make_supercell((3, 2, max(1, round(n_atoms / 72))), in_place=False)
        chance = np.random.default_rng(index)
        for site in range(len(crystal)):
            crystal.translate_sites([site], chance.normal(scale=0.1, size=3), frac_coords=False)
        task = CalculationTask(
            label=f"FAPbI3 {index}", freedom=Freedom.CELL, structure=StructureRecord.from_pymatgen(crystal)
        )
        assignments.append(Assignment(f"key-{index:02}", 0, task.label, task.model_dump(mode="json"), engine))
    return assignments


def load_potential(crew: Crew, assignments: list[Assignment]) -> None:
    """Make relaxations that do not count: every worker loads the potential, and none knows what it is measured with."""
    for assignment in assignments:
        crew.start(assignment)
    drain(crew, len(assignments))


def measure(crew: Crew, assignments: list[Assignment]) -> tuple[float, float, list[float]]:
    """Return wall time and processor time in s, and the energies in eV."""
    started, used = time.perf_counter(), sum_children_cpu_s()
    for assignment in assignments:
        while not crew.is_free:
            time.sleep(0.001)
        crew.start(assignment)
    energies = drain(crew, len(assignments))
    return time.perf_counter() - started, sum_children_cpu_s() - used, energies


def drain(crew: Crew, count: int) -> list[float]:
    """Wait for so many records; return their energies in eV, ordered by key."""
    found: dict[str, float] = {}
    while len(found) < count:
        for outcome in crew.wait():
            if outcome.record is None:
                raise SystemExit("a worker died twice")
            found[outcome.assignment.key] = outcome.record["result"]["energy_ev"]
    return [energy for _, energy in sorted(found.items())]


def sum_children_cpu_s() -> float:
    """Return the processor time of the worker processes, in s."""
    ticks = os.sysconf("SC_CLK_TCK")
    fields = [
        Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split() for child in list_children(os.getpid())
    ]
    return sum(int(values[11]) + int(values[12]) for values in fields) / ticks


def measure_throughput(n_atoms: int) -> None:
    """Compare two relaxations one after the other with both at once."""
    others, assignments = make_relaxations(n_atoms, seed=2), make_relaxations(n_atoms, seed=0)
    with tempfile.TemporaryDirectory() as scratch:
        with WorkerCrew(1, Path(scratch) / "one") as one:
            load_potential(one, others[:1])
            pairs = [measure(one, [assignment]) for assignment in assignments]
        alone_s, alone_cpu_s = (sum(pair[index] for pair in pairs) for index in (0, 1))
        with WorkerCrew(2, Path(scratch) / "two") as two:
            load_potential(two, others)
            both_s, both_cpu_s, energies = measure(two, assignments)
    same = energies == [pair[2][0] for pair in pairs]
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"one after the other: {alone_s:.1f} s, {alone_cpu_s:.1f} s of processor time")
    print(f"side by side:        {both_s:.1f} s, {both_cpu_s:.1f} s of processor time")
    print(f"throughput: {alone_s / both_s:.2f} times; the same energies: {same}")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kills", "throughput"])
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=float, default=12.0, help="longest time before a kill in s")
    parser.add_argument("--n-atoms", type=int, default=72)
    asked = parser.parse_args()
    if asked.what == "kills":
        drill_kills(count=asked.count, workers=asked.workers, seed=asked.seed, longest_s=asked.longest)
    else:
        measure_throughput(asked.n_atoms)


if __name__ == "__main__":
    main()
