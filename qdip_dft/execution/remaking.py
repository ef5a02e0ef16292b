"""Results made anew from their own stored calculations, whole: to bring them up to date, or to check what they say.

Nothing is calculated.  A study can be made anew where it can be planned here and all its calculations are stored under
the keys that it asks for today: not where a file of its crystals is missing, or a code has another version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import isclose
from typing import Any, Final

from qdip_dft.analysis.uncertainty import CALIBRATED
from qdip_dft.errors import QdipError
from qdip_dft.model.stabilization import FORMULA_VERSION, StabilizationDoc
from qdip_dft.model.stored import LookUp
from qdip_dft.planning.plan import plan_study
from qdip_dft.results.calibrations import list_held

MADE_FROM_CALCULATIONS: Final = (
    "candidates", "decomposition", "stabilization", "chemical_potentials", "bx2_rich", "hull", "uncertainty",
)  # fmt: skip
"""The fields of a result whose numbers follow from its calculations."""

REL_TOLERANCE, ABS_TOLERANCE = 1e-6, 1e-7
"""Numbers made anew on another processor differ by rounding, which intervals and ratios enlarge."""


@dataclass(frozen=True, slots=True)
class Remade:
    """How a result compares with what its calculations give.

    Parameters
    ----------
    id
        The result.
    difference
        The first number that differs, in words; None: every number is the same.
    reason
        Why it cannot be made anew; None: it was.
    """

    id: str
    difference: str | None = None
    reason: str | None = None


def remake_results(documents: Sequence[StabilizationDoc], look_up: LookUp) -> dict[str, StabilizationDoc] | str:
    """Return the results of a study by id, made anew with the calibrations that they hold, or why that cannot be done.

    Parameters
    ----------
    documents
        The stored results of the study, at least one.
    look_up
        Finds stored records by their keys.

    Raises
    ------
    QdipError
        If the study cannot be planned here.
    """
    study = documents[0].study
    plan = replace(plan_study(study), calibrations=list_held(documents))
    resolution = plan.resolve(look_up)
    lacking = [*resolution.unfinished, *resolution.waiting]
    if lacking:
        return f"{len(lacking)} calculations are not stored, such as {lacking[0]}: qdip run {study.name}"
    return {made.id: made for made in plan.assemble(resolution)}


def compare_with_calculations(documents: Iterable[StabilizationDoc], look_up: LookUp) -> Iterator[Remade]:
    """Compare every number of results, error bar, hull and registry included, with what their calculations give.

    Parameters
    ----------
    documents
        The results; those of one study are made anew together.
    look_up
        Finds stored records by their keys.
    """
    ordered = sorted(documents, key=lambda document: (document.study.id, document.id))
    for _, group in groupby(ordered, key=lambda document: document.study.id):
        of_study = list(group)
        remade = _try_to_remake(of_study, look_up)
        for document in of_study:
            yield _compare(document, remade)


def _try_to_remake(documents: Sequence[StabilizationDoc], look_up: LookUp) -> dict[str, StabilizationDoc] | str:
    if documents[0].formula_version < FORMULA_VERSION:
        return f"it follows formula version {documents[0].formula_version}: qdip db upgrade"
    try:
        return remake_results(documents, look_up)
    except QdipError as error:
        return error.what


def _compare(document: StabilizationDoc, remade: dict[str, StabilizationDoc] | str) -> Remade:
    if isinstance(remade, str):
        return Remade(document.id, reason=remade)
    other = remade.get(document.id)
    if other is None:
        return Remade(document.id, reason="its study has other facets today")
    if _count_calibrations(document) != _count_calibrations(other):
        return Remade(
            document.id,
            reason=f"its error bar rests on calibrations that it does not hold: qdip run {document.study.name}",
        )
    stored, made = (each.model_dump(mode="json", include=set(MADE_FROM_CALCULATIONS)) for each in (document, other))
    differences = (next(_list_differences(name, stored[name], made[name]), None) for name in MADE_FROM_CALCULATIONS)
    return Remade(document.id, next(filter(None, differences), None))


def _count_calibrations(document: StabilizationDoc) -> int:
    components = () if document.uncertainty is None else document.uncertainty.components
    return sum(component.n_values for component in components if component.name == CALIBRATED)


def _list_differences(place: str, stored: Any, made: Any) -> Iterator[str]:
    """Yield where two values differ; words may be worded anew."""
    if isinstance(stored, dict) and isinstance(made, dict):
        for name in stored.keys() & made.keys():
            yield from _list_differences(f"{place}.{name}", stored[name], made[name])
    elif isinstance(stored, list) and isinstance(made, list) and len(stored) == len(made):
        for number, (one, other) in enumerate(zip(stored, made, strict=True)):
            yield from _list_differences(f"{place}[{number}]", one, other)
    elif isinstance(stored, str) and isinstance(made, str):
        return
    elif not _agree(stored, made):
        yield f"{place} is {_show(stored)}, its calculations give {_show(made)}"


def _agree(one: Any, other: Any) -> bool:
    if isinstance(one, float) or isinstance(other, float):
        numbers = (one, other)
        return all(isinstance(number, int | float) for number in numbers) and isclose(
            *numbers, rel_tol=REL_TOLERANCE, abs_tol=ABS_TOLERANCE
        )
    return bool(one == other)


def _show(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"{len(value)} values"
    return "missing" if value is None else str(value)
