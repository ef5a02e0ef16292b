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
from qdip_dft.storage.sqlite_collection import SQLiteCollection
from qdip_dft.storage.summary_collection import SummaryCollection
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
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SummaryCollection, SQLiteCollection]]:
    folder = tmp_path_factory.mktemp("summary")
    store = SummaryCollection(folder / "a.sqlite", "things", "id", SUMMARY, INDEXES)
    plain = SQLiteCollection(folder / "b.sqlite", "things", "id")
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
    stores: tuple[SummaryCollection, SQLiteCollection],
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
    store = SummaryCollection(tmp_path / "a.sqlite", "things", "id", SUMMARY, INDEXES)
    store.update([{"id": 1, "d": "x"}, {"id": 2, "d": "y"}])
    store.update({"id": 1, "d": "z"})
    store.remove_docs({"id": 2})
    assert list(store.query({}, ["id", "d"])) == [{"id": 1, "d": "z"}]


def list_tables(database: Path) -> set[str]:
    with closing(sqlite3.connect(database)) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_a_lost_summary_is_made_again(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    folder.collection("stabilizations").update(list(make_results(20)))
    (summary,) = [name for name in list_tables(folder.database) if "_summary_" in name]
    with closing(sqlite3.connect(folder.database)) as connection:
        connection.execute(f'DROP TABLE "{summary}"')
        connection.commit()
    again = ResultsFolder(tmp_path).collection("stabilizations")
    assert again.count({"level": {"$exists": True}}) == 20
    again.update(next(make_results(1)))
    assert again.count({"level": {"$exists": True}}) == 20


def test_a_summary_of_other_fields_is_replaced(tmp_path: Path) -> None:
    SummaryCollection(tmp_path / "a.sqlite", "things", "id", ("id",), ()).update([{"id": 1, "d": 3}])
    store = SummaryCollection(tmp_path / "a.sqlite", "things", "id", SUMMARY, INDEXES)
    assert list(store.query({"d": 3}, ["id"])) == [{"id": 1}]
    assert len([name for name in list_tables(tmp_path / "a.sqlite") if "_summary_" in name]) == 1


def test_documents_of_an_earlier_version_of_the_folder_are_summarised(tmp_path: Path) -> None:
    SQLiteCollection(tmp_path / "a.sqlite", "things", "id").update([{"id": 1, "d": 3}])
    store = SummaryCollection(tmp_path / "a.sqlite", "things", "id", SUMMARY, INDEXES)
    assert list(store.query({"d": 3}, ["id"])) == [{"id": 1}]


def test_another_program_keeps_the_summary_current(tmp_path: Path) -> None:
    store = SummaryCollection(tmp_path / "a.sqlite", "things", "id", SUMMARY, INDEXES)
    store.update({"id": 1, "d": 3})
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection:
        connection.execute('UPDATE things SET doc = \'{"id": 1, "d": 4}\'')
        connection.commit()
    assert list(store.query({"d": 4}, ["id", "d"])) == [{"id": 1, "d": 4}]
