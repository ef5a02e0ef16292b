"""Studies of earlier versions in the words of the present one; nothing that is calculated changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

NEWEST_STUDY_VERSION: Final = 2

RENAMED_IN_FILM = {"registry_shifts": "registries", "registry": "registry_scan"}
"""Keys of ``film`` in version 1, and what they are called since version 2."""

MEANT_BY_VERSION_1: dict[str, Any] = {
    "environment": "capped",
    "check_minima": False,
    "terms_only": True,
    "bulk": "engine",
}
"""What a study of version 1 meant without saying so: films under vacuum, bulks taken for minima and from
the engine, no competitor."""


def translate_study(content: Mapping[str, Any]) -> dict[str, Any]:
    """The study of version 1 in the words of version 2; any other as it is.

    Parameters
    ----------
    content
        A study as plain data; not changed.
    """
    version = content.get("schema_version")
    if version is True or version != 1:  # true equals 1
        return dict(content)
    translated = {**MEANT_BY_VERSION_1, **content, "schema_version": NEWEST_STUDY_VERSION}
    if isinstance(content.get("film"), Mapping):
        translated["film"] = {_rename(key, content["film"]): value for key, value in content["film"].items()}
    return translated


def _rename(key: str, film: Mapping[str, Any]) -> str:
    """What a key is called now; one that stands beside its new name stays, so that it is refused."""
    new = RENAMED_IN_FILM.get(key, key)
    return key if new in film else new
