"""The SQLite store: maggma's meaning, MongoDB's filters, and nothing lost under kills, races and full disks."""

from __future__ import annotations

import json
import os
import pickle
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobflow import Flow, JobStore, Response, job, run_locally
from maggma.stores import MemoryStore
from monty.json import MontyDecoder, MontyEncoder

from qdip_dft.errors import ResultsError
from qdip_dft.storage.codec import decode_value, encode_document
from qdip_dft.storage.filters import bound_filter, document_passes, is_plain_field
from qdip_dft.storage.sqlite_store import SQLiteStore

SCALARS = [None, 2, 3, 3.5, -7, 2.0, "a", "b", "ab", "Ä", True, False]
OPERANDS = [2, 3, 3.5, -7, "a", "ab"]
FIELDS = ["a", "b", "c", "a.x", "b.y", "a.x.y", "c.0", "c.1.x", "nowhere"]


@pytest.fixture
def store(tmp_path: Path) -> SQLiteStore:
    return SQLiteStore(tmp_path / "qdip.sqlite", "calculations", key="key")


def find_keys(store: Any, criteria: dict[str, Any], **options: Any) -> list[Any]:
    return [document["key"] for document in store.query(criteria, **options)]


# --- filters ----------------------------------------------------------------------------------------------------


def draw_value(source: random.Random, depth: int = 0) -> Any:
    choice = source.random()
    if depth < 2 and choice < 0.2:
        return {name: draw_value(source, depth + 1) for name in source.sample(["x", "y", "a"], source.randint(0, 2))}
    if depth < 2 and choice < 0.4:
        return [draw_value(source, depth + 1) for _ in range(source.randint(0, 3))]
    return source.choice(SCALARS)


def draw_documents(source: random.Random, count: int = 25) -> list[dict[str, Any]]:
    names = [[name for name in "abc" if source.random() < 0.8] for _ in range(count)]
    return [{"key": key, **{name: draw_value(source) for name in present}} for key, present in enumerate(names)]


def draw_condition(source: random.Random) -> Any:
    choices = [source.choice(SCALARS) for _ in range(source.randint(0, 3))]
    ranges = {operator: source.choice(OPERANDS) for operator in source.sample(["$gt", "$gte", "$lt", "$lte"], 2)}
    return source.choice(
        [
            draw_value(source),
            {"$eq": draw_value(source)},
            {"$ne": source.choice(SCALARS)},
            {"$in": choices},
            {"$nin": choices},
            ranges,
            {"$exists": source.random() < 0.5},
        ]
    )


def draw_filter(source: random.Random, depth: int = 0) -> dict[str, Any]:
    if depth < 2 and source.random() < 0.3:
        parts = [draw_filter(source, depth + 1) for _ in range(source.randint(1, 3))]
        return {source.choice(["$and", "$or", "$nor"]): parts}
    return {name: draw_condition(source) for name in source.sample(FIELDS, source.randint(1, 2))}


@pytest.mark.parametrize("seed", range(12))
def test_sql_and_python_agree_on_every_filter(store: SQLiteStore, seed: int) -> None:
    source = random.Random(seed)
    documents = draw_documents(source)
    store.update(documents)
    if seed % 2:
        assert all(store.ensure_index(name) for name in ("a", "a.x", "b"))
    for _ in range(60):
        criteria = draw_filter(source)
        expected = [document["key"] for document in documents if document_passes(criteria, document)]
        assert find_keys(store, criteria) == expected, criteria
        assert store.count(criteria) == len(expected)


def draw_oracle_condition(source: random.Random) -> Any:
    """Leave out where mongomock departs from the MongoDB manual (see the tests of `MANUAL`)."""
    operand, value = source.choice(OPERANDS), source.choice([2, 3, 3.5, -7, "a", "b", "ab", "Ä", True, False])
    return source.choice(
        [
            value,
            {"$eq": value},
            {"$ne": value},
            {"$in": [value, operand]},
            {"$nin": [value, operand]},
            {source.choice(["$gt", "$gte", "$lt", "$lte"]): operand},
            {"$exists": True},
        ]
    )


