"""Break everything at random moments and see whether every study still ends, once, with the same numbers.

    python benchmarks/fault_drill.py [--faults 100] [--walltimes 2] [--minutes 40] [--seed 1]

Studies of the toy potential run on a private MongoDB and a private Slurm of two nodes (Debian's slurm-wlm and munge,
and `make mongod`; as root), fed and reconciled as `docs/cluster.md` describes, with shorter times.  Meanwhile, every
second or so, something is killed.  Each study must end by itself; the table says what was done and what came of it.

Two faults are of the machine itself: an allocation of memory that fails under a limit (RLIMIT_AS, as `ulimit -v` sets
it) in the middle of a calculation, and a full disk under the scratch folder (a tmpfs of a few MB, filled and emptied).
A batch job whose processes were all killed ends with exit code 137, as one does that the kernel has ended for its
memory, and is taken for that.  A job that met such faults three times is left with the reason; `qdip rerun` follows.

In most studies a walltime is played with the signals that Slurm sends then, since Slurm counts walltimes in minutes.
In the last two (`--walltimes`) the evaluations are slow, nothing else is broken, and every allocation really has one
minute: in one study the workers know when it ends and stop, in the other they do not and are killed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "cluster")]

STUDY_LIMIT_S = 600.0
SLOW_STUDY_LIMIT_S = 900.0
SLOW_VARIABLE = "QDIP_DRILL_EVALUATION_S"
OUTAGES_S = (0.5, 2.0, 8.0)
LONG_OUTAGE_S = 35.0
MEMORY_ORDER = "fill-memory"
"""Where this file lies, the next evaluation of any worker removes it and finds no memory."""

SCRATCH_MB = 8


def run_worker(log: Path) -> None:
    """Be a worker, and note every calculation that has ended."""
    from qdip_dft.cluster.fireworks import outbox, worker
    from qdip_dft.engines.testing import TestingEngine

    write = outbox.Outbox._write  # noqa: SLF001 (the moment after which a result must not be lost)

    def write_and_note(self: Any, document: dict[str, Any]) -> Path:
        path = write(self, document)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{document['uuid']}\n")
        return path

    outbox.Outbox._write = write_and_note  # type: ignore[method-assign]  # noqa: SLF001
    load, slow_s = TestingEngine.load_potential, float(os.environ.get(SLOW_VARIABLE, "0"))
    order = log.with_name(MEMORY_ORDER)

    def load_slow(engine: Any) -> Any:
        potential = load(engine)

        def evaluate(arrangement: Any) -> Any:
            time.sleep(slow_s)
            with suppress(FileNotFoundError):
                order.unlink()
                fill_memory()
            return potential(arrangement)

        return evaluate

    TestingEngine.load_potential = load_slow  # type: ignore[method-assign]
    worker.main()


def fill_memory() -> None:
    """Ask for more memory than a limit allows; what asked gets MemoryError and can go on."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (used_pages * resource.getpagesize() + 2**22, limits[1]))
    try:
        bytearray(2**28)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@dataclass
