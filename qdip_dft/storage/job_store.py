"""Results of flows that other managers of jobflow carried: back from the user's JobStore into our own archive.

A flow of `StabilizationMaker` leaves its records and its answer in the store of whoever carried it.  They are read as
plain data, checked as documents of strangers are, and filed by their keys: what a later study asks is then known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from qdip_dft.errors import QdipError, ResultsError
from qdip_dft.results.archive import read_consistent
from qdip_dft.results.migrations import read_record
from qdip_dft.results.retracing import retrace
from qdip_dft.yaml_text import parse_yaml

if TYPE_CHECKING:
    from qdip_dft.model.stabilization import StabilizationDoc
    from qdip_dft.model.stored import StoredRecord
    from qdip_dft.results.archive import Archive
    from qdip_dft.results.collection import Collection

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class StoreContent:
    """What a JobStore holds of studies.

    Parameters
    ----------
    records
        Calculations and registry scans, of each key the usable or else the last one.
    documents
        Results, of each id the last one.
    refused
        What cannot be read, and why.
    """

    records: tuple[StoredRecord, ...]
    documents: tuple[StabilizationDoc, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImportedStore:
    """What came out of a JobStore.

    Parameters
    ----------
    n_records, n_known
        Calculations and registry scans stored now, and those that were stored before.
    results
        Ids of the results stored now.
    refused
        What was left out, and why.
    """

    n_records: int
    n_known: int
    results: tuple[str, ...]
    refused: tuple[str, ...]


@contextmanager
def opened_job_store(path: Path) -> Iterator[Collection]:
    """Give the documents of the JobStore that a file of jobflow's settings, or a project of jobflow-remote, names.

    Raises
    ------
    ResultsError
        If the file names none, or the store cannot be opened; what it says may hold a password and is not repeated.
    """
    from jobflow import JobStore

    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
        spec = content.get("JOB_STORE", content.get("jobstore"))
        store = JobStore.from_dict_spec(spec).docs_store
        store.connect()
    except Exception as error:
        raise ResultsError(
            f"{path} opens no JobStore ({type(error).__name__})",
            limit="JOB_STORE in jobflow's configuration file, or jobstore in a project of jobflow-remote, names one",
            why="without it nobody knows where the documents are",
            remedy="name that file; address, user and password are those that jobflow itself uses",
        ) from error
    try:
        yield store
    finally:
        store.close()


def read_job_store(store: Collection) -> StoreContent:
    """Return the records and results among the documents of a JobStore; nothing is written.

    Raises
    ------
    ResultsError
        If it holds nothing of a study.
    """
    refused: list[str] = []
    best: dict[str, StoredRecord] = {}
    for output in _find_outputs(store, "key"):
        record = _read(read_record, output, refused)
        if record is not None and (record.key not in best or _rank(record) > _rank(best[record.key])):
            best[record.key] = record
    answers = [document for output in _find_outputs(store, "stabilization") for document in output.get("documents", [])]
    documents = [found for each in answers if (found := _read(read_consistent, each, refused)) is not None]
    last = {document.id: document for document in sorted(documents, key=lambda each: each.created_at)}
    if best or last or refused:
        return StoreContent(tuple(best.values()), tuple(last.values()), tuple(refused))
    raise _holds_nothing()


def save_content(content: StoreContent, archive: Archive) -> ImportedStore:
    """File what a JobStore holds; no calculation that is stored is replaced.

    A result that does not follow from the records stored here is left out: they may be others than those of its flow.
    """
    numbered = (_renumber(record, archive.find_record(record.key)) for record in content.records)
    new = [record for record in numbered if record is not None]
    archive.save_records(new)
    refused, results = list(content.refused), []
    for document in content.documents:
        contradictions = retrace(document, archive.find_record)
        if contradictions:
            refused.append(f"result {document.id} does not follow from the records stored here: {contradictions[0]}")
            continue
        archive.save_stabilization(document)
        results.append(document.id)
    n_known = len(content.records) - len(new)
    return ImportedStore(n_records=len(new), n_known=n_known, results=tuple(results), refused=tuple(refused))


def _find_outputs(store: Collection, name: str) -> Iterator[dict[str, Any]]:
    for document in store.query({f"output.{name}": {"$exists": True}}):
        if isinstance(document.get("output"), dict):
            yield document["output"]


def _read(read: Callable[[dict[str, Any]], Read], content: dict[str, Any], refused: list[str]) -> Read | None:
    """Return a document that is whole; what is not is named."""
    try:
        return read(content)
    except QdipError as error:
        refused.append(f"{error.what}: {error.limit}")
        return None


def _rank(record: StoredRecord) -> tuple[bool, int]:
    return record.is_usable, record.attempt


def _renumber(record: StoredRecord, stored: StoredRecord | None) -> StoredRecord | None:
    """Return the record as the next attempt of its calculation; None where one as good is stored."""
    if stored is None:
        return record
    if stored.is_usable or not record.is_usable:
        return None
    return record.model_copy(update={"attempt": stored.attempt + 1})


def _holds_nothing() -> ResultsError:
    return ResultsError(
        "the JobStore holds nothing of a study",
        limit="records and results are the outputs of jobs of StabilizationMaker",
        why="there is nothing to import",
        remedy="name the store in which the flow was carried; docs/cluster.md says how",
    )