@pytest.mark.parametrize("seed", range(8))
def test_filters_mean_what_they_mean_in_maggmas_memory_store(store: SQLiteStore, seed: int) -> None:
    source = random.Random(seed)
    documents = draw_documents(source)
    memory = MemoryStore(key="key")
    for either in (store, memory):
        either.connect()
        either.update(documents)
    for _ in range(80):
        parts = [{name: draw_oracle_condition(source)} for name in source.sample(FIELDS, 3)]
        criteria = source.choice([parts[0], parts[0] | parts[1], {"$or": parts}, {"$and": parts}, {"$nor": parts}])
        assert find_keys(store, criteria) == find_keys(memory, criteria), criteria
        assert store.count(criteria) == memory.count(criteria)


NESTED = {"key": 0, "a": [{"x": 1}, {"y": 2}], "b": 3, "c": ["p", "q"], "d": {"e": None}, "f": True}
MANUAL = [
    ({"a.x": 1}, True),
    ({"a.x": {"$exists": False}}, False),  # one member has it
    ({"a.x": None}, True),  # the other has not
    ({"b.z": None}, True),
    ({"c": "p"}, True),
    ({"c": ["p", "q"]}, True),
    ({"c": ["q", "p"]}, False),
    ({"c.1": "q"}, True),
    ({"c": {"$ne": "p"}}, False),
    ({"d": {"e": None}}, True),
    ({"d.e": {"$exists": True}}, True),
    ({"f": 1}, False),  # a boolean is no number
    ({"f": True}, True),
    ({"b": {"$gt": "a"}}, False),  # types are not compared with each other
    ({"b": {"$in": []}}, False),
    ({"b": {"$gt": 1, "$lt": 4}}, True),
    ({"b": 3.0}, True),
]


@pytest.mark.parametrize(("criteria", "is_found"), MANUAL)
def test_filters_follow_the_mongodb_manual(store: SQLiteStore, criteria: dict[str, Any], is_found: bool) -> None:
    store.update(NESTED)
    assert store.count(criteria) == is_found


@pytest.mark.parametrize(
    "criteria",
    [
        {"a": {"$type": "string"}},
        {"$where": "this.a == 1"},
        {"$expr": {"$gt": ["$a", 1]}},
        {"a": {"$mod": [2, 0]}},
        {"a": {"$gt": None}},
        {"a": {"$lt": {"b": 1}}},
        {"a": {"$gt": float("nan")}},
        {"a": {"$in": "abc"}},
        {"a": {"$regex": "a"}},
        {"a": re.compile("a")},
        {"a": {"$in": [re.compile("a")]}},
        {"a": {"$not": {"$gt": 3}}},
        {"a": {"$size": 1}},
        {"a": {"$elemMatch": {"b": 3}}},
        {"$and": []},
        {"a.$b": 1},
        {"a": {"$eq": 2**70}},
        {"a": 2**70},
    ],
)
def test_an_unsupported_filter_is_refused_with_its_cure(store: SQLiteStore, criteria: dict[str, Any]) -> None:
    with pytest.raises(ResultsError, match="select in Python"):
        store.count(criteria)


