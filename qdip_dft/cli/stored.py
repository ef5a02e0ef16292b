"""What commands read: the results folder and the results in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdip_dft.errors import ResultsError

if TYPE_CHECKING:
    from qdip_dft.model.stabilization import StabilizationDoc
    from qdip_dft.results.archive import Archive
    from qdip_dft.storage.results_folder import ResultsFolder


def open_folder(results: Path) -> ResultsFolder:
    """Return a results folder that exists: reading creates none.

    Raises
    ------
    ResultsError
        If there is none.
    """
    from qdip_dft.storage.results_folder import ResultsFolder

    if results.exists():
        return ResultsFolder(results)
    raise ResultsError(
        f"there is no results folder {results}",
        limit="this command reads what `qdip run` or `qdip import-bundle` stored",
        why="there is nothing to read",
        remedy="name the folder with --results DIR, or run a study first",
    )


def open_archive_of(folder: ResultsFolder) -> Archive:
    """Return the records of a results folder."""
    from qdip_dft.storage.results_folder import open_archive

    return open_archive(folder)


def make_look_up(results: Path) -> Any:
    """Return the look-up of a results folder; a folder that does not exist holds nothing and is not created."""
    if not results.exists():
        return lambda _: None
    return open_archive_of(open_folder(results)).find_record


def find_results(folder: ResultsFolder, result_id: str) -> list[StabilizationDoc]:
    """Return the result of an id, or all results of a study.

    Raises
    ------
    ResultsError
        If there is none; it names those that are stored.
    DamagedDocumentError
        If one contradicts itself or its stored calculations.
    """
    from qdip_dft.results.archive import refuse_contradiction
    from qdip_dft.results.retracing import retrace

    archive = open_archive_of(folder)
    documents = archive.find_stabilizations(result_id)
    for document in documents:
        contradictions = retrace(document, archive.find_record)
        if contradictions:
            raise refuse_contradiction(document, contradictions)
    if documents:
        return documents
    known = ", ".join(document.id for document in archive.list_stabilizations()) or "none yet"
    raise ResultsError(
        f"no result called {result_id!r}",
        limit=f"stored here: {known}",
        why="a report is drawn from stored results only",
        remedy=f"qdip run {result_id}, or choose another folder with --results",
    )
