"""What the commands print: tables for people, JSON for programs, errors in four parts."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from qdip_dft.errors import QdipError


def console() -> Console:
    """Return a console for standard output; plain text when it is not a terminal."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


def write_json(value: Any) -> None:
    """Write a value as JSON to standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def write_error(error: QdipError) -> None:
    """Write the four parts of an error to standard error."""
    parts = (("Error", error.what), ("Limit", error.limit), ("Why", error.why), ("What to do", error.remedy))
    for title, text in parts:
        sys.stderr.write(f"{title + ':':<12}{text}\n")