HOSTILE = ["a'); DROP TABLE calculations; --", 'a"b', "a\\b", "a'b", "ä ö", "a b", "a[0]", "#", "é\ud800", "a\0b"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_field_names_are_only_names(store: SQLiteStore, name: str) -> None:
    field = name
    store.update([{"key": 1, field: {"x": "yes"}, "list": [{field: 5}]}, {"key": 2, field: {"x": "no"}}])
    store.ensure_index(f"{field}.x")
    assert find_keys(store, {f"{field}.x": "yes"}) == [1]
    assert find_keys(store, {f"list.{field}": {"$gt": 4}}) == [1]
    found = store.query({f"{field}.x": {"$exists": True}})
    assert [document[field] for document in found] == [{"x": "yes"}, {"x": "no"}]
    if is_plain_field((field, "x")):
        assert find_keys(store, {}, sort={f"{field}.x": 1}) == [2, 1]
    else:
        with pytest.raises(ResultsError, match="select in Python"):
            find_keys(store, {}, sort={f"{field}.x": 1})
    assert store.count({"key": name}) == 0
    assert [document[field] for document in store.query(properties=[f"{field}.x"])] == [{"x": "yes"}, {"x": "no"}]


@pytest.mark.parametrize("seed", range(3))
def test_numbers_that_differ_in_the_last_bit_are_told_apart(store: SQLiteStore, seed: int) -> None:
    source = random.Random(seed)
    middles = [source.gauss(0, 1) * 10.0 ** source.randint(-300, 300) for _ in range(40)]
    values = sorted({np.nextafter(middle, toward) for middle in middles for toward in (-np.inf, middle, np.inf)})
    store.update([{"key": place, "x": float(value)} for place, value in enumerate(values)])
    for place, value in enumerate(values):
        assert find_keys(store, {"x": float(value)}) == [place]
        assert store.count({"x": {"$lt": float(value)}}) == place
        assert store.count({"x": {"$gte": float(value)}}) == len(values) - place


# --- order, projections, groups ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sort", [{"a": 1}, {"a": -1}, {"b.x": -1, "a": 1}, {"b.x": 1, "key": -1}])
@pytest.mark.parametrize(("skip", "limit"), [(0, 0), (3, 0), (0, 5), (4, 100), (50, 5)])
def test_sort_skip_and_limit_are_those_of_the_memory_store(
    store: SQLiteStore, sort: dict[str, int], skip: int, limit: int
) -> None:
    source = random.Random(5)
    documents = [{"key": key, "a": source.choice(SCALARS), "b": {"x": source.choice(SCALARS)}} for key in range(30)]
    memory = MemoryStore(key="key")
    for either in (store, memory):
        either.connect()
        either.update(documents)
    options = {"sort": sort, "skip": skip, "limit": limit}
    assert find_keys(store, {}, **options) == find_keys(memory, {}, **options)
    assert store.query_one(sort=sort)["key"] == memory.query_one(sort=sort)["key"]


def test_what_has_no_order_is_sorted_behind_numbers_and_text(store: SQLiteStore) -> None:
    values: list[Any] = ["text", [2], 3, None, {"x": 1}, True, -1.5, datetime(2026, 1, 2), datetime(2026, 1, 1)]
    store.update([{"key": key, "a": value} for key, value in enumerate(values)])
    found = find_keys(store, {}, sort={"a": 1})
    assert found[:4] == [3, 6, 2, 0]
    assert found.index(8) < found.index(7)


@pytest.mark.parametrize(
    "properties",
    [None, [], ["a"], ["a.x", "key"], {"b": 1, "_id": 0}, ["b.y"], ["nowhere"]],
)
def test_projections_are_those_of_the_memory_store(store: SQLiteStore, properties: Any) -> None:
    documents = [{"key": 0, "a": {"x": 1, "y": [2]}, "b": [{"y": 1, "z": 2}, {"y": 3}]}, {"key": 1, "a": {"x": {}}}]
    memory = MemoryStore(key="key")
    for either in (store, memory):
        either.connect()
        either.update(documents)
    expected = [{name: part for name, part in each.items() if name != "_id"} for each in memory.query({}, properties)]
    assert list(store.query({}, properties)) == expected


@pytest.mark.parametrize("properties", [{"a": 1, "b": 0}, {"a": 0}, {"a": {"$slice": 1}}])
def test_a_projection_that_drops_fields_is_refused(store: SQLiteStore, properties: Any) -> None:
    with pytest.raises(ResultsError, match="name the fields to keep"):
        store.query_one({}, properties)


def test_distinct_values_and_groups_are_those_of_the_memory_store(store: SQLiteStore) -> None:
    source = random.Random(11)
    documents = [
        {
            "key": key,
            "a": source.choice(["p", "q", "r"]),
            "b": {"n": source.randint(2, 4)},
            "c": [2, source.choice("uv")],
        }
        for key in range(40)
    ] + [{"key": 40}]
    memory = MemoryStore(key="key")
    for either in (store, memory):
        either.connect()
        either.update(documents)
    for field in ("a", "b.n", "nowhere"):
        assert sorted(map(str, store.distinct(field))) == sorted(map(str, memory.distinct(field)))
    assert sorted(store.distinct("a", {"b.n": 3})) == sorted(memory.distinct("a", {"b.n": 3}))
    ours, theirs = (
        [(label, [each["key"] for each in group]) for label, group in each.groupby(["a", "b.n"], criteria, ["key"])]
        for each, criteria in ((store, {"key": {"$gt": 3}}), (memory, {"key": {"$gt": 3}}))
    )
    assert ours == theirs


# --- writing ----------------------------------------------------------------------------------------------------


def test_an_empty_store_answers_every_question(store: SQLiteStore) -> None:
    assert store.count() == 0
    assert store.query_one() is None
    assert list(store.query({"a": 1}, sort={"a": 1}, skip=1)) == []
    assert store.distinct("a") == []
    assert store.last_updated == datetime.min
    store.remove_docs({})


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "qdip.sqlite").touch()
    assert SQLiteStore(tmp_path / "qdip.sqlite").count() == 0


