"""The `qdip` command."""

from __future__ import annotations

from qdip_dft.cli.entry import main

__all__ = ["main"]
