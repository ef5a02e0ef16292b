"""How planning, submitting and asking grow with the size of a campaign.

    python benchmarks/campaign.py [--dots 9 28 84] [--plot docs/pictures/campaign-growth.svg]

A campaign file with so many dots on one host, each study 24 calculations of the toy potential; the numbers mean
nothing.  The dots are one crystal in files of different lattice constants, so that every dot is new and the host is
shared.  A submission queues the first stage of each study; before the status is asked, the queue is filled up to all
calculations, as if every stage had been built.  Seconds of the clock and, in brackets, of this process, which does not
count what else runs on the machine; the last column is the command in a process of its own: until its table stands
there and, in brackets, until the process has ended.  Needs `make mongod`.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))


LATTICE_STEP_ANG = 0.002
"""Each dot is so much larger than the one before: another crystal for the keys, the same cells for the interfaces."""


@dataclass(frozen=True)
class Times:
    """Seconds of the clock and of the process for one size of the campaign."""

    n_calculations: int
    n_different: int
    plan_s: tuple[float, float]
    submit_s: tuple[float, float]
    queue_s: tuple[float, float]
    command_s: tuple[float, float]


def write_campaign(folder: Path, n_dots: int) -> Path:
    """Write the campaign of the tests with so many dots."""
    import yaml

    content = yaml.safe_load((ROOT / "tests" / "data" / "toy-campaign.yaml").read_text(encoding="utf-8"))
    content["dots"] = [{"material": str(write_dot(folder, i)), "min_thickness_ang": 6} for i in range(n_dots)]
    path = folder / f"campaign-{n_dots}.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def write_dot(folder: Path, number: int) -> Path:
    """Write rock salt of another lattice constant."""
    from qdip_dft.library.crystals import load_crystal

    structure = load_crystal("PbTe").structure.copy()
    structure.apply_strain(number * LATTICE_STEP_ANG / structure.lattice.a)
    path = folder / f"dot{number}.cif"
    structure.to(filename=str(path), symprec=1e-3)
    return path


def fill_up(database: Any, count: int) -> None:
    """Copy fireworks until the queue holds as many as all stages would."""
    fireworks = list(database.fireworks.find({}, {"_id": 0}))
    n_missing = max(count - len(fireworks), 0)
    copies = ({**fireworks[i % len(fireworks)], "fw_id": 1_000_000 + i} for i in range(n_missing))
    database.fireworks.insert_many(copies)


def time_command(cluster: Any) -> tuple[float, float]:
    """Return the seconds until the table of `qdip queue` stands there and until its process has ended, medians of five.

    The process outlives its answer by half a second, in which the database driver waits for its own threads.
    """
    from command_line import QDIP

    environment = {**os.environ, "QDIP_CLUSTER": str(cluster.path), "PYTHONUNBUFFERED": "1"}
    answered, ended = [], []
    for _ in range(5):
        start = perf_counter()
        with subprocess.Popen([*QDIP, "queue"], env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline()
            answered.append(perf_counter() - start)
            process.stdout.read()
        assert process.returncode == 0
        ended.append(perf_counter() - start)
    return median(answered), median(ended)


def make_cluster(folder: Path, server: Any, database: str) -> Any:
    """Write a cluster folder for a database of the server."""
    from qdip_dft.cluster.folder import write_cluster_folder

    settings = server.cluster_settings(database)
    return write_cluster_folder(folder / database, settings)


def measure(cluster: Any, launchpad: Any, path: Path) -> Times:
    """Return the seconds for planning, submitting and asking for the status of a campaign."""
    from qdip_dft.cluster.database import ClusterDatabase
    from qdip_dft.cluster.fireworks.control import list_statuses
    from qdip_dft.cluster.fireworks.queue import FireworksQueue
    from qdip_dft.cluster.resources import Resources
    from qdip_dft.cluster.submission import count_together, submit_through
    from qdip_dft.planning.campaign import plan_all

    database = ClusterDatabase(launchpad.db)
    database.prepare()
    start = now()
    plans = plan_all([str(path)]).plans
    counts = count_together(database, plans)
    planned = now()
    for plan in plans:
        submit_through(FireworksQueue(launchpad), plan, resources=Resources())
    submitted = now()
    fill_up(database, counts.n_total)
    filled = now()
    assert len(list_statuses(database)) == len(plans)
    n_different = counts.n_total - counts.n_shared
    answered = now()
    spent = (since(start, planned), since(planned, submitted), since(filled, answered))
    return Times(counts.n_total, n_different, *spent, time_command(cluster))


def now() -> tuple[float, float]:
    """Return the clock and the time that this process has used."""
    return perf_counter(), process_time()


def since(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    """Return both differences."""
    return end[0] - start[0], end[1] - start[1]


def draw(times: list[Times], path: Path) -> None:
    """Draw the processor times on logarithmic axes, with lines of slope 1 through the smallest size."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    sizes = [each.n_calculations for each in times]
    for name, label in (("plan_s", "plan"), ("submit_s", "submit, first stages"), ("queue_s", "look into the queue")):
        seconds = [getattr(each, name)[1] for each in times]
        (line,) = axes.loglog(sizes, seconds, "o-", label=label)
        axes.loglog(sizes, [seconds[0] * size / sizes[0] for size in sizes], ":", color=line.get_color())
    axes.set(xlabel="calculations in the campaign", ylabel="processor time / s", title="Dotted: linear growth")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dots", type=int, nargs="+", default=[9, 28, 84])
    parser.add_argument("--plot", type=Path, default=None)
    given = parser.parse_args()
    import private_mongod

    logging.disable(logging.CRITICAL)
    program = private_mongod.find_mongod()
    assert program is not None, "make mongod"
    times = []
    print(
        "| calculations | different | plan | submit (first stages) | queue | `qdip queue` |\n|---|---|---|---|---|---|"
    )
    with private_mongod.start_private_mongod(program) as server, tempfile.TemporaryDirectory() as folder:
        for count in given.dots:
            cluster = make_cluster(Path(folder), server, f"campaign_{count}")
            with cluster.open_launchpad() as launchpad:
                times.append(measure(cluster, launchpad, write_campaign(Path(folder), count)))
            spent = (times[-1].plan_s, times[-1].submit_s, times[-1].queue_s)
            cells = [str(times[-1].n_calculations), str(times[-1].n_different)]
            cells += [f"{clock:.2g} s ({used:.2g} s)" for clock, used in (*spent, times[-1].command_s)]
            print(f"| {' | '.join(cells)} |", flush=True)
    if given.plot is not None:
        draw(times, given.plot)


if __name__ == "__main__":
    main()