def test_a_document_replaces_the_one_with_the_same_keys(store: SQLiteStore) -> None:
    for value in (1, 2):
        store.update([{"uuid": "u", "index": index, "value": value} for index in (1, 2)], key=["uuid", "index"])
    assert [(each["index"], each["value"]) for each in store.query({"uuid": "u"})] == [(1, 2), (2, 2)]
    store.update({"uuid": "u", "index": "1", "value": 3}, key=["uuid", "index"])  # a text is another key
    assert store.count() == 3
    store.remove_docs({"index": {"$in": [1, 2]}})
    assert [each["value"] for each in store.query()] == [3]


@pytest.mark.parametrize(
    "key", [3, 2.5, "text", None, True, {"a": 1}, [1, 2], datetime(2026, 7, 1), 1e22, float("inf")]
)
def test_anything_storable_can_be_a_key(store: SQLiteStore, key: Any) -> None:
    for value in (1, 2):
        store.update({"key": key, "value": value})
    assert [each["value"] for each in store.query()] == [2]


def test_a_document_without_its_key_is_refused_and_nothing_is_written(store: SQLiteStore) -> None:
    with pytest.raises(ResultsError, match="add the field"):
        store.update([{"key": 1}, {"other": 2}])
    assert store.count() == 0


@pytest.mark.parametrize("value", [object(), b"bytes", {1, 2}, 1 + 2j])
def test_what_json_cannot_carry_is_refused(store: SQLiteStore, value: Any) -> None:
    with pytest.raises(ResultsError, match=r"\.tolist"):
        store.update({"key": 1, "value": value})


def test_a_reserved_field_name_is_refused(store: SQLiteStore) -> None:
    with pytest.raises(ResultsError, match="reserved"):
        store.update({"key": 1, "value": {"$date": "yesterday"}})


