"""The table of contents of a provenance bundle."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from qdip_dft.model.base import Record

BUNDLE_SCHEMA_VERSION: Final = 1
BUNDLE_FORMAT: Final = "qdip-bundle"


class BundleMember(Record):
    """One file of a bundle.

    Parameters
    ----------
    name
        Path inside the bundle.
    size_bytes
        Its length.
    sha256
        SHA-256 of its content (hex).
    """

    name: str
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class BundleManifest(Record):
    """What a bundle holds.

    Parameters
    ----------
    format, schema_version
        What kind of file this is, and the version of its layout.
    results
        Ids of the results in it.
    document_versions
        Schema versions of the documents, by kind, and the version of the formulas of the terms.
    members
        Every file but the manifest itself, by name.
    """

    format: Literal["qdip-bundle"] = BUNDLE_FORMAT
    schema_version: Literal[1] = BUNDLE_SCHEMA_VERSION
    results: tuple[str, ...] = Field(min_length=1)
    document_versions: dict[str, tuple[int, ...]]
    members: tuple[BundleMember, ...]
