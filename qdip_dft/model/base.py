"""The base of every record that is read from a file or stored."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen record that refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def is_missing(value: object) -> bool:
    """Whether a value is None; a field that came later is then left out, and documents stay as they were."""
    return value is None
