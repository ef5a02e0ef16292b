"""Whether a cluster folder, its database and its batch system are ready, and which FireWorks files count."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdip_dft.cluster.folder import ClusterFolder
from qdip_dft.cluster.resources import JobClass, Scheduler
from qdip_dft.cluster.scheduler import (
    CANCEL_COMMANDS,
    LIST_WAITING,
    SUBMIT_COMMANDS,
    list_live_jobs,
    list_waiting_jobs,
)
from qdip_dft.errors import ResultsError
from qdip_dft.model.finding import Finding

if TYPE_CHECKING:
    from fireworks import LaunchPad

LARGEST_CLOCK_SKEW_S = 5.0
"""Signs of life are compared with the clock of this machine; more would make living runs look lost."""


def check_cluster(folder: ClusterFolder) -> list[Finding]:
    """Return what there is to say about a cluster folder; nothing is changed but a test document."""
    return [check_configuration(folder), *_check_folders(folder), *_check_database(folder), *_check_scheduler(folder)]


def find_configuration() -> Path | None:
    """Return the ``FW_config.yaml`` that FireWorks takes: a stray one beats ``FW_CONFIG_FILE`` without a word."""
    strays = [Path.cwd() / "FW_config.yaml", Path.home() / ".fireworks" / "FW_config.yaml"]
    named = os.environ.get("FW_CONFIG_FILE")
    return next((path for path in [*strays, *([Path(named)] if named else [])] if path.exists()), None)


def check_configuration(folder: ClusterFolder) -> Finding:
    """Return whose FireWorks configuration counts in this shell."""
    found = find_configuration()
    if found is None:
        words = f"none set; export FW_CONFIG_FILE={folder.worker(JobClass.MLIP)}/FW_config.yaml"
        return Finding("FireWorks configuration", is_ok=True, finding=words)
    is_ours = found.resolve().is_relative_to(folder.path.resolve())
    remedy = "" if is_ours else f"; not of {folder.path}: remove it, or set FW_CONFIG_FILE to one there"
    return Finding("FireWorks configuration", is_ok=is_ours, finding=f"{found}{remedy}")


def _check_folders(folder: ClusterFolder) -> Iterator[Finding]:
    losses = {
        folder.outbox: "results would be lost in an outage",
        folder.path / "launches": "no batch job could start",
        folder.scratch: "no code could run, and what was killed would start anew",
    }
    for path, loss in losses.items():
        is_writable = path.is_dir() and os.access(path, os.W_OK)
        words = "writable" if is_writable else f"missing or not writable: {loss}"
        yield Finding(f"folder {path.name}", is_ok=is_writable, finding=f"{path}: {words}")
    missing = [name.value for name in JobClass if not (folder.worker(name) / "my_qadapter.yaml").exists()]
    words = f"missing: {', '.join(missing)}" if missing else "all there"
    yield Finding("worker classes", is_ok=not missing, finding=words)


def _check_database(folder: ClusterFolder) -> Iterator[Finding]:
    try:
        with folder.open_launchpad() as launchpad:
            yield Finding("database", is_ok=True, finding=f"{launchpad.name} at {launchpad.host.partition('?')[0]}")
            yield _check_encryption(launchpad)
            yield _check_authentication(launchpad)
            yield _check_writing(launchpad)
            yield _check_clock(launchpad)
    except ResultsError as error:
        yield Finding.of_error("database", error)


def _check_encryption(launchpad: LaunchPad) -> Finding:
    """Return whether the connection is encrypted; within a cluster it need not be."""
    options = launchpad.host.partition("?")[2].lower()
    is_encrypted = "tls=true" in options or "ssl=true" in options or launchpad.host.startswith("mongodb+srv:")
    words = "TLS" if is_encrypted else "none; if the connection leaves the cluster, append /?tls=true&tlsCAFile=FILE"
    return Finding("encryption", is_ok=True, finding=words)


def _check_authentication(launchpad: LaunchPad) -> Finding:
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    with MongoClient[dict[str, Any]](launchpad.host, serverSelectionTimeoutMS=10_000) as anybody:
        try:
            anybody[launchpad.name].list_collection_names()
        except PyMongoError:
            return Finding("authentication", is_ok=True, finding="required")
    words = "not required: anybody may run code on your workers; switch it on"
    return Finding("authentication", is_ok=False, finding=words)


def _check_writing(launchpad: LaunchPad) -> Finding:
    from pymongo.errors import PyMongoError

    try:
        made = launchpad.db["checkup"].insert_one({"made_at": datetime.now(UTC)})
        launchpad.db["checkup"].delete_one({"_id": made.inserted_id})
    except PyMongoError as error:
        return Finding("writing", is_ok=False, finding=f"{str(error).split(',')[0]}; the user needs the role dbOwner")
    return Finding("writing", is_ok=True, finding="allowed")


def _check_clock(launchpad: LaunchPad) -> Finding:
    before = datetime.now(UTC)
    server = launchpad.db.command("hello")["localTime"].replace(tzinfo=UTC)
    after = datetime.now(UTC)
    skew_s = max((before - server).total_seconds(), (server - after).total_seconds(), 0.0)
    remedy = "" if skew_s <= LARGEST_CLOCK_SKEW_S else "; living runs would look lost: set the clocks by NTP"
    return Finding("clocks", is_ok=not remedy, finding=f"{skew_s:.1f} s apart{remedy}")


def _check_scheduler(folder: ClusterFolder) -> Iterator[Finding]:
    try:
        scheduler = folder.read_resources().scheduler
        commands = (SUBMIT_COMMANDS[scheduler], CANCEL_COMMANDS[scheduler])
        missing = [command for command in commands if shutil.which(command) is None]
        words = f"{', '.join(missing)} not on PATH" if missing else ", ".join(commands)
        yield Finding(f"commands of {scheduler}", is_ok=not missing, finding=words)
        yield Finding(f"queue of {scheduler}", is_ok=True, finding=f"answers, {len(list_live_jobs(scheduler))} jobs")
        if scheduler is not Scheduler.SLURM:
            words = f"{LIST_WAITING[scheduler]} says it; read here for Slurm only"
            yield Finding("why batch jobs wait", is_ok=True, finding=words)
        for waiting in list_waiting_jobs(scheduler):
            yield Finding(f"batch job {waiting.number}", is_ok=True, finding=f"{waiting.name} waits: {waiting.reason}")
    except ResultsError as error:
        yield Finding.of_error("scheduler", error)
