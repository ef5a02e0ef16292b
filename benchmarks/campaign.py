"""How planning, submitting and asking grow with the size of a campaign.

    python benchmarks/campaign.py [--studies 8 84]

Every study is the toy study of the tests with another vacuum: 24 calculations, of which bulks and strained bulks are
shared.  The calculations are synthetic, the numbers mean nothing.  A submission inserts the first stage of each study;
before the status is asked, the queue is filled up to all calculations, as if every stage had been built.  Needs
`make mongod`.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

N_CALCULATIONS = 24


def make_studies(count: int) -> list[Any]:
    """Return studies that differ in their vacuum."""
    from qdip_dft.plan import read_study

    study = read_study(str(ROOT / "tests" / "data" / "toy-study.yaml"))
    changes = ({"name": f"campaign-{number}", "vacuum_ang": 12.0 + 0.01 * number} for number in range(count))
    return [study.model_copy(update=change) for change in changes]


def fill_up(database: Any, count: int) -> None:
    """Copy fireworks until the queue holds as many as all stages would."""
    fireworks = list(database.fireworks.find({}, {"_id": 0}))
    n_missing = max(count - len(fireworks), 0)
    copies = ({**fireworks[i % len(fireworks)], "fw_id": 1_000_000 + i} for i in range(n_missing))
    database.fireworks.insert_many(copies)


def measure(launchpad: Any, count: int) -> tuple[float, float, float]:
    """Return the seconds for planning, submitting and asking for the status of so many studies."""
    from qdip_dft.execution.fireworks.control import list_statuses
    from qdip_dft.execution.fireworks.database import ClusterDatabase
    from qdip_dft.execution.fireworks.resources import Resources
    from qdip_dft.execution.fireworks.submission import submit_study
    from qdip_dft.plan import plan_study

    database = ClusterDatabase(launchpad.db)
    database.prepare()
    start = perf_counter()
    plans = [plan_study(study) for study in make_studies(count)]
    for plan in plans:
        plan.resolve(lambda _: None)
    planned = perf_counter()
    for plan in plans:
        submit_study(plan, launchpad, resources=Resources())
    submitted = perf_counter()
    fill_up(database, count * N_CALCULATIONS)
    filled = perf_counter()
    assert len(list_statuses(database)) == count
    return planned - start, submitted - planned, perf_counter() - filled


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, nargs="+", default=[8, 84])
    given = parser.parse_args()
    import private_mongod
    from fireworks import LaunchPad

    logging.disable(logging.CRITICAL)
    program = private_mongod.find_mongod()
    assert program is not None, "make mongod"
    print("| calculations | plan | submit | status |\n|---|---|---|---|")
    with private_mongod.start_private_mongod(program) as server:
        for count in given.studies:
            name = f"campaign_{count}"
            launchpad = LaunchPad(host=server.database_uri(name), uri_mode=True, name=name)
            planning_s, submitting_s, asking_s = measure(launchpad, count)
            launchpad.connection.close()
            row = f"| {count * N_CALCULATIONS} | {planning_s:.1f} s | {submitting_s:.1f} s | {asking_s:.3f} s |"
            print(row, flush=True)


if __name__ == "__main__":
    main()