def test_what_goes_in_comes_out(store: SQLiteStore) -> None:
    document = {
        "key": "Ä😀\u2028",
        "dots.in.names": {"a.b": 1, "": 2, "$": 3},
        "text": ["\0 nul", "half \ud83d pair", "\\u0000", '"$date', "\n"],
        "numbers": [0.1, 1e-320, -0.0, 2**80, 1e308, float("inf"), float("-inf")],
        "date": datetime(2026, 3, 1, 12, 30, 0, 7),
        "nested": {"@module": "datetime", "@class": "datetime", "string": "2026-01-01 00:00:00"},
        "forces_ev_per_ang": np.random.default_rng(1).normal(size=(16000, 3)).tolist(),
    }
    store.update(document)
    assert len(encode_document(document)) > 900_000
    assert store.query_one({"key": document["key"]}) == document
    assert find_keys(store, {"text": "\0 nul"}) == find_keys(store, {"text": "half \ud83d pair"}) == [document["key"]]
    assert store.count({"numbers.5": {"$gt": 1e308}}) == 1
    assert store.count({"nowhere": {"$nin": ["half \ud83d pair", "\0 nul"]}}) == 1


def test_numbers_that_are_not_finite_come_out_and_are_found(store: SQLiteStore) -> None:
    store.update([{"key": 1, "energy_ev": float("nan")}, {"key": 2, "energy_ev": -1.5}])
    assert np.isnan(store.query_one({"key": 1})["energy_ev"])
    assert find_keys(store, {"energy_ev": {"$lt": 0}}) == [2]


def test_numpy_and_msonable_values_are_stored_as_by_other_maggma_stores(store: SQLiteStore, pbs_cell: Any) -> None:
    memory = MemoryStore(key="key")
    memory.connect()
    document = {"key": np.int64(3), "forces": np.eye(2), "cell": pbs_cell, "energy": np.float64(-1.5), 7: "seven"}
    for either in (store, memory):
        either.update(document)
    expected = memory.query_one()
    expected.pop("_id")
    assert store.query_one() == expected


@pytest.fixture
def pbs_cell() -> Any:
    from pymatgen.core import Lattice, Structure

    return Structure(Lattice.cubic(5.94), ["Pb", "S"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@settings(max_examples=60)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
        lambda parts: st.lists(parts) | st.dictionaries(st.text().filter(lambda name: name[:1] != "$"), parts),
    )
)
def test_every_json_value_survives_the_text(value: Any) -> None:
    text = encode_document({"value": value})
    assert decode_value(text) == {"value": value}
    text.encode()


# --- dates ------------------------------------------------------------------------------------------------------


def test_dates_are_compared_and_sorted_in_utc(store: SQLiteStore) -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    moments = [
        noon,
        noon.astimezone(timezone(timedelta(hours=9))) + timedelta(hours=1),
        noon - timedelta(microseconds=1),
    ]
    store.update([{"key": key, "last_updated": moment} for key, moment in enumerate(moments)])
    assert find_keys(store, {"last_updated": {"$gte": noon}}) == [0, 1]
    assert find_keys(store, {"last_updated": datetime(2026, 3, 1, 12)}) == [0]
    assert find_keys(store, {}, sort={"last_updated": -1}) == [1, 0, 2]
    assert store.last_updated == datetime(2026, 3, 1, 13)


@pytest.mark.parametrize("kind", ["datetime", "isoformat"])
@pytest.mark.parametrize("is_exhaustive", [False, True])
def test_newer_documents_are_found_in_another_store(tmp_path: Path, kind: str, is_exhaustive: bool) -> None:
    ours = SQLiteStore(tmp_path / "ours.sqlite", key="key", last_updated_type=kind)
    theirs = SQLiteStore(tmp_path / "theirs.sqlite", key="key", last_updated_type=kind)
    days = [datetime(2026, 1, day) for day in (1, 2, 3)]
    dates = days if kind == "datetime" else [day.isoformat() for day in days]
    theirs.update([{"key": key, "last_updated": date} for key, date in enumerate(dates)])
    assert sorted(ours.newer_in(theirs, exhaustive=is_exhaustive)) == [0, 1, 2]
    ours.update([{"key": key, "last_updated": date} for key, date in enumerate(dates[:2])])
    assert ours.newer_in(theirs, exhaustive=is_exhaustive) == [2]


