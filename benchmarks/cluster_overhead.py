"""What a trivial job costs, one after the other: jobflow on this machine, plain FireWorks, and ours on FireWorks.

    python benchmarks/cluster_overhead.py [--jobs 200]

The trivial job of FireWorks is a bare PyTask; ours is a single-point energy of two atoms with the toy potential, whose
own time is measured and taken off.  Both run with `launch_rocket` in launch folders of their own, in turns, on a
private MongoDB (`make mongod`) with authentication.  Medians in ms.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))


def make_jobs(count: int) -> list[Any]:
    """Return jobs of two atoms, each another question."""
    from qdip_dft.cache import calculation_key
    from qdip_dft.engines.registry import engine_from_spec
    from qdip_dft.jobs.calculate import calculation_job
    from qdip_dft.model.calculation import CalculationTask, Freedom
    from qdip_dft.model.engine import EngineSpec
    from qdip_dft.model.structure import StructureRecord

    engine = engine_from_spec(EngineSpec(name="testing"))
    jobs = []
    for number in range(count):
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
        start = perf_counter()
        action(argument)
        times.append(1e3 * (perf_counter() - start))
    return times


def calculate_alone(job: Any) -> None:
    """Do only what the engine does."""
    from qdip_dft.model.calculation import CalculationTask

    task, engine = job.function_args[:2]
    engine.static(CalculationTask.model_validate(task).structure)


def run_locally_in(folder: Path) -> Callable[[Any], Any]:
    """Return how jobflow runs a job with the results folder's store."""
    from jobflow import run_locally

    from qdip_dft.execution.results_folder import ResultsFolder

    store = ResultsFolder(folder / "results").job_store()
    return lambda job: run_locally(job, store=store, log=False)


def add_plain(launchpad: Any, _: Any) -> None:
    """Submit a bare PyTask."""
    from fireworks import Firework, PyTask

    launchpad.add_wf(Firework([PyTask(func="time.time")], spec={"_category": "plain"}))


def add_ours(launchpad: Any, job: Any) -> None:
    """Submit one of our jobs."""
    from qdip_dft.execution.fireworks.stage import Orders, make_firework
    from qdip_dft.model.engine import PresetName

    orders = Orders(submission="overhead", study="overhead", preset=PresetName.FAST)
    launchpad.add_wf(make_firework(job, orders))


def launch_in(folder: Path, launchpad: Any, category: str) -> Callable[[Any], Any]:
    """Return how a worker of a category runs its next job."""
    from fireworks import FWorker
    from fireworks.core.rocket_launcher import launch_rocket

    worker = FWorker(category, category=category, env={"outbox": str(folder / "outbox")})

    def launch(number: int) -> None:
        place = folder / f"{category}-{number}"
        place.mkdir()
        os.chdir(place)
        assert launch_rocket(launchpad, worker, strm_lvl="CRITICAL")

    return launch


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200)
    count = parser.parse_args().jobs
    import private_mongod
    from fireworks import LaunchPad

    from qdip_dft.execution.fireworks.database import ClusterDatabase

    logging.disable(logging.CRITICAL)
    jobs = make_jobs(count)
    program = private_mongod.find_mongod()
    assert program is not None, "make mongod"
    with tempfile.TemporaryDirectory() as name, private_mongod.start_private_mongod(program) as server:
        folder = Path(name)
        launchpad = LaunchPad(host=server.database_uri("overhead"), uri_mode=True, name="overhead")
        ClusterDatabase(launchpad.db).prepare()
        engine_ms = median(time_each(calculate_alone, jobs))
        local_ms = median(time_each(run_locally_in(folder), make_jobs(count)))
        submit = {"plain": add_plain, "mlip": add_ours}
        for add in submit.values():
            for job in jobs:
                add(launchpad, job)
        launch = {category: launch_in(folder, launchpad, category) for category in submit}
        times: dict[str, list[float]] = {category: [] for category in submit}
        for number in range(count):  # in turns: both meet the same disturbances
            for category in submit:
                times[category] += time_each(launch[category], [number])
        os.chdir(ROOT)
        launchpad.connection.close()
    plain_ms, ours_ms = median(times["plain"]), median(times["mlip"])
    added_ms = ours_ms - engine_ms - plain_ms
    print(f"the engine alone              {engine_ms:7.2f} ms")
    print(f"jobflow run_locally           {local_ms - engine_ms:7.2f} ms more")
    print(f"FireWorks, bare PyTask        {plain_ms:7.2f} ms")
    print(f"ours on FireWorks             {ours_ms - engine_ms:7.2f} ms = {added_ms / plain_ms:+.1%}")


if __name__ == "__main__":
    main()