class Server:
    """A mongod that can be killed and started again on the same data."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    password: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)

    def start(self) -> None:
        """Start on the data of the last time."""
        import private_mongod
        from private_slurm import free_ports

        self.port = self.port or free_ports(1)[0]
        command = private_mongod.build_command(private_mongod.find_mongod(), self.folder, self.port)
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert private_mongod.wait_until_open(self.process, self.port)

    def add_user(self) -> None:
        """Create the one user."""
        from pymongo import MongoClient

        with MongoClient[dict[str, Any]]("127.0.0.1", self.port) as client:
            client.admin.command("createUser", "drill", pwd=self.password, roles=["root"])

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Drill:
    """A cluster that is broken again and again."""

    folder: Path
    server: Server
    slurm: Any
    chance: random.Random
    faults: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)
    killed: set[str] = field(default_factory=set)
    scratch: Path = Path()

    def run_study(self, number: int, n_faults: int, *, walltime: bool | None = None) -> dict[str, Any]:
        """Run one study through so many faults and return what came of it.

        With ``walltime`` given allocations end after a minute, and the workers know it or do not.
        """
        from qdip_dft.cluster.database import ClusterDatabase
        from qdip_dft.cluster.fireworks.queue import FireworksQueue
        from qdip_dft.cluster.submission import submit_through
        from qdip_dft.planning.plan import plan_study
        from qdip_dft.planning.study_files import read_study

        cluster, log = self._make_cluster(number), self.folder / f"ended-{number}.log"
        self.scratch = cluster.scratch
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SCRATCH_MB}m", "scratch", self.scratch], check=True)
        script = self._write_script(cluster, log, walltime=walltime)
        limit_s = STUDY_LIMIT_S if walltime is None else SLOW_STUDY_LIMIT_S
        plan = plan_study(read_study(str(ROOT / "tests" / "data" / "toy-study.yaml")))
        with cluster.open_launchpad() as launchpad:
            launchpad.m_logger.setLevel(logging.CRITICAL)
            database = ClusterDatabase(launchpad.db)
            database.prepare()
            submit_through(FireworksQueue(launchpad), plan, resources=cluster.read_resources())
            started, left = time.monotonic(), n_faults
            while time.monotonic() - started < limit_s:
                with suppress_outage():
                    self._feed(script)
                    self._reconcile(launchpad, cluster)
                    if self._is_finished(database):
                        break
                if left and self._is_worth_breaking(launchpad):
                    time.sleep(self.chance.uniform(0.0, 0.5))
                    left -= self._break_something()
                time.sleep(0.1)
            self.slurm.call("scancel", "--full", f"--partition={self.slurm.partition}")
            self._count_walltimes(database, walltime=walltime)
            subprocess.run(["umount", "--lazy", self.scratch], check=True)
            return {**self._judge(database, log), "seconds": round(time.monotonic() - started, 1)}

    def _count_walltimes(self, database: Any, *, walltime: bool | None) -> None:
        """Count the allocations that Slurm has killed at their limit, and the jobs that stopped before it."""
        killed = self.slurm.call("squeue", "--noheader", "--states=TIMEOUT", "--format=%A").split()
        fresh = set(killed) - self.killed
        self.killed |= fresh
        self.faults["walltime of a minute, killed by Slurm (TIMEOUT)"] += len(fresh)
        if walltime:
            stopped = database.fireworks.count_documents({"spec.qdip.term": "continued"})
            self.faults["walltime of a minute, stopped before and put back"] += stopped

    def _make_cluster(self, number: int) -> Any:
        from qdip_dft.cluster.folder import ClusterSettings, write_cluster_folder

        settings = ClusterSettings(
            mongodb_uri=f"mongodb://127.0.0.1:{self.server.port}",
            database=f"drill_{number}",
            user="drill",
            password=self.server.password,
            authentication_database="admin",
            packed_nodes=2,
            packed_ranks=2,
        )
        return write_cluster_folder(self.folder / f"cluster-{number}", settings)

    def _write_script(self, cluster: Any, log: Path, *, walltime: bool | None) -> Path:
        """Write the batch script that qlaunch would write, with this file in the worker's place."""
        from fireworks.user_objects.queue_adapters.common_adapter import CommonAdapter

        worker = cluster.path / "mlip"
        for name, changes in {
            "my_fworker.yaml": {"patience_s: 600": "patience_s: 20", "report_s: 30": "report_s: 1"},
            "FW_config.yaml": {"RAPIDFIRE_SLEEP_SECS: 10": "RAPIDFIRE_SLEEP_SECS: 1",
                               "WFLOCK_EXPIRATION_SECS: 20": "WFLOCK_EXPIRATION_SECS: 5"},
            "my_qadapter.yaml": {"-m qdip_dft.cluster.fireworks.worker": f"{__file__} worker {log}"},
        }.items():  # fmt: skip
            text = (worker / name).read_text(encoding="utf-8")
            for old, new in changes.items():
                assert old in text
                text = text.replace(old, new)
            (worker / name).write_text(text, encoding="utf-8")
        launchpad_file = cluster.launchpad_file
        text = launchpad_file.read_text(encoding="utf-8")
        launchpad_file.write_text(text.replace("TimeoutMS: 10000", "TimeoutMS: 2000"), encoding="utf-8")
        script = cluster.path / "launches" / "job.sh"
        adapter = CommonAdapter.from_file(str(worker / "my_qadapter.yaml"))
        if walltime is not None:
            slow = f"export {SLOW_VARIABLE}=1.0 QDIP_WALLTIME_MARGIN=15"
            unknown = "" if walltime else "; unset QDIP_BATCH"
            adapter.update(walltime="0:01:00", pre_rocket=f"{adapter['pre_rocket']}; {slow}{unknown}")
        script.write_text(adapter.get_script_str(str(script.parent)), encoding="utf-8")
        return script

    def _feed(self, script: Path) -> None:
        """Keep one allocation in the queue."""
        if not self.slurm.call("squeue", "--noheader").strip():
            folder = str(script.parent)
            self.slurm.call("sbatch", f"--chdir={folder}", "--output=/dev/null", "--error=/dev/null", str(script))

    def _reconcile(self, launchpad: Any, cluster: Any) -> None:
        from qdip_dft.cluster.database import ClusterDatabase
        from qdip_dft.cluster.fireworks.control import list_statuses, rerun_failed
        from qdip_dft.cluster.fireworks.outbox import Outbox
        from qdip_dft.cluster.fireworks.reconcile import Reconciler
        from qdip_dft.cluster.resources import Scheduler
        from qdip_dft.cluster.scheduler import explain_end, list_live_jobs

        live_jobs = list_live_jobs(Scheduler.SLURM)
        outbox = Outbox(cluster.outbox, patience_s=0)
        options = {
            "silence_s": 8.0,
            "grace_s": 3.0,
            "lock_s": 1.0,
            "explain_end": partial(explain_end, Scheduler.SLURM),
        }
        self.repairs.update(Reconciler(launchpad, outbox, live_jobs, **options, max_restarts=1000).run())
        for status in list_statuses(ClusterDatabase(launchpad.db)):
            if status.left:
                self.repairs["jobs left with the reason, then qdip rerun"] += len(status.left)
                rerun_failed(launchpad, status.study)

    def _is_worth_breaking(self, launchpad: Any) -> bool:
        """Mostly while something is calculated, sometimes while workers start or wait."""
        with suppress_outage():
            if launchpad.launches.count_documents({"state": "RUNNING"}):
                return True
        return bool(self._workers()) and self.chance.random() < 0.1

    def _is_finished(self, database: Any) -> bool:
        return database.submissions.count_documents({"state": "finished"}) == 1

    def _workers(self, node: str | None = None) -> list[int]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (process / "cmdline").read_bytes()
                if b"\0worker\0" in command and str(self.folder).encode() in command:
                    place = f"SLURMD_NODENAME={node}".encode()
                    if node is None or place in (process / "environ").read_bytes().split(b"\0"):
                        found.append(int(process.name))
        return found

    def _break_something(self) -> int:
        """Do one thing at random; return 1 if there was something to break."""
        kind = self.chance.choice(list(self._faults))
        if not self._faults[kind](self):
            return 0
        self.faults[kind] += 1
        return 1

    def _kill_worker(self) -> bool:
        workers = self._workers()
        if workers:
            with suppress(ProcessLookupError):
                os.kill(self.chance.choice(workers), signal.SIGKILL)
        return bool(workers)

    def _kill_all_workers(self) -> bool:
        workers = self._workers()
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        return bool(workers)

    def _restart_server(self, outage_s: float | None = None) -> bool:
        self.server.kill()
        time.sleep(self.chance.choice(OUTAGES_S) if outage_s is None else outage_s)
        self.server.start()
        return True

    def _restart_server_late(self) -> bool:
        """Only now and then: it takes over half a minute."""
        return self.chance.random() < 0.3 and self._restart_server(LONG_OUTAGE_S)

    def _lose_node(self) -> bool:
        number = self.chance.choice((1, 2))
        self.slurm.stop_node(number)
        for worker in self._workers(f"n{number}"):
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        time.sleep(self.chance.uniform(0.5, 3.0))
        self.slurm.start_node(number)
        return True

    def _scancel(self) -> bool:
        self.slurm.call("scancel", f"--partition={self.slurm.partition}")
        return True

    def _end_walltime(self) -> bool:
        partition = f"--partition={self.slurm.partition}"
        self.slurm.call("scancel", "--full", "--signal=TERM", partition)
        time.sleep(2.0)
        self.slurm.call("scancel", "--full", "--signal=KILL", partition)
        return True

    def _fill_memory(self) -> bool:
        """Let the next evaluation find no memory."""
        order = self.folder / MEMORY_ORDER
        order.touch()
        end_s = time.monotonic() + 5.0
        while order.exists() and time.monotonic() < end_s:
            time.sleep(0.01)
        was_met = not order.exists()
        order.unlink(missing_ok=True)
        return was_met

    def _fill_scratch(self) -> bool:
        """Leave no space in the scratch folder for a while."""
        ballast = self.scratch / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        time.sleep(self.chance.uniform(0.5, 2.0))
        ballast.unlink()
        return True

    _faults: Any = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds: dict[str, Callable[[Drill], bool]] = {
            "kill -9 of one worker (and the calculation in it)": Drill._kill_worker,
            "kill -9 of all workers": Drill._kill_all_workers,
            "kill -9 of mongod, back after 0.5 to 8 s": Drill._restart_server,
            "kill -9 of mongod, back after 35 s": Drill._restart_server_late,
            "node down, back after 0.5 to 3 s": Drill._lose_node,
            "scancel": Drill._scancel,
            "walltime (the signals that Slurm sends then)": Drill._end_walltime,
            "out of memory in a calculation": Drill._fill_memory,
            "scratch full for 0.5 to 2 s": Drill._fill_scratch,
        }
        self._faults = kinds

    def _judge(self, database: Any, log: Path) -> dict[str, Any]:
        ended = Counter(log.read_text(encoding="utf-8").split() if log.exists() else [])
        calculations = database.database["calculations"]
        stored = set(calculations.distinct("uuid", {"output.key": {"$exists": True}}))
        results = database.archive().list_stabilizations()
        return {
            "finished": self._is_finished(database),
            "total_ev_per_fu": results[0].stabilization.total_ev_per_fu if results else None,
            "calculations": len(stored),
            "repeated": sum(count - 1 for count in ended.values()),
            "lost": len(set(ended) - stored),
        }


