"""A Slurm of our own on this machine: two nodes, a key of its own, no systemd, no cgroups, nothing written to /etc.

    python -m tests.cluster.private_slurm start FOLDER     prints the export line for SLURM_CONF
    python -m tests.cluster.private_slurm stop FOLDER

Needs Debian's ``slurm-wlm`` and ``munge`` and the rights of root.  Everything listens on the loopback interface.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

START_LIMIT_S = 30.0

MEMORY_MB = 16000
"""What a node claims to have; nothing is reserved."""

CONFIGURATION = """\
ClusterName=private
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0,defer=0,bf_interval=2
SlurmctldTimeout=10
SlurmdTimeout={node_timeout_s}
KillWait=2
MinJobAge=300
InactiveLimit=0
ReturnToService=2
PropagateResourceLimits=NONE
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
"""


@dataclass(frozen=True)
class PrivateSlurm:
    """A private Slurm.

    Parameters
    ----------
    folder
        Where everything is kept: configuration, key, logs, spool.  Its path must be short (a socket lies in it).
    n_nodes, cpus_per_node
        Its size; the nodes are called n1, n2, …
    node_timeout_s
        After how many seconds a silent node is taken for down.
    """

    folder: Path
    n_nodes: int = 2
    cpus_per_node: int = 2
    node_timeout_s: int = 30

    @property
    def configuration(self) -> Path:
        """The file that SLURM_CONF names."""
        return self.folder / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to talk to this Slurm."""
        return {"SLURM_CONF": str(self.configuration)}

    def start(self) -> None:
        """Start munge, the controller and the nodes, and wait until all nodes are idle."""
        for name in ("state", *(f"spool/n{i}" for i in self._node_numbers)):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        self._write_configuration()
        self._start_munge()
        self._call("slurmctld")
        for number in self._node_numbers:
            self.start_node(number)
        _wait_until(self._all_nodes_are_idle, what="idle Slurm nodes")

    def stop(self) -> None:
        """Cancel everything and end the processes that `start` has started."""
        with suppress(subprocess.CalledProcessError):
            self.call("scancel", "--full", "--signal=KILL", f"--partition={self.partition}")
        for number in self._node_numbers:
            self.stop_node(number)
        for name in ("slurmctld.pid", "munged.pid"):
            _end_process(self.folder / name, signal_number=signal.SIGKILL)

    partition = "debug"

    def start_node(self, number: int) -> None:
        """Start the daemon of a node."""
        self._call("slurmd", "-N", f"n{number}")

    def stop_node(self, number: int) -> None:
        """Kill the daemon of a node, as when the node loses its network; what it runs goes on unknown."""
        _end_process(self.folder / f"slurmd-n{number}.pid", signal_number=signal.SIGKILL)

    def call(self, *command: str) -> str:
        """Return what a Slurm command prints, such as ``squeue``."""
        return self._call(*command)

    def list_node_sets(self) -> list[str]:
        """Return the nodes of every job of the last five minutes, such as ``n[1-2]``, the first job first.

        Of a job that is just ending Slurm names only the nodes that are not free yet; so that is waited for.
        """
        deadline_s = time.monotonic() + self.node_timeout_s
        while self.call("squeue", "--noheader", "--states=completing").strip() and time.monotonic() < deadline_s:
            time.sleep(0.1)
        return self.call("squeue", "--noheader", "--states=all", "--sort=i", "--format=%N").split()

    @property
    def _node_numbers(self) -> range:
        return range(1, self.n_nodes + 1)

    def _write_configuration(self) -> None:
        ports = free_ports(1 + self.n_nodes)
        text = CONFIGURATION.format(folder=self.folder, controller_port=ports[0], node_timeout_s=self.node_timeout_s)
        for number, port in zip(self._node_numbers, ports[1:], strict=True):
            text += f"NodeName=n{number} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} "
            text += f"CPUs={self.cpus_per_node} RealMemory={MEMORY_MB} State=UNKNOWN\n"
        nodes = f"n[1-{self.n_nodes}]"
        text += f"PartitionName={self.partition} Nodes={nodes} Default=YES MaxTime=INFINITE State=UP\n"
        self.configuration.write_text(text, encoding="utf-8")

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        names = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid",
                 "log-file": "munged.log", "seed-file": "munged.seed"}  # fmt: skip
        self._call("munged", *(f"--{option}={self.folder / name}" for option, name in names.items()))

    def _all_nodes_are_idle(self) -> bool:
        with suppress(subprocess.CalledProcessError):
            return len(self._call("sinfo", "-h", "-N", "-t", "idle").splitlines()) == self.n_nodes
        return False

    def _call(self, *command: str) -> str:
        program = find_program(command[0])
        if program is None:
            raise FileNotFoundError(f"{command[0]} is not installed: apt-get install slurm-wlm munge")
        environment = {**os.environ, **self.environment}
        done = subprocess.run(
            [program, *command[1:]], env=environment, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout


def find_program(name: str) -> str | None:
    """Return the path of a program; the daemons lie in folders that a user's PATH leaves out."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def free_ports(count: int) -> list[int]:
    """Return port numbers that nothing listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        with closing(each):
            pass
    return ports


def _wait_until(is_true: Callable[[], bool], *, what: str, limit_s: float = START_LIMIT_S) -> None:
    deadline_s = time.monotonic() + limit_s
    while not is_true():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"no {what} after {limit_s:.0f} s")
        time.sleep(0.1)


def _end_process(pid_file: Path, *, signal_number: int = signal.SIGTERM) -> None:
    """End the process that wrote the file, and wait for its end."""
    if not pid_file.exists() or not pid_file.read_text(encoding="utf-8").strip():
        return
    process_id = int(pid_file.read_text(encoding="utf-8"))
    with suppress(ProcessLookupError):
        os.kill(process_id, signal_number)
        _wait_until(lambda: not is_running(process_id), what=f"end of process {process_id}")
    pid_file.unlink(missing_ok=True)


def is_running(process_id: int) -> bool:
    """Return whether a process is there and does more than wait to be buried."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


def main() -> None:
    """Start or stop a private Slurm by hand."""
    slurm = PrivateSlurm(Path(sys.argv[2]).absolute())
    if sys.argv[1] == "start":
        slurm.start()
        sys.stdout.write(f"export SLURM_CONF={slurm.configuration}\n")
    else:
        slurm.stop()


if __name__ == "__main__":
    main()
