"""The four terms of a candidate as a vector with names."""

from __future__ import annotations

from qdip_dft.model.base import Record
from qdip_dft.model.term_names import TERM_COLUMNS, TERM_FIELDS, TERM_NAMES


class Terms(Record):
    """The four terms and their sum, in eV per formula unit; None where a calculation is missing."""

    bulk_ev_per_fu: float | None
    strain_ev_per_fu: float | None
    surface_ev_per_fu: float | None
    binding_ev_per_fu: float | None
    total_ev_per_fu: float | None

    @classmethod
    def add_up(cls, *parts: float | None) -> Terms:
        """Return four terms with their sum; None as soon as one is missing."""
        total = None if None in parts else sum(part for part in parts if part is not None)
        return Terms(**dict(zip(TERM_FIELDS, parts, strict=True)), total_ev_per_fu=total)

    def __getitem__(self, name: str) -> float | None:
        """A term, or the sum by the name ``total``."""
        value: float | None = getattr(self, f"{name}_ev_per_fu")
        return value

    def __sub__(self, other: Terms) -> Terms:
        """Difference, term by term, the sums too."""
        return Terms(**{f"{name}_ev_per_fu": _subtract(self[name], other[name]) for name in TERM_COLUMNS})

    def count_from(self, bulk_ev_per_fu: float) -> Terms:
        """Return the terms with bulk and total counted from a bulk energy in eV per formula unit."""
        moved = {name: _subtract(self[name], bulk_ev_per_fu) for name in ("bulk", "total")}
        return self.model_copy(update={f"{name}_ev_per_fu": value for name, value in moved.items()})

    def known(self) -> dict[str, float]:
        """Return the terms that are there by name."""
        return {name: value for name in TERM_NAMES if (value := self[name]) is not None}


def _subtract(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second
