"""Stored documents of every version are read, and nothing that they name is imported or executed."""

from __future__ import annotations

import json
import runpy
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from qdip_dft.errors import ResultsError
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.registry import RegistryScan
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.study_versions import RENAMED_IN_FILM
from qdip_dft.model.temperature import TemperatureDoc
from qdip_dft.results.archive import Archive
from qdip_dft.results.migrations import (
    STEPS,
    migrate,
    newest_version,
    read_calculation,
    read_registry_scan,
    read_stabilization,
    read_temperature,
)
from qdip_dft.storage.sqlite_collection import SQLiteCollection

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = sorted((ROOT / "tests" / "data" / "golden").glob("*.json"))
KINDS = {
    "calculation": CalculationRecord,
    "screening": RegistryScan,
    "stabilization": StabilizationDoc,
    "temperature": TemperatureDoc,
}
READERS: dict[str, Any] = {
    "calculation": read_calculation,
    "screening": read_registry_scan,
    "stabilization": read_stabilization,
    "temperature": read_temperature,
}
LEFT_OUT = {"sampled", "sampled_off_dot"}
"""Free energies by thermodynamic integration, in results against temperature of version 1."""

RENAMED = {"screening": "registry_scan"}
"""What candidates called the registry scan in results before version 4."""


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def golden(name: str) -> dict[str, Any]:
    return load(ROOT / "tests" / "data" / "golden" / f"{name}.json")


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_document_of_every_version_is_read_with_the_same_numbers(path: Path) -> None:
    kind, version, _ = path.stem.split("-")
    document = load(path)
    assert document["schema_version"] == int(version)
    written = READERS[kind](document).model_dump(mode="json")
    assert written["schema_version"] == newest_version(KINDS[kind])
    assert_kept(document, written, place=path.stem)


def assert_kept(old: Any, new: Any, *, place: str) -> None:
    """Compare all that the old document holds with the new one, bit by bit; the new one may hold more."""
    if isinstance(old, dict):
        renamed = RENAMED_IN_FILM if place.endswith(".study.film") else RENAMED
        for name in set(old) - {"schema_version", "units", *LEFT_OUT}:
            assert_kept(old[name], new[renamed.get(name, name)], place=f"{place}.{name}")
    elif isinstance(old, list):
        assert len(old) == len(new), place
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            assert_kept(one, other, place=f"{place}.{index}")
    else:
        assert old == new, place


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_version_has_a_golden_document_and_a_schema(kind: str) -> None:
    for version in range(1, newest_version(KINDS[kind]) + 1):
        assert list((ROOT / "tests/data/golden").glob(f"{kind}-{version}-*.json"))
        assert (ROOT / f"docs/schemas/{kind}-{version}.json").is_file()


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_document_follows_the_published_schema_of_its_version(path: Path) -> None:
    kind, version, _ = path.stem.split("-")
    schema = load(ROOT / "docs" / "schemas" / f"{kind}-{version}.json")
    jsonschema.Draft202012Validator(schema).validate(load(path))


def test_the_published_schemas_are_current() -> None:
    described = runpy.run_path(str(ROOT / "scripts" / "write_schemas.py"))["describe_documents"]()
    written = {name: (ROOT / "docs" / "schemas" / name).read_text(encoding="utf-8") for name in described}
    assert written == described, "run: python scripts/write_schemas.py"


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("version", [0, -1, 10**6, "1", 1.0, True, None, [1]])
def test_a_document_of_an_unknown_version_is_refused(kind: str, version: Any) -> None:
    document = {**golden(f"{kind}-1-toy"), "schema_version": version}
    with pytest.raises(ResultsError, match="update qdip_dft"):
        READERS[kind](document)


def test_migrating_leaves_the_given_document_alone() -> None:
    document = golden("stabilization-1-toy")
    before = deepcopy(document)
    migrate(StabilizationDoc, document)
    assert document == before


def test_there_is_a_step_between_every_two_versions() -> None:
    for kind, steps in STEPS.items():
        assert kind.model_fields["schema_version"].default == len(steps) + 1


HOSTILE: tuple[dict[str, Any], ...] = (
    {"@module": "antigravity", "@class": "fly"},
    {"@module": "antigravity", "@callable": "geohash", "@bound": None},
    {"@module": "os", "@class": "system", "args": ["true"]},
    {"$where": "sleep(1000)"},
    {"__class__": "os.system"},
)


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: next(iter(hostile)))
@pytest.mark.parametrize("place", ["", "study", "stabilization", "versions", "dropped"])
def test_nothing_that_a_document_names_is_imported(place: str, hostile: dict[str, Any], tmp_path: Path) -> None:
    """The module opens a web browser when it is imported."""
    document = golden("stabilization-1-toy")
    changed: Any = {**document, **hostile} if not place else {**document, place: hostile}
    store = SQLiteCollection(tmp_path / "results.sqlite", "stabilizations", key="id")
    store.update(changed)
    others = [SQLiteCollection(tmp_path / "results.sqlite", name) for name in ("calculations", "revisions")]
    archive = Archive(others[0], store, others[1]).connect()
    if place == "versions" and all(isinstance(value, str) for value in hostile.values()):
        assert archive.list_stabilizations()[0].versions == hostile  # text stays text
    else:
        assert archive.list_stabilizations() == []
        with pytest.raises(ResultsError, match="follow the schema"):
            archive.find_stabilizations(document["id"])
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: next(iter(hostile)))
def test_the_classes_that_a_job_document_names_are_not_looked_at(hostile: dict[str, Any], tmp_path: Path) -> None:
    record = golden("calculation-1-toy")
    store = SQLiteCollection(tmp_path / "results.sqlite", "calculations", key="uuid")
    store.update({"uuid": "1", "output": record, "metadata": hostile, **hostile})
    others = [SQLiteCollection(tmp_path / "results.sqlite", name) for name in ("stabilizations", "revisions")]
    archive = Archive(store, *others).connect()
    found = archive.find_calculation(record["key"])
    assert found is not None
    assert found.model_dump(mode="json", exclude_unset=True)["result"] == record["result"]
    assert "antigravity" not in sys.modules


def test_a_very_long_wrong_value_is_not_repeated_in_full() -> None:
    with pytest.raises(ResultsError, match="update qdip_dft") as refused:
        read_stabilization({**golden("stabilization-1-toy"), "id": "x" * 10**6, "schema_version": "y" * 10**6})
    assert len(str(refused.value)) < 1000
