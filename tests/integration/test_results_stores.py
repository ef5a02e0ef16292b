"""The same results and the same questions in a results folder and in a MongoDB database."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from pymongo import MongoClient

from qdip_dft.errors import FilterError, ResultsError
from qdip_dft.results.archive import Archive
from qdip_dft.results.fields import INDEXES
from qdip_dft.results.migrations import read_stabilization
from qdip_dft.results.query import list_rows, query_results
from qdip_dft.storage.copying import checksum, copy_results
from qdip_dft.storage.location import make_results, open_results
from qdip_dft.storage.mongo_address import read_address
from qdip_dft.storage.mongo_store import MongoResultsStore
from tests.command_line import assert_four_parts, qdip
from tests.private_mongod import PrivateMongod
from tests.synthetic_results import make_results as make_documents

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden"
DOCUMENTS = list(make_documents(200))
CALCULATION = json.loads((GOLDEN / "calculation-1-toy.json").read_text())


@pytest.fixture(params=["folder", "database"])
def location(request: pytest.FixtureRequest, results_folder: Path) -> str:
    """Where results are: each test runs on both."""
    return str(results_folder) if request.param == "folder" else request.getfixturevalue("mongo_uri")


@pytest.fixture
def archive(location: str) -> Iterator[Archive]:
    """The synthetic results in one of the stores."""
    filled = make_results(location)
    filled.stabilizations.update(DOCUMENTS)
    yield filled
    filled.close()


QUESTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"dot": "PbS"},
    {
        "dot": DOCUMENTS[0]["study"]["dot"]["material"],
        "host": DOCUMENTS[0]["study"]["host"],
        "facet": DOCUMENTS[0]["dot_plane"],
    },
    {"engine": "espresso", "where": "total < 0", "sort": ["total"], "limit": 5},
    {"where": "level = 'dft' and not dot in ['PbS', 'PbSe']", "sort": ["-total"]},
    {"where": "total > 0.2 or total < -0.2", "sort": ["dot", "-total"], "columns": ["id", "dot", "total"]},
    {"where": "candidates.total_ev_per_fu is not missing", "columns": ["id", "candidates.n_atoms"], "limit": 3},
    {"where": "stabilization.strain_ev_per_fu is missing"},
    {"where": "theory.settings.nothing is missing and facet != '111'"},
    {"sort": ["-created_at", "id"], "limit": 20, "columns": ["id", "created_at"]},
    {"columns": ["stabilization", "stabilization.black", "total"], "limit": 1},
)


@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_both_stores_answer_alike(question: dict[str, Any], results_folder: Path, mongo_uri: str) -> None:
    answers = []
    for location in (results_folder, mongo_uri):
        archive = make_results(location)
        archive.stabilizations.update(DOCUMENTS)
        answers.append(list_rows(archive.stabilizations, **question))
        archive.close()
    assert answers[0] == answers[1]
    assert answers[0] or "strain" in question.get("where", "")


def test_the_table_holds_the_numbers_of_the_documents(archive: Archive) -> None:
    table = query_results(archive, dot="PbS", where="total < 0", sort=["total"], columns=["id", "total"])
    expected = sorted(
        (document["stabilization"]["total_ev_per_fu"], document["id"])
        for document in DOCUMENTS
        if document["study"]["dot"]["material"] == "PbS" and document["stabilization"]["total_ev_per_fu"] < 0
    )
    assert list(zip(table["total"], table["id"], strict=True)) == expected


def test_a_stored_document_is_found_again_unchanged(archive: Archive) -> None:
    found = archive.find_stabilizations("synthetic-000007")
    assert [document.model_dump(mode="json") for document in found] == [
        read_stabilization(DOCUMENTS[7]).model_dump(mode="json")
    ]


def test_a_document_that_is_stored_again_replaces_itself(archive: Archive) -> None:
    archive.save_stabilization(read_stabilization(DOCUMENTS[0]))
    assert archive.stabilizations.count({"id": "synthetic-000000"}) == 1
    assert archive.stabilizations.count() == len(DOCUMENTS)


def test_a_result_of_a_newer_version_is_refused(archive: Archive) -> None:
    archive.stabilizations.update({**DOCUMENTS[0], "schema_version": 99})
    with pytest.raises(ResultsError, match="update qdip_dft"):
        list_rows(archive.stabilizations, columns=["total"])
    with pytest.raises(ResultsError, match="update qdip_dft"):
        archive.list_stabilizations()


@pytest.mark.parametrize("wrong", [{"where": "totl < 0"}, {"sort": ["totl"]}, {"columns": ["totl"]}, {"dott": "PbS"}])
def test_an_unknown_field_is_refused(wrong: dict[str, Any], archive: Archive) -> None:
    with pytest.raises(FilterError, match="take one of the names"):
        list_rows(archive.stabilizations, **wrong)


def test_the_command_answers_in_json_csv_and_tables(archive: Archive, location: str) -> None:  # noqa: ARG001 (filled)
    asked = ["query", "--dot", "PbS", "--where", "total < 0", "--sort", "-total", "--limit", "3", "--results", location]
    rows = json.loads(qdip(*asked, "--json").stdout)
    totals = [row["stabilization_total_ev_per_fu"] for row in rows]
    assert len(rows) == 3
    assert totals == sorted(totals, reverse=True)
    lines = qdip(*asked, "--csv", "--columns", "id,total").stdout.splitlines()
    assert lines == ["id,total", *(f"{row['id']},{row['stabilization_total_ev_per_fu']}" for row in rows)]
    assert all(row["id"] in qdip(*asked).stdout for row in rows)
    assert "SYNTHETIC" in qdip(*asked, "--columns", "sentence", "--table").stdout
    assert_four_parts(qdip(*asked, "--where", "totl < 0", check=False), "near matches: total")
    assert_four_parts(qdip(*asked, "--json", "--csv", check=False), "keep one of the three")


def test_a_missing_folder_holds_nothing_and_a_wrong_question_to_it_is_still_refused(results_folder: Path) -> None:
    assert json.loads(qdip("query", "--results", results_folder, "--json").stdout) == []
    assert not results_folder.exists()
    refused = qdip("query", "--where", "totl < 0", "--results", results_folder, check=False)
    assert_four_parts(refused, "there is no field 'totl'")


def fill(archive: Archive) -> None:
    archive.stabilizations.update(DOCUMENTS[:120])
    jobs = [{"uuid": f"{n}", "index": 1, "output": {**CALCULATION, "key": f"{n:064x}"}} for n in range(120)]
    archive.calculations.update(jobs, key=["uuid", "index"])


def contents(archive: Archive) -> list[str]:
    return sorted(checksum(d) for store in (archive.calculations, archive.stabilizations) for d in store.query({}))


@pytest.mark.parametrize("direction", ["to the database", "to the folder"])
def test_a_copy_holds_the_same_and_a_second_one_copies_nothing(
    direction: str, results_folder: Path, mongo_uri: str
) -> None:
    places: list[str | Path] = [results_folder, mongo_uri]
    source, target = map(make_results, places if direction == "to the database" else reversed(places))
    fill(source)
    first, second = copy_results(source, target), copy_results(source, target)
    assert contents(target) == contents(source)
    assert [(s.n_documents, s.n_copied, s.n_present) for s in first] == [(120, 120, 0)] * 2
    assert [(s.n_documents, s.n_copied, s.n_present) for s in second] == [(120, 0, 120)] * 2
    source.close()
    target.close()


def test_an_interrupted_copy_goes_on(results_folder: Path, mongo_uri: str) -> None:
    source, target = make_results(results_folder), make_results(mongo_uri)
    fill(source)

    def interrupt(collection: str, _: int) -> None:
        if collection == "stabilizations":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_results(source, target, report=interrupt)
    calculations, stabilizations = copy_results(source, target)
    assert (calculations.n_copied, calculations.n_present) == (0, 120)
    assert (stabilizations.n_copied, stabilizations.n_present) == (70, 50)
    assert contents(target) == contents(source)
    source.close()
    target.close()


def test_a_differing_document_is_kept_unless_replaced(tmp_path: Path) -> None:
    source, target = make_results(tmp_path / "a"), make_results(tmp_path / "b")
    fill(source)
    fill(target)
    target.stabilizations.update({**DOCUMENTS[3], "dot_plane": "311"})
    assert copy_results(source, target)[1].differing == ("synthetic-000003",)
    assert target.find_stabilizations("synthetic-000003")[0].dot_plane == "311"
    assert copy_results(source, target, replace=True)[1].n_copied == 1
    assert contents(target) == contents(source)


def test_the_command_copies_into_a_new_folder(results_folder: Path, mongo_uri: str) -> None:
    source = make_results(mongo_uri)
    fill(source)
    said = json.loads(qdip("db", "copy", mongo_uri, results_folder, "--json").stdout)
    assert [(part["collection"], part["n_copied"]) for part in said] == [("calculations", 120), ("stabilizations", 120)]
    assert contents(open_results(results_folder)) == contents(source)
    assert "120 there already" in qdip("db", "copy", mongo_uri, results_folder).stdout
    source.close()


def test_a_source_that_does_not_exist_is_refused_and_not_created(tmp_path: Path) -> None:
    refused = qdip("db", "copy", tmp_path / "nowhere", tmp_path / "target", check=False)
    assert_four_parts(refused, "there is no results folder")
    assert not (tmp_path / "nowhere").exists()
    assert not (tmp_path / "target").exists()


def large_calculation() -> dict[str, Any]:
    """A calculation whose forces are large, and that is above the 16 MB that a MongoDB document may have."""
    chance = random.Random(1)
    forces = [[chance.gauss(0, 1) for _ in range(3)] for _ in range(5_000)]
    density = chance.randbytes(8_500_000).hex()
    result = {**CALCULATION["result"], "forces_ev_per_ang": forces, "warnings": [density]}
    return {"uuid": "large", "index": 1, "output": {**CALCULATION, "result": result}}


def test_a_document_above_16_mb_stays_in_its_folder(results_folder: Path, mongo_uri: str) -> None:
    document = large_calculation()
    assert len(bson.encode(document)) > 16 * 2**20
    database, folder = make_results(mongo_uri), make_results(results_folder)
    folder.calculations.update(document, key=["uuid", "index"])
    assert contents(folder) == [checksum(document)]
    with pytest.raises(ResultsError, match="in a results folder"):
        copy_results(folder, database)
    database.close()
    folder.close()


def test_what_people_ask_for_is_indexed_in_the_database(mongo_uri: str) -> None:
    make_results(mongo_uri).close()
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        database = client.get_default_database()
        found = {tuple(index["key"]) for index in database.stabilizations.list_indexes()}
        assert set(INDEXES) <= found
        assert "output.key" in {next(iter(index["key"])) for index in database.calculations.list_indexes()}


def without_password(uri: str) -> str:
    return re.sub(r"//.*@", "//", uri)


def test_user_and_password_come_from_the_environment(
    mongo_uri: str, mongod: PrivateMongod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDIP_MONGODB_USER", mongod.username)
    monkeypatch.setenv("QDIP_MONGODB_PASSWORD", mongod.password)
    make_results(without_password(mongo_uri)).close()


def test_user_and_password_come_from_a_file_that_only_its_owner_reads(
    mongo_uri: str, mongod: PrivateMongod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mongodb.yaml"
    path.write_text(f"user: {mongod.username}\npassword: {mongod.password}\n")
    monkeypatch.setenv("QDIP_MONGODB_CREDENTIALS", str(path))
    path.chmod(0o644)
    with pytest.raises(ResultsError, match="chmod 600"):
        make_results(without_password(mongo_uri))
    path.chmod(0o600)
    make_results(without_password(mongo_uri)).close()


@pytest.mark.parametrize("content", ["user: only\n", "- a\n", "{", "user: a\npassword: s3cret\nmore: b\n"])
def test_a_wrong_file_of_credentials_is_refused_without_showing_it(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mongodb.yaml"
    path.write_text(content)
    path.chmod(0o600)
    monkeypatch.setenv("QDIP_MONGODB_CREDENTIALS", str(path))
    with pytest.raises(ResultsError, match="chmod 600") as refused:
        read_address("mongodb://localhost/group")
    assert "s3cret" not in str(refused.value)


def test_no_password_no_results_and_no_password_in_what_is_said(mongo_uri: str, mongod: PrivateMongod) -> None:
    for wrong in (without_password(mongo_uri), mongo_uri.replace(mongod.password, "s3cret-and-wrong")):
        refused = qdip("query", "--results", wrong, check=False)
        assert_four_parts(refused, "set QDIP_MONGODB_USER and QDIP_MONGODB_PASSWORD")
        assert "s3cret" not in refused.stderr
        assert mongod.username not in refused.stderr


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://user:s3cret@host:port:port/a/b/c",
        "mongodb://user:s3c/ret@host/group",
        "mongodb://user:s3c@ret@host/group",
        "mongodb:/user:s3cret@host/group",
        "mongodb://user:s3cret@",
        "mongodb://user:s3cret@host/group?x=y@z",
        "mongodb://user:s3cret@host/gr$oup",
        "mongodb://user:s3cret@127.0.0.1:99999/group",
        "mongodb://user:s3cret@127.0.0.1:1/group?readPreference=s3cret",
    ],
)
def test_a_wrong_address_is_refused_without_showing_its_password(uri: str) -> None:
    refused = qdip("query", "--results", uri, check=False)
    assert refused.returncode == 2
    assert "s3c" not in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_server_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdip_dft.storage.mongo_store.ANSWER_TIMEOUT_S", 0.3)
    refused = qdip("query", "--results", "mongodb://user:s3cret@127.0.0.1:1/group", check=False)
    assert_four_parts(refused, "mongodb://127.0.0.1:1/group does not answer")
    assert "s3cret" not in refused.stderr


def test_a_stored_store_keeps_no_password(mongo_uri: str, mongod: PrivateMongod) -> None:
    store = MongoResultsStore(mongo_uri, "calculations", key="uuid")
    for text in (json.dumps(store.as_dict()), store.name, repr(store), str(read_address(mongo_uri))):
        assert mongod.password not in text
        assert mongod.username not in text
    assert MongoResultsStore.from_dict(store.as_dict()).name == store.name


def test_a_job_store_keeps_its_documents_in_the_database(mongo_uri: str) -> None:
    from jobflow import JobStore

    store = MongoResultsStore(mongo_uri, "calculations", key="uuid")
    jobs = JobStore(store)
    jobs.connect()
    jobs.update({"uuid": "a", "index": 1, "output": 3})
    jobs.update({"uuid": "a", "index": 1, "output": 4})
    assert jobs.get_output("a") == 4
    assert store.count({"uuid": "a"}) == 1
    store.close()