# --- indexes ----------------------------------------------------------------------------------------------------


def explain(store: SQLiteStore, criteria: dict[str, Any]) -> str:
    where = bound_filter(criteria).possible
    sql = f"EXPLAIN QUERY PLAN SELECT id FROM calculations WHERE {where.text} ORDER BY +id"
    plan = store._collection.execute(sql, where.parameters)
    return str(plan.fetchall())


@pytest.mark.parametrize(
    "criteria",
    [
        {"uuid": "u"},
        {"uuid": "u", "index": 1},
        {"uuid": {"$in": ["u", "v"]}},
        {"output.n": 3},
        {"$and": [{"uuid": "u"}]},
    ],
)
def test_keys_and_asked_for_indexes_are_looked_up_not_scanned(store: SQLiteStore, criteria: dict[str, Any]) -> None:
    store.update({"uuid": "u", "index": 1, "output": {"n": 3}}, key=["uuid", "index"])
    assert "SEARCH" not in explain(store, {"name": "n"})
    store.ensure_index("output.n")
    assert "SEARCH calculations USING INDEX" in explain(store, criteria)
    assert store.count(criteria) == 1


def test_a_unique_index_refuses_a_second_document_with_the_value(store: SQLiteStore) -> None:
    store.update([{"key": 1, "a": "x"}, {"key": 2, "a": "y"}, {"key": 3}, {"key": 4}])
    assert store.ensure_index("a", unique=True)
    with pytest.raises(ResultsError, match="another value"):
        store.update({"key": 5, "a": "x"})
    store.update({"key": 2, "a": "x2"})
    store.update({"key": 6, "a": "y"})
    assert not SQLiteStore(store.path, store.collection_name).ensure_index("key.x.y\\")


def test_a_unique_index_is_not_made_over_duplicates(store: SQLiteStore) -> None:
    store.update([{"key": 1, "a": "x"}, {"key": 2, "a": "x"}])
    assert not store.ensure_index("a", unique=True)
    assert store.ensure_index("a")


# --- as part of maggma and jobflow ------------------------------------------------------------------------------


def test_the_store_survives_serialization(store: SQLiteStore) -> None:
    store.update({"key": 1})
    decoded = MontyDecoder().decode(json.dumps(store, cls=MontyEncoder))
    pickled = pickle.loads(pickle.dumps(store))
    for copy in (decoded, pickled, SQLiteStore.from_dict(store.as_dict())):
        assert copy == store
        assert hash(copy) == hash(store)
        assert copy.count({"key": 1}) == 1
    assert store != SQLiteStore(store.path, "other", key="key")
    job_store = MontyDecoder().decode(json.dumps(JobStore(store), cls=MontyEncoder))
    assert job_store.docs_store.path == store.path


def test_a_store_keeps_its_file_when_the_working_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore("qdip.sqlite", key="key")
    store.update({"key": 1})
    store.close()
    (tmp_path / "job").mkdir()
    monkeypatch.chdir(tmp_path / "job")
    assert store.count() == 1


@job
def count_down(start: int) -> Any:
    return Response(output=f"seen {start}", replace=count_down(start - 1)) if start else "lift-off"


@job
def shout(text: str) -> str:
    return text.upper()


def test_jobflow_keeps_every_index_of_a_replaced_job(store: SQLiteStore, tmp_path: Path) -> None:
    first = count_down(1)
    last = shout(first.output)
    run_locally(Flow([first, last]), store=JobStore(store), root_dir=tmp_path, log=False, ensure_success=True)
    found = {(each["uuid"], each["index"]): each["output"] for each in store.query()}
    assert found == {(first.uuid, 1): "seen 1", (first.uuid, 2): "lift-off", (last.uuid, 1): "LIFT-OFF"}
    fresh = JobStore(SQLiteStore(store.path, "calculations"))
    assert fresh.get_output(first.uuid, "last") == "lift-off"
    assert fresh.get_output(first.uuid, 1) == "seen 1"


