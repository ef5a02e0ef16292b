"""The `qdip` command."""

from __future__ import annotations

from qdip_dft.cli.app import main

__all__ = ["main"]
