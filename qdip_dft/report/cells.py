"""What stands in the tables of a report, known to pages that list results without reading them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qdip_dft.analysis.numbers import write_signed


@dataclass(frozen=True, slots=True)
class Cell:
    """One entry of a table.

    Parameters
    ----------
    text
        What is read; ``—`` where it is missing.
    value
        What it is sorted by; None: the text, or missing.
    is_marked
        Whether it is to stand out; its text says why without colour.
    """

    text: str
    value: float | None = None
    is_marked: bool = False


def write_numbers(values: Sequence[float | None], *, decimals: int = 3) -> tuple[Cell, ...]:
    """Return signed numbers as cells; ``—`` where one is missing."""
    return tuple(Cell(write_signed(value, decimals=decimals), value) for value in values)