# --- files that cannot be used ----------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but somebody's notes\n" * 100)
    with pytest.raises(ResultsError, match="do not edit it"):
        SQLiteStore(tmp_path / "notes.txt").count()
    assert (tmp_path / "notes.txt").read_text().startswith("not a database")


def test_a_missing_folder_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="--results DIR"):
        SQLiteStore(tmp_path / "nowhere" / "qdip.sqlite").count()


def store_pairs(store: SQLiteStore) -> None:
    for key in range(1, 1000):
        store.update([{"key": key, "text": "x" * 5000}, {"key": -key, "text": "x" * 5000}])


def test_a_full_disk_is_explained_and_takes_nothing_back(store: SQLiteStore) -> None:
    store.update({"key": 0, "text": "x" * 5000})
    connection = store._collection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 20}")
    with pytest.raises(ResultsError, match=r"MB are free there.*free some space and start the same run again"):
        store_pairs(store)
    kept = find_keys(store, {"key": {"$gte": 0}})
    assert 1 < len(kept) < 20
    assert kept == [0] + [-key for key in find_keys(store, {"key": {"$lt": 0}})]  # never half an update
    connection.execute("PRAGMA max_page_count = 1000000")
    store.update({"key": "later"})
    assert SQLiteStore(store.path, "calculations").count() == 2 * len(kept)


def test_a_store_that_could_not_be_opened_can_be_opened_later(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "later" / "qdip.sqlite", key="key")
    with pytest.raises(ResultsError, match="--results DIR"):
        store.update({"key": 1})
    (tmp_path / "later").mkdir()
    store.update({"key": 1})
    assert store.count() == 1


def test_a_bad_collection_name_is_refused(tmp_path: Path) -> None:
    for name in ('x"; DROP TABLE y', "", "sqlite_master", "1st", "a b"):
        with pytest.raises(ResultsError, match="choose a name"):
            SQLiteStore(tmp_path / "qdip.sqlite", name)


def test_a_failing_update_leaves_the_store_usable(store: SQLiteStore) -> None:
    store.update({"key": 1})
    store._collection.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON calculations BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with pytest.raises(sqlite3.IntegrityError, match="no"):
        store.update([{"key": 1, "changed": True}, {"key": 2}])
    assert store.query_one() == {"key": 1}
    store._collection.execute("DROP TRIGGER refuse")
    store.update({"key": 2})
    assert store.count() == 2


# --- several processes ------------------------------------------------------------------------------------------

WRITE_PAIRS_IN_TEN_PROCESSES = """
import os, sys
from qdip_dft.storage.sqlite_store import SQLiteStore

def write_pairs(path, writer):
    store = SQLiteStore(path, "calculations", key="key")
    acknowledged = open(f"{path}-acknowledged-{writer}", "w", buffering=1)
    for number in range(10**9):
        key = f"{writer}-{number}"
        store.update([{"key": key, "half": half, "text": "x" * 3000} for half in (1, 2)], ["key", "half"])
        print(key, file=acknowledged)

for writer in range(10):
    process = os.fork()
    if process == 0:
        write_pairs(sys.argv[1], writer)
    print(process, flush=True)
sys.stdin.readline()
"""
USE_AFTER_FORK = """
import os, sys
from qdip_dft.storage.sqlite_store import SQLiteStore

store = SQLiteStore(sys.argv[1], "calculations", key="key")
store.update({"key": "before"})
if os.fork() == 0:
    del store
    os._exit(0)
os.wait()
if os.fork() == 0:
    store.update({"key": "child"})
    store.close()
    sys.exit()
os.wait()
store.update({"key": "parent"})
print(sorted(store.distinct("key")))
"""
WRITE_SAME = """
import sys
from qdip_dft.storage.sqlite_store import SQLiteStore

path, writer, count, key = sys.argv[1:]
store = SQLiteStore(path, "calculations", key="key")
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(count)):
    store.update({"key": key or f"{writer}-{number}", "writer": writer, "number": number})
store.close()
"""


