"""What is wrong with a study or campaign, in words: each mistake once, with its key and its line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from qdip_dft.model.study_versions import RENAMED_IN_FILM
from qdip_dft.yaml_text import Location, WrittenYaml

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


def list_mistakes(error: ValidationError, written: WrittenYaml) -> list[str]:
    """The mistakes of a file, one a key, such as ``film.min_thickness_ang (line 7): ...``.

    A key that may hold several kinds of value fails for each of them; what is said of it stands together.

    Parameters
    ----------
    error
        What a record refuses.
    written
        The file.
    """
    said: dict[str, list[str]] = {}
    found = [(tuple(_keep_keys(detail, written.content)), detail) for detail in error.errors()]
    for location, detail in found:
        if detail["type"] == "too_short" and _has_inner(location, found):
            continue  # a list is not empty because an entry of it is wrong
        words = said.setdefault(_name_place(location, written), [])
        message = _explain(detail, written.find_text(location))
        if message not in words:
            words.append(message)
    return [f"{place}: {', or '.join(words)}" for place, words in said.items()]


def _has_inner(location: Location, found: list[tuple[Location, ErrorDetails]]) -> bool:
    return any(len(other) > len(location) and other[: len(location)] == location for other, _ in found)


def _keep_keys(detail: ErrorDetails, content: Any) -> Iterator[int | str]:
    """The keys of the file on the way to a mistake, without the names of the kinds of value that were tried."""
    *way, last = detail["loc"] or ("",)
    for key in way:
        part = _name_in_file(key, content)
        if _has(content, part):
            yield part
            content = content[part]
    part = _name_in_file(last, content)
    if _has(content, part) or (detail["type"] == "missing" and part):
        yield part


def _name_in_file(key: int | str, content: Any) -> int | str:
    """What a study of version 1 calls a key."""
    old = (old for old, new in RENAMED_IN_FILM.items() if new == key and _has(content, old))
    return next(old, key)


def _has(content: Any, part: int | str) -> bool:
    if isinstance(content, dict):
        return part in content
    return isinstance(content, list) and isinstance(part, int) and part < len(content)


def _name_place(location: Location, written: WrittenYaml) -> str:
    """Where a mistake is, such as ``dots.1 (PbSe).facets (line 8)``."""
    words, content = [], written.content
    for part in location:
        content = content[part] if _has(content, part) else None
        name = _name_entry(content) if isinstance(part, int) else None
        words.append(f"{part} ({name})" if name else str(part))
    line = written.find_line(location)
    return (".".join(words) or "the file") + ("" if line is None or not location else f" (line {line})")


def _name_entry(content: Any) -> str | None:
    names = (content.get(key) for key in ("material", "host", "phase")) if isinstance(content, dict) else ()
    return next((name for name in names if isinstance(name, str)), None)


def _explain(detail: ErrorDetails, text: str | None) -> str:
    """What is wrong, and for a name that YAML reads as something else the cure."""
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "string_type" and text:
        return f'YAML reads `{text}` as {_name_kind(detail["input"])}; write "{text}" in quotes'
    return message


def _name_kind(value: Any) -> str:
    return "a truth value" if isinstance(value, bool) else "nothing" if value is None else "a number"
