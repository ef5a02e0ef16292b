"""Everything that the results of a study rest on: its documents and every calculation, found by their keys."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pydantic import JsonValue

from qdip_dft.errors import ResultsError
from qdip_dft.model.base import Record
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.registry import RegistryScan
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.stored import StoredRecord

if TYPE_CHECKING:
    from qdip_dft.results.archive import Archive

AnyRecord = TypeVar("AnyRecord", bound=Record)

_WORD = r"""[^\\/\s'":,;()<>|]+"""
_PATH = re.compile(
    rf"""
    (?: (?<![\w./\\)~]) | (?<=file://) )      # not inside a word, a ratio or a label such as A(100)//B(001)
    (?: ~ | [A-Za-z]:(?=[\\/]) | /{_WORD} )   # home folder, drive, or first folder
    (?: [\\/]{_WORD} )* [\\/] (?P<name>{_WORD})
    """,
    re.VERBOSE,
)
"""An absolute path: it names people and machines."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The results of a study and what they rest on.

    Parameters
    ----------
    documents
        The results, one per facet, by id.
    calculations
        Every calculation, by key.
    registry_scans
        Every registry scan, by key.
    """

    documents: tuple[StabilizationDoc, ...]
    calculations: tuple[CalculationRecord, ...]
    registry_scans: tuple[RegistryScan, ...] = ()

    @property
    def records(self) -> tuple[StoredRecord, ...]:
        """Return calculations and registry scans."""
        return (*self.calculations, *self.registry_scans)


def gather_evidence(archive: Archive, result_id: str) -> Evidence:
    """Return a stored result and every calculation that it rests on; absolute paths in texts become bare file names.

    Parameters
    ----------
    archive
        Where the results are stored.
    result_id
        Name of a study (all its facets), or one result as ``study@facet``.

    Raises
    ------
    ResultsError
        If there is no such result, or a calculation that it names is not stored.
    """
    documents = archive.find_stabilizations(result_id)
    if not documents:
        raise _unknown(result_id, [document.id for document in archive.list_stabilizations()])
    found = archive.find_calculations(set().union(*map(list_keys, documents)))
    scans = {key: archive.find_record(key) for document in documents for key in list_registry_scan_keys(document)}
    registry_scans = {key: record for key, record in scans.items() if isinstance(record, RegistryScan)}
    needed = {key for document in documents for key in document.calculations.values()} | set(scans)
    if needed - set(found) - set(registry_scans):
        raise _incomplete(result_id, min(needed - set(found) - set(registry_scans)))
    return Evidence(
        documents=tuple(hide_paths(document) for document in sorted(documents, key=lambda document: document.id)),
        calculations=tuple(hide_paths(found[key]) for key in sorted(found)),
        registry_scans=tuple(hide_paths(registry_scans[key]) for key in sorted(registry_scans)),
    )


def list_keys(document: StabilizationDoc) -> set[str]:
    """Return the keys of all calculations that a result names."""
    keys = set(document.calculations.values())
    for result in document.candidates:
        keys |= set(result.calculations.values())
    if document.decomposition is not None:
        keys |= set(document.decomposition.calculations.values())
    return keys


def list_registry_scan_keys(document: StabilizationDoc) -> set[str]:
    """Return the keys of the registry scans that a result names."""
    return {result.registry.key for result in document.candidates if result.registry is not None}


def hide_paths(record: AnyRecord) -> AnyRecord:
    """Return a record in whose texts every absolute path is only the name of the file; numbers stay as they are."""
    return type(record).model_validate(_hide_paths(record.model_dump(mode="json")))


def _hide_paths(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return _PATH.sub(r"\g<name>", value)
    if isinstance(value, dict):
        return {_PATH.sub(r"\g<name>", name): _hide_paths(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_hide_paths(part) for part in value]
    return value


def _unknown(result_id: str, known: Iterable[str]) -> ResultsError:
    return ResultsError(
        f"no result called {result_id!r}",
        limit=f"stored here: {', '.join(known) or 'none yet'}",
        why="only stored results can be exported",
        remedy=f"qdip run {result_id}, or choose another folder with --results",
    )


def _incomplete(result_id: str, key: str) -> ResultsError:
    return ResultsError(
        f"calculation {key} of {result_id} is not stored here",
        limit="every calculation that a result names must be stored beside it",
        why="a number without its calculations is no evidence",
        remedy="run the study again with `qdip run`, which calculates what is missing, then export",
    )