@pytest.fixture
def start_writer() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process that writes; its pipes are closed at the end."""
    with ExitStack() as stack:

        def start(script: str, *arguments: str) -> subprocess.Popen[str]:
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            command = [sys.executable, "-c", script, *arguments]
            pipe = subprocess.PIPE
            return stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment))

        yield start


@pytest.mark.parametrize(("key", "count", "total"), [("the same", 100, 1), ("", 300, 600)])
def test_two_writers_at_once_lose_nothing(
    store: SQLiteStore, start_writer: Callable[..., subprocess.Popen[str]], key: str, count: int, total: int
) -> None:
    writers = [start_writer(WRITE_SAME, store.path, name, str(count), key) for name in ("one", "two")]
    assert [writer.stdout.readline() for writer in writers if writer.stdout] == ["ready\n"] * 2
    for writer in writers:
        writer.communicate("go\n", timeout=60)
        assert writer.returncode == 0
    assert store.count() == total
    assert len(store.distinct("key")) == total


def test_readers_do_not_wait_for_a_writer(store: SQLiteStore) -> None:
    store.update({"key": 1})
    store.ensure_index("a")
    writer = sqlite3.connect(store.path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    reader = SQLiteStore(store.path, "calculations", key="key")
    assert reader.ensure_index("a")
    assert reader.query_one() == {"key": 1}
    writer.execute("ROLLBACK")
    writer.close()


def test_an_unfinished_reading_does_not_block_writing(store: SQLiteStore) -> None:
    store.update([{"key": key} for key in range(200)])
    other = SQLiteStore(store.path, "calculations", key="key")
    seen = []
    for document in store.query({}, sort={"key": 1}):
        other.update({"key": document["key"], "seen": True})
        store.update({"key": -1 - document["key"]})
        seen.append(document["key"])
    assert seen == list(range(200))
    assert store.count() == 400


def test_ten_killed_writers_lose_nothing_that_was_acknowledged(
    store: SQLiteStore, start_writer: Callable[..., subprocess.Popen[str]]
) -> None:
    source = random.Random()
    nursery = start_writer(WRITE_PAIRS_IN_TEN_PROCESSES, store.path)
    assert nursery.stdout is not None
    for process in [int(nursery.stdout.readline()) for _ in range(10)]:
        time.sleep(source.uniform(0, 0.2))
        os.kill(process, signal.SIGKILL)
    nursery.communicate("done\n", timeout=60)
    assert store._collection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    halves = dict.fromkeys(store.distinct("key"), 0)
    for document in store.query():
        assert len(document["text"]) == 3000
        halves[document["key"]] += 1
    assert set(halves.values()) == {2}
    paths = [Path(f"{store.path}-acknowledged-{writer}") for writer in range(10)]
    acknowledged = [line for path in paths if path.exists() for line in path.read_text().splitlines()]
    assert len(acknowledged) > 10
    assert set(acknowledged) <= set(halves)
    store.update({"key": "after", "half": 1})


def test_a_forked_process_opens_a_connection_of_its_own(
    tmp_path: Path, start_writer: Callable[..., subprocess.Popen[str]]
) -> None:
    answer, _ = start_writer(USE_AFTER_FORK, str(tmp_path / "qdip.sqlite")).communicate(timeout=60)
    assert answer.strip() == "['before', 'child', 'parent']"


def test_the_store_does_not_import_jobflow(start_writer: Callable[..., subprocess.Popen[str]]) -> None:
    script = "import sys, qdip_dft.storage.sqlite_store as _; print('jobflow' in sys.modules)"
    answer, _ = start_writer(script).communicate(timeout=60)
    assert answer.strip() == "False"
