"""Finding and keeping records in any pair of maggma stores: the same questions on a laptop and on a database server.

Documents are data: they are validated as records on reading, and nothing named in them is imported or executed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from qdip_dft.errors import ResultsError
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.stabilization import StabilizationDoc

if TYPE_CHECKING:
    from maggma.core import Store


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

    calculations: Store
    stabilizations: Store

    def connect(self) -> Archive:
        """Open both stores and make sure that keys are found fast."""
        self.calculations.connect()
        self.stabilizations.connect()
        self.calculations.ensure_index("output.key")
        self.stabilizations.ensure_index("id")
        return self

    def find_calculation(self, key: str) -> CalculationRecord | None:
        """Return the stored record of a calculation: a usable attempt if there is one, else the latest."""
        found = [_read_calculation(doc) for doc in self.calculations.query({"output.key": key})]
        return max(found, key=lambda record: (record.is_usable, record.attempt), default=None)

    def find_calculations(self, keys: Iterable[str]) -> dict[str, CalculationRecord]:
        """Return the stored records of calculations by key; keys without one are left out."""
        found = ((key, self.find_calculation(key)) for key in sorted(set(keys)))
        return {key: record for key, record in found if record is not None}

    def list_calculations(self) -> Iterator[CalculationRecord]:
        """Return all stored calculations."""
        for document in self.calculations.query({"output.key": {"$exists": True}}):
            yield _read_calculation(document)

    def save_stabilization(self, document: StabilizationDoc) -> None:
        """Keep a result; an earlier one of the same study and facet is replaced."""
        self.stabilizations.update([document.model_dump(mode="json")], key="id")

    def find_stabilizations(self, study: str) -> list[StabilizationDoc]:
        """Return the results of a study, one per facet, or the one result of an id ``study@facet``."""
        found = self.stabilizations.query({"$or": [{"id": study}, {"study.name": study}]}, sort={"id": 1})
        return [_read_stabilization(document) for document in found]

    def list_stabilizations(self) -> list[StabilizationDoc]:
        """Return all results, by id."""
        return [_read_stabilization(document) for document in self.stabilizations.query({}, sort={"id": 1})]


def _read_calculation(document: dict[str, Any]) -> CalculationRecord:
    try:
        return CalculationRecord.model_validate(document["output"])
    except ValidationError as error:
        raise _unreadable(f"calculation {document.get('uuid', '?')}", error) from error


def _read_stabilization(document: dict[str, Any]) -> StabilizationDoc:
    fields = {name: value for name, value in document.items() if name not in {"_id", "last_updated"}}
    try:
        return StabilizationDoc.model_validate(fields)
    except ValidationError as error:
        raise _unreadable(f"result {document.get('id', '?')}", error) from error


def _unreadable(what: str, error: ValidationError) -> ResultsError:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return ResultsError(
        f"{what} cannot be read ({place}: {first['msg']})",
        limit="stored records must follow the schema of this version",
        why="a misread number would be worse than none",
        remedy="update qdip_dft, or choose another results folder with --results",
    )
