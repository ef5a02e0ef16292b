"""Speed of the SQLite store next to maggma's MemoryStore and JSONStore, with documents of 5 kB.

    python benchmarks/store_speed.py [--counts 1000 10000] [--samples 100]

Each store is filled with the given number of documents; then single operations are timed one by one and the median is
printed: storing one more document, replacing one, getting one by its id, counting by a nested field without an index
(the whole collection is looked at), one trivial job through jobflow's ``run_locally`` with an output of 5 kB, and
opening the store to get one document.  JSONStore writes its whole file each time, so it gets fewer samples, and is
opened only while it has at most 1000 documents: the time grows with their square.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from jobflow import JobStore, job, run_locally
from maggma.core import Store
from maggma.stores import JSONStore, MemoryStore

from qdip_dft.storage.sqlite_store import SQLiteStore

KEYS = ["uuid", "index"]
FORCES = np.random.default_rng(0).normal(size=(80, 3)).tolist()


@job
def answer_at_once(number: int) -> dict[str, Any]:
    """Return an output of 5 kB without any work."""
    return {"number": number, "forces_ev_per_ang": FORCES}


def main() -> None:
    """Print one row per store and size, in ms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10000], help="documents in the store")
    parser.add_argument("--samples", type=int, default=100, help="timed operations of each kind")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    columns = ("documents", "put", "replace", "get", "count", "job", "open")
    print("median times in ms\n" + f"{'store':12}" + "".join(f"{column:>11}" for column in columns))
    for count in given.counts:
        for name, make_store in list_stores():
            with tempfile.TemporaryDirectory() as folder:
                times_ms = time_store(make_store, Path(folder), count=count, samples=given.samples)
            print(f"{name:12}{count:>11}" + "".join(f"{time_ms:>11.2f}" for time_ms in times_ms), flush=True)


def list_stores() -> Iterator[tuple[str, Callable[[Path], Store]]]:
    """Yield the name and the maker of each store."""
    yield "SQLiteStore", lambda folder: SQLiteStore(folder / "qdip.sqlite", "calculations", key="uuid")
    yield "MemoryStore", lambda _: MemoryStore(key="uuid")
    yield "JSONStore", lambda folder: JSONStore(str(folder / "store.json"), read_only=False, key="uuid")


def make_document(number: int) -> dict[str, Any]:
    """Return a job document of about 5 kB."""
    output = {"number": number, "energy_ev": -number / 7, "forces_ev_per_ang": FORCES}
    return {"uuid": str(uuid.uuid4()), "index": 1, "name": f"job {number}", "output": output, "metadata": {}}


def fill(store: Store, documents: list[dict[str, Any]]) -> None:
    """Store the first documents; the stores in memory take them at once, as looking for earlier ones takes minutes."""
    store.connect()
    if not isinstance(store, MemoryStore):
        store.update(documents, key=KEYS)
        return
    store._collection.insert_many([dict(document) for document in documents])  # noqa: SLF001
    if isinstance(store, JSONStore):
        store.update_json_file()


def time_store(make_store: Callable[[Path], Store], folder: Path, *, count: int, samples: int) -> list[float]:
    """Return the medians for storing, replacing, getting, counting, one job and opening, in ms."""
    store = make_store(folder)
    documents = [make_document(number) for number in range(count)]
    fill(store, documents)
    few = 3 if isinstance(store, JSONStore) else samples
    new = [make_document(count + number) for number in range(few)]
    old = [documents[number * len(documents) // few] for number in range(few)]
    jobs = JobStore(store)

    def run_job(number: int) -> None:
        run_locally(answer_at_once(number), store=jobs, log=False, root_dir=folder, ensure_success=True)

    def reopen(_: int) -> None:
        fresh = make_store(folder)
        fresh.connect()
        fresh.query_one({"uuid": old[0]["uuid"]})

    return [
        time_each(lambda number: store.update(new[number], key=KEYS), few),
        time_each(lambda number: store.update(old[number], key=KEYS), few),
        time_each(lambda number: store.query_one({"uuid": old[number]["uuid"], "index": 1}), few),
        time_each(lambda number: store.count({"output.energy_ev": {"$lt": -number}}), min(few, 20)),
        time_each(run_job, few),
        time_each(reopen, 3) if not isinstance(store, JSONStore) or count <= 1000 else float("nan"),
    ]


def time_each(action: Callable[[int], object], samples: int) -> float:
    """Return the median wall time of an action, in ms."""
    times_s = []
    for number in range(samples):
        start_s = time.perf_counter()
        action(number)
        times_s.append(time.perf_counter() - start_s)
    return 1000 * median(times_s)


if __name__ == "__main__":
    os.environ.setdefault("JOBFLOW_CONFIG_FILE", os.devnull)
    main()
