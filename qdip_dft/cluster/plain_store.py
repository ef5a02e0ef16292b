"""jobflow's view of the group's calculations, without the power to import: outputs are plain data or refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobflow import JobStore

from qdip_dft.cluster.stored_job import require_plain


class PlainJobStore(JobStore):
    """A job store whose outputs are plain data.

    jobflow turns what it reads into objects of whatever class a document names in ``@module``, wherever the one who
    wrote it wants; our jobs store plain data, so nothing of this is needed.
    """

    def query(self, *criteria: Any, **options: Any) -> Iterator[dict[str, Any]]:
        """Yield the documents.

        Raises
        ------
        ResultsError
            If an output names a class; nothing is imported then.
        """
        for document in super().query(*criteria, **options):
            require_plain(document.get("output"), what=f"the output of job {document.get('uuid')}")
            yield document
