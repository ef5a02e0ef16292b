"""Results of an older formula, made anew from their own stored calculations.

Nothing is calculated.  A result whose calculations are not all stored, or not under the keys that its study asks for
today (another version of a code, a term that is new), keeps the version it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from math import isclose

from qdip_dft.errors import QdipError
from qdip_dft.execution.remaking import remake_results
from qdip_dft.model.stabilization import FORMULA_VERSION, StabilizationDoc
from qdip_dft.model.term_names import TERM_FIELDS
from qdip_dft.results.archive import Archive

SAME_TERM_EV_PER_FU = 1e-9
"""Own terms that are made anew from the same energies differ by rounding alone."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What became of one result.

    Parameters
    ----------
    id
        The result.
    reason
        Why it keeps its version; None: it is of the present one now.
    """

    id: str
    reason: str | None


def upgrade_results(archive: Archive) -> tuple[Upgrade, ...]:
    """Bring every result of an older formula up to date whose calculations are stored.

    Parameters
    ----------
    archive
        Where the results are.
    """
    older = [doc for doc in archive.list_stabilizations() if doc.formula_version < FORMULA_VERSION]
    ordered = sorted(older, key=lambda doc: (doc.study.id, doc.id))
    studies = [list(documents) for _, documents in groupby(ordered, key=lambda doc: doc.study.id)]
    return tuple(upgrade for documents in studies for upgrade in _upgrade_study(archive, documents))


def _upgrade_study(archive: Archive, documents: list[StabilizationDoc]) -> list[Upgrade]:
    try:
        made = remake_results(documents, archive.find_record)
    except QdipError as error:
        return [Upgrade(document.id, f"{error.what}: {error.remedy}") for document in documents]
    if isinstance(made, str):
        return [Upgrade(document.id, made) for document in documents]
    return [_replace(archive, document, made.get(document.id)) for document in documents]


def _replace(archive: Archive, old: StabilizationDoc, new: StabilizationDoc | None) -> Upgrade:
    if new is None or not _has_same_terms(old, new):
        return Upgrade(old.id, f"its films are other ones today: qdip run {old.study.name}")
    archive.save_stabilization(new)
    return Upgrade(old.id, None)


def _has_same_terms(old: StabilizationDoc, new: StabilizationDoc) -> bool:
    """Return whether every film has its own terms again; the formula moves nothing but their comparison.

    The label was the id of a film in documents of before.
    """
    films = {result.candidate.label: result for result in new.candidates}
    pairs = [(result, films.get(result.candidate.label)) for result in old.candidates]
    return all(
        other is not None and all(_agree(getattr(result, name), getattr(other, name)) for name in TERM_FIELDS)
        for result, other in pairs
    )


def _agree(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return isclose(one, other, rel_tol=0.0, abs_tol=SAME_TERM_EV_PER_FU)
