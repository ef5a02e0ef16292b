"""Putting the documents of a checked bundle into an archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdip_dft.errors import ResultsError
from qdip_dft.results.evidence import Evidence, hide_paths

if TYPE_CHECKING:
    from qdip_dft.model.stabilization import StabilizationDoc
    from qdip_dft.model.stored import StoredRecord
    from qdip_dft.results.archive import Archive


@dataclass(frozen=True, slots=True)
class RestoreSummary:
    """What a restoration did.

    Parameters
    ----------
    results
        Ids of the results of the bundle.
    n_written, n_skipped
        Documents written, and those that were stored already and are equal.
    """

    results: tuple[str, ...]
    n_written: int
    n_skipped: int


def restore_evidence(evidence: Evidence, archive: Archive) -> RestoreSummary:
    """Store the documents of a bundle; those that are stored already and equal are left as they are.

    Calculations come first, all at once: an interruption leaves no result without its evidence, and the same call goes
    on.

    Parameters
    ----------
    evidence
        The documents of `read_bundle`.
    archive
        Where to store them.

    Raises
    ------
    ResultsError
        If a different document is stored under the same id or key; nothing is written then.
    """
    new_results = [document for document in evidence.documents if _is_new_result(document, archive)]
    new_records = [record for record in evidence.records if _is_new_record(record, archive)]
    archive.save_records(new_records)
    for document in new_results:
        archive.save_stabilization(document)
    n_written = len(new_results) + len(new_records)
    n_all = len(evidence.documents) + len(evidence.records)
    names = tuple(document.id for document in evidence.documents)
    return RestoreSummary(results=names, n_written=n_written, n_skipped=n_all - n_written)


def _is_new_result(document: StabilizationDoc, archive: Archive) -> bool:
    stored = [found for found in archive.find_stabilizations(document.id) if found.id == document.id]
    if any(hide_paths(found) != document for found in stored):
        raise _different(f"result {document.id}")
    return not stored


def _is_new_record(record: StoredRecord, archive: Archive) -> bool:
    stored = archive.find_record(record.key)
    if stored is not None and hide_paths(stored) != record:
        raise _different(f"calculation {record.key} ({record.task.label})")
    return stored is None


def _different(what: str) -> ResultsError:
    return ResultsError(
        f"{what} is stored here already and differs from the bundle",
        limit="one id or key stands for one document",
        why="your own result would be replaced by somebody else's; nothing was written",
        remedy="import into another folder with --results DIR, and compare the two",
    )
