"""The summary of a collection answers exactly as the documents do, and repairs itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from maggma.core import Sort

from qdip_dft.storage.results_folder import ResultsFolder
from qdip_dft.storage.sqlite_store import SQLiteStore
from tests.synthetic_results import make_results

SUMMARY = ("id", "a.b", "a.c", "d")
INDEXES = (("id",), ("a.b",), ("d",), ("a.b", "d"))

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.1, 1e-300, 0.1 + 0.2, -2.5]),
    st.text("aä'\"", max_size=2),
    st.lists(st.integers(0, 2), max_size=2), st.fixed_dictionaries({"b": st.integers(0, 2)}),
)  # fmt: skip
INSIDE = st.one_of(VALUES, st.dictionaries(st.sampled_from("bcx"), VALUES, max_size=3))
DOCUMENT = st.one_of(
    st.dictionaries(st.sampled_from("ade"), INSIDE, max_size=3),
    st.fixed_dictionaries({"a": st.lists(INSIDE, max_size=2)}),
)
FIELD = st.sampled_from(["a.b", "a.c", "d", "e", "a"])
ORDERED = st.one_of(st.integers(-3, 3), st.sampled_from([0.1, 1e-300, 0.1 + 0.2, 0.3, -2.5]), st.text("aä", max_size=2))
TEST = st.one_of(
    VALUES,
    st.builds(lambda sign, value: {sign: value}, st.sampled_from(["$gt", "$gte", "$lt", "$lte", "$ne"]), ORDERED),
    st.builds(lambda value: {"$exists": value}, st.booleans()),
    st.builds(lambda values: {"$in": values}, st.lists(VALUES, max_size=3)),
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SQLiteStore, SQLiteStore]]:
    folder = tmp_path_factory.mktemp("summary")
    store = SQLiteStore(folder / "a.sqlite", "things", "id", summary=SUMMARY, indexes=INDEXES)
    plain = SQLiteStore(folder / "b.sqlite", "things", "id")
    store.connect()
    plain.connect()
    yield store, plain
    store.close()
    plain.close()


@given(
    documents=st.lists(DOCUMENT, max_size=6),
    criteria=st.dictionaries(FIELD, TEST, max_size=2),
    sort=st.dictionaries(FIELD, st.sampled_from([1, -1]), max_size=2),
    properties=st.one_of(st.none(), st.lists(FIELD.filter(lambda name: name != "a"), min_size=1, max_size=2)),
    window=st.tuples(st.integers(0, 2), st.integers(0, 3)),
)
def test_a_summary_answers_as_the_documents_do(  # noqa: PLR0917
    stores: tuple[SQLiteStore, SQLiteStore],
    documents: list[dict[str, Any]],
    criteria: dict[str, Any],
    sort: dict[str, Sort | int],
    properties: list[str] | None,
    window: tuple[int, int],
) -> None:
    answers = []
    for store in stores:
        store.remove_docs({})
        store.update([{"id": index, **document} for index, document in enumerate(documents)])
        asked = [*properties, "id"] if properties else None
        found = list(store.query(criteria, asked, sort, *window))
        answers.append((store.count(criteria), [{k: v for k, v in d.items() if v != {}} for d in found]))
    assert answers[0] == answers[1]


def test_a_removed_and_a_replaced_document_leave_the_summary_too(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "a.sqlite", "things", "id", summary=SUMMARY, indexes=INDEXES)
    store.update([{"id": 1, "d": "x"}, {"id": 2, "d": "y"}])
    store.update({"id": 1, "d": "z"})
    store.remove_docs({"id": 2})
    assert list(store.query({}, ["id", "d"])) == [{"id": 1, "d": "z"}]


def list_tables(database: Path) -> set[str]:
    with closing(sqlite3.connect(database)) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_a_summary_table_of_an_earlier_version_is_replaced(tmp_path: Path) -> None:
    """Triggers kept the summary in a table of its own."""
    plain = SQLiteStore(tmp_path / "a.sqlite", "things", "id")
    plain.update([{"id": 1, "d": 3}])
    plain.ensure_index("d")
    plain.close()
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection:
        connection.execute("CREATE TABLE things_summary_0a1b (id INTEGER PRIMARY KEY, doc TEXT NOT NULL)")
        put = "INSERT OR REPLACE INTO things_summary_0a1b (id, doc) VALUES (NEW.id, NEW.doc)"
        connection.execute(f"CREATE TRIGGER things_summary_0a1b_insert AFTER INSERT ON things BEGIN {put}; END")
        connection.commit()
    store = SQLiteStore(tmp_path / "a.sqlite", "things", "id", summary=SUMMARY, indexes=INDEXES)
    store.update({"id": 2, "d": 4})
    assert list(store.query({"d": {"$gt": 2}}, ["id"])) == [{"id": 1}, {"id": 2}]
    assert list_tables(tmp_path / "a.sqlite") == {"things"}


def test_results_are_summarised(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    folder.collection("stabilizations").update(list(make_results(20)))
    with closing(sqlite3.connect(folder.database)) as connection:
        sizes = connection.execute("SELECT length(summary), length(doc) FROM stabilizations").fetchall()
    assert len(sizes) == 20
    assert all(short < long / 10 for short, long in sizes)


def test_a_summary_of_other_fields_is_replaced(tmp_path: Path) -> None:
    SQLiteStore(tmp_path / "a.sqlite", "things", "id", summary=("id",)).update([{"id": 1, "d": 3}])
    store = SQLiteStore(tmp_path / "a.sqlite", "things", "id", summary=SUMMARY, indexes=INDEXES)
    assert list(store.query({"d": 3}, ["id"])) == [{"id": 1}]


def test_documents_of_an_earlier_version_of_the_folder_are_summarised(tmp_path: Path) -> None:
    SQLiteStore(tmp_path / "a.sqlite", "things", "id").update([{"id": 1, "d": 3}])
    store = SQLiteStore(tmp_path / "a.sqlite", "things", "id", summary=SUMMARY, indexes=INDEXES)
    assert list(store.query({"d": 3}, ["id"])) == [{"id": 1}]


def test_another_program_keeps_the_summary_current(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "a.sqlite", "things", "id", summary=SUMMARY, indexes=INDEXES)
    store.update({"id": 1, "d": 3})
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection:
        connection.execute('UPDATE things SET doc = \'{"id": 1, "d": 4}\'')
        connection.commit()
    assert list(store.query({"d": 4}, ["id", "d"])) == [{"id": 1, "d": 4}]
