"""How fast 100 000 results are stored and found, in a results folder and in MongoDB, against plain SQLite and pymongo.

    python benchmarks/results_store.py [--count 100000] [--folder DIR] [--store folder|MongoDB]

The results are synthetic and say so.  MongoDB is the private server of the tests (`make mongod`).  Each question is
asked seven times and the median counts.  "Plain" runs the same filter, order and limit on the same database with the
driver alone: with our indexes in MongoDB; once and without any index in SQLite.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from private_mongod import find_mongod, start_private_mongod  # noqa: E402
from synthetic_results import make_results as make_documents  # noqa: E402

from qdip_dft.results.archive import Archive  # noqa: E402
from qdip_dft.results.fields import find_field  # noqa: E402
from qdip_dft.results.query import DEFAULT_COLUMNS, list_rows, make_filter  # noqa: E402
from qdip_dft.storage.location import make_results  # noqa: E402

QUESTIONS: dict[str, dict[str, Any]] = {
    "one result by its id": {"where": "id = 'synthetic-000042'"},
    "one dot, host and facet": {"dot": "PbS", "host": "FAPbI3", "facet": "111"},
    "20 most stabilized of an engine": {"engine": "espresso", "where": "total < 0", "sort": ["total"], "limit": 20},
    "DFT results of a dot that favour black": {
        "dot": "PbSe",
        "where": "level = 'dft' and total < -0.4",
        "sort": ["total"],
    },
    "20 newest": {"sort": ["-created_at"], "limit": 20},
}
LIMITS_MS = {"folder": 200, "MongoDB": 100}
LEAST_INSERTS_PER_S = 500
COLUMNS = [find_field(name)[0] for name in DEFAULT_COLUMNS]


def time_median_ms(ask: Callable[[], Any], samples: int) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(samples):
        started = time.perf_counter()
        ask()
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times)


def fill(archive: Archive, count: int) -> float:
    """Store the documents, a hundred at a time; return documents per second, without making them."""
    documents, spent_s = make_documents(count), 0.0
    while batch := [document for _, document in zip(range(100), documents, strict=False)]:
        started = time.perf_counter()
        archive.stabilizations.update(batch, key="id")
        spent_s += time.perf_counter() - started
    return count / spent_s


def ask_plain_mongo(collection: Any, question: dict[str, Any]) -> list[Any]:
    """Ask pymongo."""
    criteria, order = translate(question)
    cursor = collection.find(criteria, dict.fromkeys(COLUMNS, 1))
    if order:
        cursor = cursor.sort(list(order.items()))
    return list(cursor.limit(question.get("limit", 0)))


def ask_plain_sqlite(connection: sqlite3.Connection, question: dict[str, Any]) -> list[Any]:
    """Ask SQLite, with conditions on the JSON text."""
    criteria, order = translate(question)
    tests = [test for part in criteria.get("$and", [criteria]) for test in flatten(part)]
    where = " AND ".join(f"json_extract(doc, '$.{name}') {sign} ?" for name, sign, _ in tests) or "TRUE"
    terms = [f"json_extract(doc, '$.{name}') {'DESC' if way < 0 else 'ASC'}" for name, way in order.items()]
    columns = ", ".join(f"json_extract(doc, '$.{name}')" for name in COLUMNS)
    sql = f"SELECT {columns} FROM stabilizations WHERE {where} ORDER BY {', '.join(terms)} LIMIT ?"
    return connection.execute(sql, [*(value for _, _, value in tests), question.get("limit", -1)]).fetchall()


def flatten(part: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """Return the tests of a filter that has no `or` and no `not`: field, sign and value."""
    if "$and" in part:
        return [test for inner in part["$and"] for test in flatten(inner)]
    ((name, value),) = part.items() if part else ((None, None),)
    if name is None:
        return []
    return [(name, "<", value["$lt"])] if isinstance(value, dict) else [(name, "=", value)]


def translate(question: dict[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """Return filter and order of a question in MongoDB's words."""
    equal = {name: value for name, value in question.items() if name in {"dot", "host", "facet", "engine"}}
    names = question.get("sort", ["id"])
    order = {find_field(name.removeprefix("-"))[0]: -1 if name.startswith("-") else 1 for name in names}
    return make_filter(question.get("where"), **equal), order


def measure(
    name: str, archive: Archive, count: int, ask_plain: Callable[[dict[str, Any]], Any], plain_samples: int
) -> bool:
    """Fill a store, ask all questions, print the times and return whether all limits are kept."""
    rate = fill(archive, count)
    print(f"\n{name}: {rate:.0f} documents stored per second (at least {LEAST_INSERTS_PER_S})")
    is_fast = rate >= LEAST_INSERTS_PER_S
    for title, question in QUESTIONS.items():
        ours_ms = time_median_ms(lambda question=question: list_rows(archive.stabilizations, **question), samples=7)
        plain_ms = time_median_ms(lambda question=question: ask_plain(question), samples=plain_samples)
        n_rows = len(list_rows(archive.stabilizations, **question))
        print(
            f"  {title:<40} {n_rows:>6} rows {ours_ms:8.1f} ms (at most {LIMITS_MS[name]}), plain {plain_ms:8.1f} ms",
            flush=True,
        )
        is_fast &= ours_ms <= LIMITS_MS[name]
    return is_fast


def measure_folder(folder: Path, count: int) -> bool:
    """Measure a results folder."""
    archive = make_results(folder)
    with sqlite3.connect(folder / "qdip.sqlite") as connection:
        is_fast = measure("folder", archive, count, lambda question: ask_plain_sqlite(connection, question), 1)
    archive.close()
    size_mb = (folder / "qdip.sqlite").stat().st_size / 1e6
    print(f"  file of {size_mb:.0f} MB; one document has {len(json.dumps(next(make_documents(1)))) / 1e3:.1f} kB")
    return is_fast


def measure_mongo(count: int) -> bool:
    """Measure MongoDB."""
    program = find_mongod()
    if program is None:
        sys.exit("there is no mongod: make mongod")
    with start_private_mongod(program) as server:
        archive = make_results(server.database_uri("benchmark"))
        collection = archive.stabilizations._collection  # noqa: SLF001 (the same connection)
        is_fast = measure("MongoDB", archive, count, lambda question: ask_plain_mongo(collection, question), 7)
        archive.close()
    return is_fast


def main() -> None:
    """Measure both stores and leave with 1 if one is too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="folder for the results folder; a temporary one by default")
    parser.add_argument("--store", choices=list(LIMITS_MS), help="one of the two stores; both by default")
    asked = parser.parse_args()
    is_fast = True
    if asked.store != "MongoDB":
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            is_fast &= measure_folder(Path(folder) / "results", asked.count)
    if asked.store != "folder":
        is_fast &= measure_mongo(asked.count)
    sys.exit(not is_fast)


if __name__ == "__main__":
    main()
