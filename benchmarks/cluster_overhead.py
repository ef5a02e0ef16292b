"""What a trivial job costs beside its own time: jobflow on this machine, plain FireWorks, and ours, in every mode.

    python benchmarks/cluster_overhead.py [--jobs 40] [--blocks 8] [--batch-jobs 24]

The trivial job of plain FireWorks is a bare PyTask run by ``rlaunch``; ours is a single-point energy of two atoms with
the toy potential (0.2 ms) run by our worker, with claim, look-up and the result on disk before it is stored.  Plain and
ours take turns, job by job or block by block, on one private MongoDB with authentication (`make mongod`) and, in the
last two modes, one private Slurm of two nodes (as root).  Medians over jobs or blocks.

    in one process      one job after the other in a running Python
    rapidfire           a worker process as it stands in a packed allocation: the time from job to job
    start-up            from the start of that process to its first job
    Slurm, packed       one allocation, two workers in each of two nodes: time per job
    Slurm, single       a batch job for each: time per job, several in the queue at once
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "cluster")]

KINDS = ("plain", "mlip")
LIMIT_S = 240.0


def make_jobs(count: int, *, first: int = 0) -> list[Any]:
    """Return jobs of two atoms, each another question."""
    from qdip_dft.engines.registry import engine_from_spec
    from qdip_dft.jobs.calculate import calculation_job
    from qdip_dft.model.calculation import CalculationTask, Freedom
    from qdip_dft.model.engine import EngineSpec
    from qdip_dft.model.keys import calculation_key
    from qdip_dft.model.structure import StructureRecord

    engine = engine_from_spec(EngineSpec(name="testing"))
    jobs = []
    for number in range(first, first + count):
        edge = 8.0 + number * 1e-3
        structure = StructureRecord(
            lattice_ang=((edge, 0.0, 0.0), (0.0, edge, 0.0), (0.0, 0.0, edge)),
            species=("Pb", "I"),
            frac_coords=((0.0, 0.0, 0.0), (0.5, 0.0, 0.0)),
        )
        task = CalculationTask(label=f"bulk {number}", freedom=Freedom.NONE, structure=structure)
        jobs.append(calculation_job(task, engine, key=calculation_key(task, engine.theory(), {})))
    return jobs


def time_each(action: Callable[[Any], Any], arguments: list[Any]) -> list[float]:
    """Return the time of an action on each argument in ms."""
    times = []
    for argument in arguments:
        start = time.perf_counter()
        action(argument)
        times.append(1e3 * (time.perf_counter() - start))
    return times


def calculate_alone(job: Any) -> None:
    """Do only what the engine does."""
    from qdip_dft.model.calculation import CalculationTask

    task, engine = job.function_args[:2]
    engine.static(CalculationTask.model_validate(task).structure)


def run_locally_in(folder: Path) -> Callable[[Any], Any]:
    """Return how jobflow runs a job with the results folder's store."""
    from jobflow import run_locally

    from qdip_dft.storage.results_folder import ResultsFolder

    store = ResultsFolder(folder / "results").job_store()
    return lambda job: run_locally(job, store=store, log=False)


