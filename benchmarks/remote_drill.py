"""Kill jobflow-remote's runner at random moments and see whether every study still ends, once, with the same numbers.

    python benchmarks/remote_drill.py [--kills 20] [--life 8] [--minutes 15] [--seed 1]

Studies of the toy potential run on a private MongoDB and through jobflow-remote's Slurm worker on a private Slurm of
two nodes (Debian's slurm-wlm and munge, and `make mongod`; as root).  The runner, in rounds of one second, is killed
with SIGKILL and started again until the kills are used up and every study has its result.  Each calculation that ends
is noted by the batch job that made it; none may be noted twice.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "cluster")]


@dataclass
class Drill:
    """A cluster whose runner does not live long."""

    folder: Path
    cluster: Any
    environment: dict[str, str]
    chance: random.Random
    longest_life_s: float
    n_kills: int = 0

    @property
    def log(self) -> Path:
        """What has ended, one id a line."""
        return self.folder / "ended.log"

    def run_study(self, number: int, *, kills: int, limit_s: float) -> bool:
        """Submit a study and let it be carried out through so many kills; return whether it has finished."""
        from qdip_dft.cli.managers import open_queue
        from qdip_dft.cluster.database import Manager
        from qdip_dft.cluster.submission import submit_through

        end_s, left = time.monotonic() + limit_s, kills
        with open_queue(self.cluster, Manager.REMOTE) as queue:
            submit_through(queue, make_plan(number), resources=self.cluster.read_resources())
            finished = {"study": f"drill-{number}", "state": "finished"}
            while time.monotonic() < end_s and not queue.database.submissions.count_documents(finished):
                left -= self._live(self.chance.uniform(0.0, self.longest_life_s), is_killed=left > 0)
            return bool(queue.database.submissions.count_documents(finished))

    def _live(self, seconds: float, *, is_killed: bool) -> int:
        """Let a runner live for so long, and kill it or end it; return the number of kills."""
        command = [sys.executable, "-c", "from qdip_dft.cli import main; main()", "runner", "--interval", "1"]
        with (self.folder / "runner.log").open("ab") as file:
            command += ["--cluster", str(self.cluster.path)]
            process = subprocess.Popen(command, env=self.environment, stdout=file, stderr=file)
            self._wait_until_at_work()
            time.sleep(seconds if is_killed else 2 * self.longest_life_s)
            process.send_signal(signal.SIGKILL if is_killed else signal.SIGTERM)
            process.wait()
        self.n_kills += is_killed
        return int(is_killed)

    def _wait_until_at_work(self) -> None:
        """Wait for the end of the imports: a runner at work holds the lock of its folder."""
        with (self.cluster.path / "runner.lock").open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return
                fcntl.flock(file, fcntl.LOCK_UN)
                time.sleep(0.5)

    def compare(self, numbers: list[int]) -> int:
        """Return how many studies have the numbers of an undisturbed local run."""
        from qdip_dft.cli.managers import open_queue
        from qdip_dft.cluster.database import Manager
        from qdip_dft.execution.local import run_study

        same = 0
        with open_queue(self.cluster, Manager.REMOTE) as queue:
            for number in numbers:
                (local,) = run_study(make_plan(number), results=self.folder / f"local-{number}").documents
                (mine,) = queue.database.archive().find_stabilizations(f"drill-{number}")
                pairs = zip(mine.candidates, local.candidates, strict=True)
                same += all(abs(one.total_ev_per_fu - two.total_ev_per_fu) < 1e-9 for one, two in pairs)
        return same


def make_plan(number: int) -> Any:
    """Return the plan of a study of its own: bulks and slabs differ in their material or vacuum."""
    from qdip_dft.planning.plan import plan_study
    from qdip_dft.planning.study_files import read_study

    study = read_study(str(ROOT / "tests" / "data" / "toy-study.yaml"))
    return plan_study(study.model_copy(update={"name": f"drill-{number}", "vacuum_ang": 12.0 + 0.1 * number}))


def write_cluster(folder: Path, server: Any) -> Any:
    """Write a cluster folder whose batch jobs note what they have ended."""
    from qdip_dft.cluster.folder import write_cluster_folder

    settings = server.cluster_settings("drill")
    cluster = write_cluster_folder(folder / "cluster", settings)
    text = cluster.remote_project_file.read_text(encoding="utf-8")
    noting = f"{ROOT / 'tests' / 'cluster' / 'noting_work.py'} {folder / 'ended.log'}"
    assert "-m qdip_dft.cluster.remote.work" in text
    cluster.remote_project_file.write_text(text.replace("-m qdip_dft.cluster.remote.work", noting), encoding="utf-8")
    return cluster


def drill(folder: Path, server: Any, slurm: Any, given: argparse.Namespace) -> None:
    """Run studies until the kills are used up, and print what came of it."""
    from qdip_dft.cli.managers import open_queue
    from qdip_dft.cluster.database import Manager

    environment = {**os.environ, **slurm.environment, "OMP_NUM_THREADS": "1"}
    drilled = Drill(folder, write_cluster(folder, server), environment, random.Random(given.seed), given.life)
    end_s, finished, number = time.monotonic() + 60 * given.minutes, [], 0
    while drilled.n_kills < given.kills and time.monotonic() < end_s:
        left = given.kills - drilled.n_kills
        if drilled.run_study(number, kills=left, limit_s=end_s - time.monotonic()):
            finished.append(number)
        number += 1
        print(f"study {number}: {drilled.n_kills} kills so far", flush=True)
    ended = Counter(drilled.log.read_text(encoding="utf-8").split())
    with open_queue(drilled.cluster, Manager.REMOTE) as queue:
        stored = {record["uuid"] for record in queue.database.database["calculations"].find({}, {"uuid": 1})}
    numbers = slurm.call("squeue", "--noheader", "--states=all", "--format=%i").split()  # recent ones
    print(f"seed {given.seed}: runner killed {drilled.n_kills} times")
    print(f"studies finished: {len(finished)} of {number}; with local numbers: {drilled.compare(finished)}")
    print(f"calculations: {len(ended)} ended, {sum(count > 1 for count in ended.values())} twice, ", end="")
    print(f"{len(set(ended) - {uuid + '_1' for uuid in stored} - stored)} lost")
    print(f"batch jobs: {max(map(int, numbers), default=0)}")


def main() -> None:
    """Drill and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--life", type=float, default=8, help="a runner works for a random time of at most so many s")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    import private_mongod
    import private_slurm

    program = private_mongod.find_mongod()
    assert program is not None, "make mongod"
    folder = Path(tempfile.mkdtemp(prefix="drill-"))
    folder.chmod(0o755)
    slurm = private_slurm.PrivateSlurm(folder / "s")
    os.environ.update(slurm.environment)
    try:
        slurm.start()
        with private_mongod.start_private_mongod(program) as server:
            drill(folder, server, slurm, given)
    finally:
        slurm.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
