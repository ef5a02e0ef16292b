"""What a check of this machine or of a cluster finds."""

from __future__ import annotations

from dataclasses import dataclass

from qdip_dft.errors import QdipError


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check.

    Parameters
    ----------
    what
        What was looked at, such as ``engine gpaw PBE``.
    is_ok
        Whether it is as it should be.
    finding
        What was found, and what to do about it.
    is_needed
        Whether a study with the default engine needs it.
    """

    what: str
    is_ok: bool
    finding: str
    is_needed: bool = True

    @classmethod
    def of_error(cls, what: str, error: QdipError, *, is_needed: bool = True) -> Finding:
        """Return what is not as it should be, with the cure."""
        return cls(what, is_ok=False, finding=f"{error.what}; {error.remedy}", is_needed=is_needed)