@dataclass
class Bench:
    """A queue of trivial jobs of both kinds, and the ways to run them."""

    folder: Path
    launchpad: Any
    n_made: int = 0
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def note(self, mode: str, kind: str, value_ms: float) -> None:
        """Keep a figure."""
        self.figures.setdefault(mode, {}).setdefault(kind, []).append(value_ms)

    def add(self, kind: str, count: int) -> None:
        """Put jobs into the queue; ours are claimed, as `qdip submit` does."""
        from fireworks import Firework, PyTask

        from qdip_dft.cluster.database import ClusterDatabase
        from qdip_dft.cluster.fireworks.stage import make_firework
        from qdip_dft.cluster.fireworks.task import RunJob
        from qdip_dft.cluster.orders import Orders
        from qdip_dft.model.engine import PresetName

        if kind == "plain":
            for _ in range(count):
                self.launchpad.add_wf(Firework([PyTask(func="time.time")], spec={"_category": kind}))
            return
        orders = Orders(submission="overhead", study="overhead", preset=PresetName.FAST)
        jobs = make_jobs(count, first=self.n_made)
        self.n_made += count
        ClusterDatabase(self.launchpad.db).claims.claim([job.uuid for job in jobs], owner="overhead")
        for job in jobs:
            self.launchpad.add_wf(make_firework(job, orders, RunJob))

    def run_in_one_process(self, count: int) -> None:
        """Run jobs of both kinds in turns."""
        from fireworks import FWorker
        from fireworks.core.rocket_launcher import launch_rocket

        from qdip_dft.cluster.fireworks.worker import Worker, open_queue, read_worker

        for kind in KINDS:
            self.add(kind, count)
        queue = open_queue(self.folder / "my_launchpad.yaml")
        ours = Worker(queue, read_worker(self.folder / "mlip.yaml"), self.folder)
        for number in range(count):
            place = self.folder / f"plain-{number}"
            place.mkdir()
            os.chdir(place)
            worker = FWorker("plain", category="plain")
            (plain_ms,) = time_each(lambda _, w=worker: launch_rocket(self.launchpad, w, strm_lvl="CRITICAL"), [None])
            (ours_ms,) = time_each(lambda _: ours._run_next(is_waiting=False), [None])  # noqa: SLF001 (one job)
            self.note("in one process", "plain", plain_ms)
            self.note("in one process", "mlip", ours_ms)
        queue.connection.close()

    def command(self, kind: str, mode: str) -> list[str]:
        """Return the worker process of a kind."""
        files = ["-l", str(self.folder / "my_launchpad.yaml"), "-w", str(self.folder / f"{kind}.yaml")]
        if kind == "plain":
            options = ["rapidfire", "--nlaunches", "infinite", "--max_loops", "1", "--sleep", "1"]
            module = "fireworks.scripts.rlaunch_run"
            return [sys.executable, "-m", module, "-s", *files, *(options if mode == "rapidfire" else [mode])]
        options = ["rapidfire", "--idle", "1"] if mode == "rapidfire" else [mode]
        return [sys.executable, "-m", "qdip_dft.cluster.fireworks.worker", *files, *options]

    def run_rapidfire(self, kind: str, count: int) -> None:
        """Let one worker process empty the queue."""
        self.add(kind, count)
        started = time.time()
        place = Path(tempfile.mkdtemp(dir=self.folder))
        subprocess.run(self.command(kind, "rapidfire"), cwd=place, check=True, capture_output=True)
        begun, ended = self.times(kind, started)
        self.note("start-up", kind, 1e3 * (begun[0] - started))
        self.note("rapidfire", kind, 1e3 * (ended[-1] - begun[0]) / count)

    def times(self, kind: str, since_s: float) -> tuple[list[float], list[float]]:
        """Return when the launches of a kind began and ended, in order."""
        moments: dict[str, list[float]] = {"RUNNING": [], "COMPLETED": []}
        for launch in self.launchpad.launches.find({"fworker.name": kind}, {"state_history": 1}):
            for entry in launch["state_history"]:
                moment = datetime.fromisoformat(f"{entry['created_on'][:26]}+00:00").timestamp()
                if entry["state"] in moments and moment > since_s:
                    moments[entry["state"]].append(moment)
        return sorted(moments["RUNNING"]), sorted(moments["COMPLETED"])

    def run_packed(self, slurm: Any, kind: str, count: int) -> None:
        """Let four workers in one allocation of two nodes empty the queue."""
        self.add(kind, count)
        started = time.time()
        self.submit(slurm, ["srun", "--ntasks=4", *self.command(kind, "rapidfire")], "--nodes=2", "--ntasks=4")
        self.wait(slurm)
        begun, ended = self.times(kind, started)
        self.note("Slurm, packed", kind, 1e3 * (ended[-1] - begun[0]) / count)

    def run_single(self, slurm: Any, kind: str, count: int) -> None:
        """Give each job a batch job of its own."""
        self.add(kind, count)
        started = time.time()
        for _ in range(count):
            self.submit(slurm, self.command(kind, "singleshot"), "--ntasks=1")
        self.wait(slurm)
        _, ended = self.times(kind, started)
        assert len(ended) == count
        self.note("Slurm, single", kind, 1e3 * (ended[-1] - started) / count)

    def submit(self, slurm: Any, command: list[str], *options: str) -> None:
        """Submit a batch job."""
        place = Path(tempfile.mkdtemp(dir=self.folder))
        script = place / "job.sh"
        script.write_text(f"#!/bin/bash\ncd {place}\n{' '.join(command)}\n", encoding="utf-8")
        slurm.call("sbatch", *options, f"--chdir={place}", "--output=out", "--error=error", str(script))

    def wait(self, slurm: Any) -> None:
        """Wait until Slurm is idle."""
        end = time.monotonic() + LIMIT_S
        while slurm.call("squeue", "--noheader").strip():
            assert time.monotonic() < end
            time.sleep(0.1)

    def print_table(self) -> None:
        """Print the medians side by side."""
        print(f"{'ms per job':<18}{'FireWorks':>11}{'ours':>9}{'more':>8}   quarter to three quarters of the ratios")
        for mode, values in self.figures.items():
            plain, ours = (median(values[kind]) for kind in KINDS)
            ratios = sorted(b / a for a, b in zip(values["plain"], values["mlip"], strict=True))
            spread = f"{ratios[len(ratios) // 4]:.2f} to {ratios[(3 * len(ratios)) // 4]:.2f}"
            print(f"{mode:<18}{plain:>11.1f}{ours:>9.1f}{ours / plain - 1:>+8.0%}   {spread} of {len(ratios)}")


