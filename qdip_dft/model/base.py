"""The base of every record that is read from a file or stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


class Record(BaseModel):
    """A frozen record that refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


NO_NUMBER = PydanticCustomError("truth_value", "true, false, yes, no, on and off are no numbers; write the number")

NO_TRUTH = PydanticCustomError("truth_value", "only true or false may stand here")


class WrittenRecord(Record):
    """A record that people write; ``true`` stands for no number, and no number or word for ``true``.

    YAML reads ``yes`` and ``on`` as truth values, and pydantic would take these for 1 and ``1`` for true.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _keep_truth_values(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        record = handler(data)
        given = data if isinstance(data, dict) else {}
        wrong = [
            InitErrorDetails(type=NO_NUMBER if isinstance(value, bool) else NO_TRUTH, loc=(name, *place), input=value)
            for name in given
            if name in record.__dict__
            for place, value in _find_changed_truths(given[name], record.__dict__[name])
        ]
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return record


def _find_changed_truths(given: Any, read: Any) -> Iterator[tuple[tuple[int | str, ...], Any]]:
    """Every value that is a truth value as given or as read, but not both, with its place."""
    if isinstance(given, (list, tuple)) and isinstance(read, (list, tuple)):
        for place, pair in enumerate(zip(given, read, strict=False)):
            yield from (((place, *inner), value) for inner, value in _find_changed_truths(*pair))
    elif not isinstance(given, (dict, BaseModel)) and isinstance(given, bool) is not isinstance(read, bool):
        yield (), given


def is_missing(value: object) -> bool:
    """Whether a value is None; a field that came later is then left out, and documents stay as they were."""
    return value is None