@contextmanager
def suppress_outage() -> Iterator[None]:
    """Go on when the database, or a batch command, is away for the moment."""
    from pymongo.errors import PyMongoError

    with suppress(PyMongoError, subprocess.SubprocessError, RuntimeError):
        yield


def find_expected() -> tuple[float, int]:
    """Return the stabilization and the number of calculations of an undisturbed local run."""
    from qdip_dft.execution.local import run_study
    from qdip_dft.planning.plan import plan_study
    from qdip_dft.planning.study_files import read_study

    plan = plan_study(read_study(str(ROOT / "tests" / "data" / "toy-study.yaml")))
    with tempfile.TemporaryDirectory() as folder:
        summary = run_study(plan, results=Path(folder) / "results")
    total = summary.documents[0].stabilization.total_ev_per_fu
    assert total is not None
    return total, summary.n_calculated


def main() -> None:
    """Break things until there were enough faults, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--faults-per-study", type=int, default=8)
    parser.add_argument("--walltimes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    from private_slurm import PrivateSlurm

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logging.disable(logging.CRITICAL)
    expected, n_calculations = find_expected()
    folder = Path(tempfile.mkdtemp(prefix="drill-"))
    folder.chmod(0o755)
    (folder / "db").mkdir()
    server, slurm = Server(folder / "db"), PrivateSlurm(folder / "s", node_timeout_s=10)
    end = time.monotonic() + 60 * given.minutes
    outcomes: list[dict[str, Any]] = []
    try:
        server.start()
        server.add_user()
        slurm.start()
        os.environ.update(slurm.environment)
        drill = Drill(folder, server, slurm, random.Random(given.seed))
        n_walltimes = 0
        while time.monotonic() < end and (drill.faults.total() < given.faults or n_walltimes < given.walltimes):
            left = min(given.faults_per_study, given.faults - drill.faults.total())
            is_slow = left <= 0
            walltime = n_walltimes % 2 == 0 if is_slow else None
            n_walltimes += is_slow
            outcome = drill.run_study(len(outcomes), max(left, 0), walltime=walltime)
            outcome["is_same"] = outcome["total_ev_per_fu"] is not None and (
                abs(outcome["total_ev_per_fu"] - expected) < 1e-9 and outcome["calculations"] == n_calculations
            )
            outcomes.append(outcome)
            print(json.dumps({"study": len(outcomes), "faults": drill.faults.total(), **outcome}), flush=True)
        print_table(drill, outcomes)
    finally:
        slurm.stop()
        server.kill()
        subprocess.run(["umount", "--lazy", "--recursive", "--quiet", *folder.glob("cluster-*/scratch")], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def print_table(drill: Drill, outcomes: list[dict[str, Any]]) -> None:
    """Print what was done and what came of it."""
    for title, counts in (("fault", drill.faults), ("repair", drill.repairs)):
        print(f"\n| {title} | number |\n|---|---|")
        print("\n".join(f"| {name} | {count} |" for name, count in counts.most_common()))
    n = len(outcomes)
    print(f"\n{drill.faults.total()} faults in {n} studies of {outcomes[0]['calculations']} calculations:")
    for name in ("finished", "is_same"):
        print(f"{name}: {sum(outcome[name] for outcome in outcomes)} of {n}")
    for name in ("repeated", "lost"):
        print(f"{name}: {sum(outcome[name] for outcome in outcomes)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        log_file = Path(sys.argv[2])
        del sys.argv[1:3]
        run_worker(log_file)
    else:
        main()
