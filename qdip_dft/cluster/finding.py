"""What a check of the cluster finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Parameters
    ----------
    what
        What was looked at.
    is_ok
        Whether it is as it should be.
    finding
        What was found, and what to do about it.
    """

    what: str
    is_ok: bool
    finding: str
