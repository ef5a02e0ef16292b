"""Finding and keeping records in any pair of maggma stores: the same questions on a laptop and on a database server.

Documents are data: they are validated as records on reading, and nothing named in them is imported or executed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from qdip_dft.errors import DamagedDocumentError
from qdip_dft.model.base import Record
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.keys import job_id
from qdip_dft.model.registry import RegistryScan
from qdip_dft.model.seals import seal
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.stored import StoredRecord
from qdip_dft.results.migrations import (
    read_calculation,
    read_record,
    read_registry_scan,
    read_stabilization,
    refuse_damaged,
)
from qdip_dft.results.retracing import list_contradictions
from qdip_dft.results.revisions import MARK, is_revision_of, is_same_question, name_revision

if TYPE_CHECKING:
    from qdip_dft.results.collection import Collection

Read = TypeVar("Read")

logger = logging.getLogger("qdip_dft.results")


@dataclass(frozen=True, slots=True)
class Archive:
    """The stored results.

    Parameters
    ----------
    calculations
        Store of the job documents, one per calculation; the record is in the field ``output``.
    stabilizations
        Store of the result documents, one per study and facet, key ``id``.
    revisions
        Store of the results whose study was changed afterwards, key ``id``.
    """

    calculations: Collection
    stabilizations: Collection
    revisions: Collection

    def connect(self) -> Archive:
        """Open the stores and make sure that keys are found fast; that of the revisions opens when it is asked."""
        self.calculations.connect()
        self.stabilizations.connect()
        self.calculations.ensure_index("output.key")
        self.stabilizations.ensure_index("id")
        return self

    def close(self) -> None:
        """Close both stores; a later question opens them again."""
        self.calculations.close()
        self.stabilizations.close()
        self.revisions.close()

    def find_calculation(self, key: str) -> CalculationRecord | None:
        """Return the stored record of a calculation: a usable attempt if there is one, else the latest."""
        found = [record for record in self._find_records(key) if isinstance(record, CalculationRecord)]
        return max(found, key=lambda record: (record.is_usable, record.attempt), default=None)

    def find_calculations(self, keys: Iterable[str]) -> dict[str, CalculationRecord]:
        """Return the stored records of calculations by key; keys without one are left out."""
        found = ((key, self.find_calculation(key)) for key in sorted(set(keys)))
        return {key: record for key, record in found if record is not None}

    def find_record(self, key: str) -> StoredRecord | None:
        """Return the stored calculation or registry scan of a key, chosen in the same way."""
        return max(self._find_records(key), key=lambda record: (record.is_usable, record.attempt), default=None)

    def list_calculations(self) -> Iterator[CalculationRecord]:
        """Return all stored calculations; registry scans are not among them."""
        found = self.calculations.query({"output.key": {"$exists": True}, "output.kind": {"$exists": False}})
        yield from _read_sound(_read_job, found)

    def save_records(self, records: Sequence[StoredRecord]) -> None:
        """Keep calculations and registry scans made elsewhere, as their jobs would have stored them; all or none."""
        documents = [_describe_job(record) for record in records]
        if documents:
            self.calculations.update(documents, key=["uuid", "index"])

    def list_registry_scans(self) -> Iterator[RegistryScan]:
        """Return all stored registry scans."""
        found = self.calculations.query({"output.kind": "registry screening"})
        yield from _read_sound(lambda document: read_registry_scan(_take_output(document)), found)

    def _find_records(self, key: str) -> Iterator[StoredRecord]:
        """Yield the sound records of a key; a damaged index may lead to others."""
        found = self.calculations.query({"output.key": key})
        records = _read_sound(lambda document: read_record(_take_output(document)), found)
        yield from (record for record in records if record.key == key)

    def save_stabilization(self, document: StabilizationDoc) -> str | None:
        """Keep a result; one of the same id that answers another question becomes a revision.

        Returns
        -------
        str or None
            The id by which the earlier result can be asked for from now on; None: there is none, or it was an answer to
            the same question and is replaced.
        """
        kept = None
        for earlier in _read_sound(read_stabilization, self.stabilizations.query({"id": document.id})):
            if not is_same_question(earlier, document):
                kept = self._keep_revision(earlier)
        save_document(self.stabilizations, document)
        return kept

    def _keep_revision(self, document: StabilizationDoc) -> str:
        """Keep a result under the number that its question has, or under the next one."""
        known = self.list_revisions(document)
        same = (each.id for each in known if is_same_question(each, document))
        kept = next(same, name_revision(document.id, len(known) + 1))
        save_document(self.revisions, document.model_copy(update={"id": kept}))
        return kept

    def list_revisions(self, result: StabilizationDoc) -> list[StabilizationDoc]:
        """Return the earlier revisions of a result, the oldest first."""
        found = _read_sound(read_stabilization, self.revisions.query({"study.name": result.study.name}))
        mine = [each for each in found if is_revision_of(each.id, result.id)]
        return sorted(mine, key=lambda each: int(each.id.rpartition(MARK)[2]))

    def find_stabilizations(self, study: str) -> list[StabilizationDoc]:
        """Return the result of an id such as ``study@facet+variant`` or of a revision, else all of a study, by id.

        Variants, the same study asked with another engine, are studies of their own: ``study+variant``.

        Raises
        ------
        DamagedDocumentError
            If one was changed after it was stored, or contradicts itself.
        """
        for store in (self.stabilizations, self.revisions):
            exact = [read_consistent(document) for document in store.query({"id": study})]
            if exact:
                return exact
        found = self.stabilizations.query({"study.name": study.partition("+")[0]}, sort={"id": 1})
        return [result for result in map(read_consistent, found) if result.study.id == study]

    def list_stabilizations(self) -> list[StabilizationDoc]:
        """Return all sound results, by id; damaged ones are left out and named."""
        return list(_read_sound(read_consistent, self.stabilizations.query({}, sort={"id": 1})))


def save_document(store: Collection, document: Record) -> None:
    """Keep a document with its checksum; an earlier one of the same id is replaced."""
    store.connect()
    store.update([seal(document.model_dump(mode="json"))], key="id")


def _describe_job(record: StoredRecord) -> dict[str, Any]:
    """Return what jobflow stores of a finished job."""
    return {
        "uuid": job_id(record.key, attempt=record.attempt),
        "index": 1,
        "output": seal(record.model_dump(mode="json")),
        "completed_at": record.finished_at,
        "metadata": {},
        "hosts": [],
        "name": record.task.label,
    }


def _read_job(document: dict[str, Any]) -> CalculationRecord:
    """Return the calculation of a job document; the rest of it, such as the names of classes, is not looked at."""
    return read_calculation(_take_output(document))


def _take_output(document: dict[str, Any]) -> dict[str, Any]:
    output = document.get("output") if isinstance(document, dict) else None
    if isinstance(output, dict):
        return output
    raise refuse_damaged("a stored calculation", "it holds no record")


def read_consistent(document: Mapping[str, Any]) -> StabilizationDoc:
    """Return a result that does not contradict itself.

    Raises
    ------
    DamagedDocumentError
        If it does, or was changed after it was stored.
    """
    result = read_stabilization(document)
    contradictions = list_contradictions(result)
    if contradictions:
        raise refuse_contradiction(result, contradictions)
    return result


def refuse_contradiction(document: StabilizationDoc, contradictions: Sequence[str]) -> DamagedDocumentError:
    """Return the error for a result that contradicts itself or its calculations."""
    more = f", and {len(contradictions) - 1} more" if len(contradictions) > 1 else ""
    return DamagedDocumentError(
        f"result {document.id} contradicts itself: {contradictions[0]}{more}",
        limit="every term, total and sentence must follow from the stored energies",
        why="nobody could say which of the numbers is the calculated one",
        remedy=f"qdip run {document.study.name} makes it anew from its calculations; or restore the file from a backup",
    )


def _read_sound(read: Callable[[dict[str, Any]], Read], documents: Iterable[dict[str, Any]]) -> Iterator[Read]:
    """Yield what can be read; a damaged document is named and left out, the others are as good as before."""
    for document in documents:
        try:
            yield read(document)
        except DamagedDocumentError as error:
            _warn_once(error.what)


@cache
def _warn_once(what: str) -> None:
    """Name a damaged document; a run asks for it again and again."""
    logger.warning("left out: %s (qdip db check names all such documents)", what)
