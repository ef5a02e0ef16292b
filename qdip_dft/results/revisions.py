"""Which results are answers to one question: a changed study makes a new revision, and the old one is kept."""

from __future__ import annotations

from qdip_dft.model.stabilization import StabilizationDoc

MARK = "~"
"""Stands between the id of a result and the number of an earlier revision, the oldest being 1: ``pbs-fapbi3@111~1``."""


def name_revision(result_id: str, number: int) -> str:
    """The id of an earlier revision of a result."""
    return f"{result_id}{MARK}{number}"


def is_revision_of(revision_id: str, result_id: str) -> bool:
    """Whether an id is that of an earlier revision of a result."""
    head, mark, number = revision_id.rpartition(MARK)
    return bool(mark) and head == result_id and number.isdecimal()


def is_same_question(one: StabilizationDoc, other: StabilizationDoc) -> bool:
    """Whether two results of one id answer the same: the same study, crystals, level of theory and settings.

    The words of the question do not count, nor how far the calculations have come: what both name must be the same.
    """
    asked, again = (doc.study.model_copy(update={"question": ""}) for doc in (one, other))
    is_same_level = one.theory is None or other.theory is None or one.theory == other.theory
    common = one.calculations.keys() & other.calculations.keys()
    return (
        asked == again
        and is_same_level
        and one.formula_version == other.formula_version
        and one.relaxation_settings == other.relaxation_settings
        and all(one.calculations[step] == other.calculations[step] for step in common)
    )
