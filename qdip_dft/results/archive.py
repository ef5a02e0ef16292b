"""Finding and keeping records in any pair of maggma stores: the same questions on a laptop and on a database server.

Documents are data: they are validated as records on reading, and nothing named in them is imported or executed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.keys import job_id
from qdip_dft.model.registry import RegistryScan
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.stored import StoredRecord
from qdip_dft.results.migrations import read_calculation, read_record, read_registry_scan, read_stabilization

if TYPE_CHECKING:
    from qdip_dft.results.collection import Collection


@dataclass(frozen=True, slots=True)
class Archive:
    """The stored results.

    Parameters
    ----------
    calculations
        Store of the job documents, one per calculation; the record is in the field ``output``.
    stabilizations
        Store of the result documents, one per study and facet, key ``id``.
    """

    calculations: Collection
    stabilizations: Collection

    def connect(self) -> Archive:
        """Open both stores and make sure that keys are found fast."""
        self.calculations.connect()
        self.stabilizations.connect()
        self.calculations.ensure_index("output.key")
        self.stabilizations.ensure_index("id")
        return self

    def close(self) -> None:
        """Close both stores; a later question opens them again."""
        self.calculations.close()
        self.stabilizations.close()

    def find_calculation(self, key: str) -> CalculationRecord | None:
        """Return the stored record of a calculation: a usable attempt if there is one, else the latest."""
        found = [_read_job(doc) for doc in self.calculations.query({"output.key": key})]
        return max(found, key=lambda record: (record.is_usable, record.attempt), default=None)

    def find_calculations(self, keys: Iterable[str]) -> dict[str, CalculationRecord]:
        """Return the stored records of calculations by key; keys without one are left out."""
        found = ((key, self.find_calculation(key)) for key in sorted(set(keys)))
        return {key: record for key, record in found if record is not None}

    def find_record(self, key: str) -> StoredRecord | None:
        """Return the stored calculation or registry screening of a key, chosen in the same way."""
        found = [read_record(document["output"]) for document in self.calculations.query({"output.key": key})]
        return max(found, key=lambda record: (record.is_usable, record.attempt), default=None)

    def list_calculations(self) -> Iterator[CalculationRecord]:
        """Return all stored calculations; registry scans are not among them."""
        for document in self.calculations.query({"output.key": {"$exists": True}, "output.kind": {"$exists": False}}):
            yield _read_job(document)

    def save_records(self, records: Sequence[StoredRecord]) -> None:
        """Keep calculations and registry scans made elsewhere, as their jobs would have stored them; all or none."""
        documents = [_describe_job(record) for record in records]
        if documents:
            self.calculations.update(documents, key=["uuid", "index"])

    def list_registry_scans(self) -> Iterator[RegistryScan]:
        """Return all stored registry scans."""
        for document in self.calculations.query({"output.kind": "registry screening"}):
            yield read_registry_scan(document["output"])

    def save_stabilization(self, document: StabilizationDoc) -> None:
        """Keep a result; an earlier one of the same study, variant and facet is replaced."""
        self.stabilizations.update([document.model_dump(mode="json")], key="id")

    def find_stabilizations(self, study: str) -> list[StabilizationDoc]:
        """Return the result of an id such as ``study@facet+variant``, else all results of a study, by id."""
        exact = [read_stabilization(document) for document in self.stabilizations.query({"id": study})]
        if exact:
            return exact
        found = self.stabilizations.query({"study.name": study}, sort={"id": 1})
        return [read_stabilization(document) for document in found]

    def list_stabilizations(self) -> list[StabilizationDoc]:
        """Return all results, by id."""
        return [read_stabilization(document) for document in self.stabilizations.query({}, sort={"id": 1})]


def _describe_job(record: StoredRecord) -> dict[str, Any]:
    """Return what jobflow stores of a finished job."""
    return {
        "uuid": job_id(record.key, attempt=record.attempt),
        "index": 1,
        "output": record.model_dump(mode="json"),
        "completed_at": record.finished_at,
        "metadata": {},
        "hosts": [],
        "name": record.task.label,
    }


def _read_job(document: dict[str, Any]) -> CalculationRecord:
    """Return the calculation of a job document; the rest of it, such as the names of classes, is not looked at."""
    return read_calculation(document["output"])