def prepare(folder: Path, server: Any) -> Any:
    """Write the files of the workers and return the queue."""
    from fireworks import LaunchPad

    from qdip_dft.cluster.database import ClusterDatabase

    address = {"host": server.database_uri("overhead"), "uri_mode": True, "name": "overhead", "strm_lvl": "ERROR"}
    (folder / "my_launchpad.yaml").write_text(json.dumps(address), encoding="utf-8")
    for kind in KINDS:
        places = {"outbox": str(folder / "outbox"), "scratch": str(folder / "scratch")}
        worker = {"name": kind, "category": [kind], "query": "{}", "env": places}
        (folder / f"{kind}.yaml").write_text(json.dumps(worker), encoding="utf-8")
    launchpad = LaunchPad(**address)
    ClusterDatabase(launchpad.db).prepare()
    return launchpad


def measure_on_slurm(bench: Bench, *, blocks: int, batch_jobs: int) -> None:
    """Run the two modes that need a batch system."""
    from private_slurm import PrivateSlurm

    place = Path(tempfile.mkdtemp(prefix="slurm-"))
    place.chmod(0o755)
    slurm = PrivateSlurm(place / "s")
    try:
        slurm.start()
        for block in range(blocks):
            for kind in KINDS if block % 2 else KINDS[::-1]:
                bench.run_packed(slurm, kind, 10 * batch_jobs)
                bench.run_single(slurm, kind, batch_jobs)
    finally:
        slurm.stop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--batch-jobs", type=int, default=24, help="0: without Slurm")
    given = parser.parse_args()
    import private_mongod

    logging.disable(logging.CRITICAL)
    program = private_mongod.find_mongod()
    assert program is not None, "make mongod"
    with tempfile.TemporaryDirectory() as name, private_mongod.start_private_mongod(program) as server:
        folder = Path(name)
        bench = Bench(folder, prepare(folder, server))
        jobs = make_jobs(given.jobs)
        engine_ms = median(time_each(calculate_alone, jobs))
        local_ms = median(time_each(run_locally_in(folder), jobs))
        bench.n_made = given.jobs
        bench.run_in_one_process(given.jobs)
        for block in range(given.blocks):
            for kind in KINDS if block % 2 else KINDS[::-1]:
                bench.run_rapidfire(kind, given.jobs // 2)
        if given.batch_jobs:
            measure_on_slurm(bench, blocks=given.blocks, batch_jobs=given.batch_jobs)
        os.chdir(ROOT)
        bench.launchpad.connection.close()
    print(f"the engine alone {engine_ms:.2f} ms, jobflow run_locally {local_ms:.2f} ms")
    bench.print_table()


if __name__ == "__main__":
    main()
