"""Opening results wherever they are: a results folder or a MongoDB database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qdip_dft.errors import ResultsError
from qdip_dft.results.fields import INDEXES
from qdip_dft.storage.mongo_address import is_mongo_uri, require_folder_name
from qdip_dft.storage.results_folder import ResultsFolder, open_archive

if TYPE_CHECKING:
    from qdip_dft.results.archive import Archive
    from qdip_dft.results.collection import Collection


def open_results(location: str | Path) -> Archive:
    """Return the results in a folder or a MongoDB database, ready for questions.

    Parameters
    ----------
    location
        An existing results folder, or an address such as ``mongodb://server.example.org/group``.

    Raises
    ------
    ResultsError
        If there is no such folder, or the server does not answer.

    Examples
    --------
    >>> archive = open_results("qdip-results")
    >>> [result.id for result in archive.list_stabilizations()]
    ['toy-study']
    """
    _require_folder(location)
    return make_results(location)


def open_stabilizations(location: str | Path, name: str = "stabilizations") -> Collection:
    """Return the result documents in a folder or a MongoDB database, or its ``revisions``; see `open_results`.

    Nothing else is loaded, so that a summary of all results appears at once.
    """
    _require_folder(location)
    if is_mongo_uri(location):
        return _open_mongo_stabilizations(str(location), name)
    return ResultsFolder(location).collection(name)


def make_results(location: str | Path) -> Archive:
    """Return the results in a folder or a MongoDB database; a folder that does not exist is created."""
    return _open_mongo(str(location)) if is_mongo_uri(location) else open_archive(ResultsFolder(location))


def _require_folder(location: str | Path) -> None:
    if is_mongo_uri(location) or Path(require_folder_name(location)).is_dir():
        return
    raise ResultsError(
        f"there is no results folder {location}",
        limit="results are read from a folder that a run has written, or from a MongoDB database",
        why="there is nothing to read",
        remedy="choose the folder with --results DIR, or run a study first: qdip run quickstart",
    )


def _open_mongo(uri: str) -> Archive:
    from qdip_dft.results.archive import Archive
    from qdip_dft.storage.mongo_store import MongoResultsStore

    calculations = MongoResultsStore(uri, "calculations", key="uuid")
    calculations.ensure_indexes([("uuid", "index")], is_unique=True)
    calculations.ensure_indexes([("output.key",)])
    return Archive(calculations, *(_open_mongo_stabilizations(uri, name) for name in ("stabilizations", "revisions")))


def _open_mongo_stabilizations(uri: str, name: str) -> Collection:
    from qdip_dft.storage.mongo_store import MongoResultsStore

    stabilizations = MongoResultsStore(uri, name, key="id")
    stabilizations.ensure_indexes([("id",)], is_unique=True)
    stabilizations.ensure_indexes([index for index in INDEXES if index != ("id",)])
    return stabilizations
