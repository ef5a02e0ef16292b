"""Two people submit studies of the same host at the same moment; two workers run what came of it.

    python benchmarks/simultaneous_submits.py [--repetitions 20]

Each time in an empty database: two processes of `qdip submit` are started together, then two workers, until both
studies have their result.  Every calculation that ends is noted by the worker that made it; none may be noted twice.
Needs `make mongod`.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

LIMIT_S = 120.0


def write_studies(folder: Path) -> list[Path]:
    """Write two studies of one host on different dots."""
    text = (ROOT / "tests" / "data" / "toy-study.yaml").read_text(encoding="utf-8")
    other = text.replace("name: toy-study", "name: other-dot").replace("material: PbTe", "material: PbSe")
    paths = [folder / "one.yaml", folder / "two.yaml"]
    for path, content in zip(paths, (text, other), strict=True):
        path.write_text(content, encoding="utf-8")
    return paths


def repeat_once(folder: Path, server: Any, number: int) -> tuple[int, int, bool]:
    """Return the calculations that ended, those that ended more than once, and whether both studies have a result."""
    from command_line import QDIP

    from qdip_dft.cluster.database import ClusterDatabase
    from qdip_dft.cluster.folder import write_cluster_folder
    from qdip_dft.cluster.resources import JobClass

    settings = server.cluster_settings(f"together_{number}")
    cluster, log = write_cluster_folder(folder / f"cluster-{number}", settings), folder / f"ended-{number}"
    environment = {**os.environ, "QDIP_CLUSTER": str(cluster.path), "OMP_NUM_THREADS": "1"}
    silent: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    with cluster.open_launchpad() as launchpad:
        database = ClusterDatabase(launchpad.db)
        database.prepare()
        submits = [subprocess.Popen([*QDIP, "submit", str(study)], **silent) for study in write_studies(folder)]
        assert [process.wait(120) for process in submits] == [0, 0]
        worker = cluster.worker(JobClass.MLIP) / "my_fworker.yaml"
        command = [sys.executable, str(ROOT / "benchmarks" / "fault_drill.py"), "worker", str(log)]
        command += ["-l", str(cluster.launchpad_file), "-w", str(worker), "rapidfire"]
        place = str(cluster.path / "launches")
        workers = [subprocess.Popen(command, cwd=place, **silent) for _ in range(2)]
        deadline_s = time.monotonic() + LIMIT_S
        while not (both := database.submissions.count_documents({"state": "finished"}) == 2):
            if time.monotonic() > deadline_s:
                print_unfinished(database)
                break
            time.sleep(0.2)
        for process in workers:
            process.kill()
            process.wait()
    ended = Counter(log.read_text(encoding="utf-8").split())
    return len(ended), sum(count > 1 for count in ended.values()), both


def print_unfinished(database: Any) -> None:
    """Print what keeps studies from their end."""
    for firework in database.fireworks.find({"state": {"$ne": "COMPLETED"}}):
        note, state = firework["spec"]["qdip"], firework["state"]
        claim = database.claims.collection.find_one({"_id": note["job"]})
        is_stored = note["job"] in database.list_stored([note["job"]])
        print(firework["fw_id"], firework["name"], state, firework["spec"]["_category"], note["study"])
        print("   ", f"stored: {is_stored}, claim: {claim}, launches: {firework['launches']}", flush=True)
        for launch in database.database["launches"].find({"fw_id": firework["fw_id"]}):
            print("   ", launch["state"], (launch.get("action") or {}).get("stored_data", {}))


def main() -> None:
    """Repeat and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=20)
    repetitions = parser.parse_args().repetitions
    import private_mongod

    logging.disable(logging.CRITICAL)
    program = private_mongod.find_mongod()
    assert program is not None, "make mongod"
    with tempfile.TemporaryDirectory() as folder, private_mongod.start_private_mongod(program) as server:
        outcomes = []
        for number in range(repetitions):
            outcomes.append(repeat_once(Path(folder), server, number))
            print(f"{number + 1}: {outcomes[-1][0]} calculations, {outcomes[-1][1]} twice", flush=True)
    print(f"{len(outcomes)} repetitions: both studies finished in {sum(both for *_, both in outcomes)}")
    print(f"calculations made twice: {sum(twice for _, twice, _ in outcomes)}")


if __name__ == "__main__":
    main()
