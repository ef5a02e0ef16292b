"""Errors that tell a scientist what to do next.

Every error of this package has four parts: what was wrong (value and unit), the limit it broke, why that
matters physically, and the remedy.  The command line prints them and leaves with exit code 2, or 3 where a run was
stopped and can go on.
"""

from __future__ import annotations

from typing import ClassVar


class QdipError(Exception):
    """Base of all errors that a user can cure.

    Parameters
    ----------
    what
        What was wrong, with its value and unit.
    limit
        The limit or rule that was broken.
    why
        The physical or practical consequence of going on.
    remedy
        What to do about it.
    """

    exit_code: ClassVar[int] = 2
    """What the command line leaves with: 2, something that was asked is wrong."""

    def __init__(self, what: str, *, limit: str, why: str, remedy: str) -> None:
        self.what = what
        self.limit = limit
        self.why = why
        self.remedy = remedy
        super().__init__(what, limit, why, remedy)

    def __str__(self) -> str:
        return f"{self.what}: {self.limit}; {self.why}; {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the four parts when the error crosses a process boundary."""
        return (_rebuild_error, (type(self), self.what, self.limit, self.why, self.remedy))


def _rebuild_error(kind: type[QdipError], what: str, limit: str, why: str, remedy: str) -> QdipError:
    return kind(what, limit=limit, why=why, remedy=remedy)


class StudyError(QdipError):
    """A study file cannot be read or asks for something impossible."""


class StructureError(QdipError):
    """A crystal structure is unknown, unreadable or unphysical."""


class MatchError(QdipError):
    """No common cell exists within the tolerances."""


class SlabError(QdipError):
    """A slab cannot be cut as asked."""


class ChargeBalanceError(SlabError):
    """The formal charges of a slab or interface do not sum to zero."""


class InterfaceError(QdipError):
    """An interface is geometrically unsound."""


class EngineError(QdipError):
    """An engine is missing, lacks a feature or failed."""


class StoppedError(QdipError):
    """A run has stopped before its end; what is finished is stored, and the same command goes on."""

    exit_code: ClassVar[int] = 3


class OutOfTime(StoppedError):  # noqa: N818 (no failure: the work goes on in another run)
    """The allocation ends before the next evaluation would."""


class OverlapError(EngineError):
    """Atoms lie on top of each other, where no energy exists."""


class MachineError(StoppedError):
    """The machine failed, not a calculation: nothing is stored of it, and it is tried again."""


class ScratchError(MachineError):
    """The disk where calculations keep what they have found is full or cannot be written; no calculation has failed."""


class LevelOfTheoryError(QdipError):
    """Energies of different levels of theory met in one difference."""


class ResultsError(QdipError):
    """The results folder or database cannot be used."""


class DamagedDocumentError(ResultsError):
    """A stored document or file was changed, cut short, or contradicts itself or its calculations."""


class ResultsDiskError(ResultsError, MachineError):
    """The disk of the results is full or fails."""


class FilterError(ResultsError):
    """A filter on results cannot be understood."""
