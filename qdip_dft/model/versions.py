"""Versions of stored documents that must be known without loading their schemas."""

from __future__ import annotations

from typing import Final

STABILIZATION_SCHEMA_VERSION: Final = 5
