"""What the commands print: tables for people, JSON for programs, errors in four parts."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from qdip_dft.runtime.harmless import escape_steering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from qdip_dft.errors import QdipError


def console() -> Console:
    """Return a console for standard output; plain text when it is not a terminal."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


def progress_console() -> Console:
    """Return a console for the progress on standard error, which may move the cursor."""
    from rich.console import Console

    return Console(file=getattr(sys.stderr, "own", sys.stderr), highlight=False)


def write_json(value: Any) -> None:
    """Write a value as JSON to standard output."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(f"{escape_steering(text)}\n")


def write_error(error: QdipError) -> None:
    """Write the four parts of an error to standard error."""
    parts = (("Error", error.what), ("Limit", error.limit), ("Why", error.why), ("What to do", error.remedy))
    for title, text in parts:
        sys.stderr.write(f"{title + ':':<12}{text}\n")


def write_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str] = (), caption: str | None = None
) -> None:
    """Write a table as aligned columns, one line per row however long it is.

    Thousands of rows take milliseconds; rich, which wraps every cell, takes a minute for ten thousand results.

    Parameters
    ----------
    headings
        Of the columns.
    rows
        The cells.
    numbers
        Headings of the columns that are aligned to the right.
    caption
        A line below.
    """
    lines = [[_make_printable(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [">" if heading in numbers else "<" for heading in headings]
    written = [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, aligned, widths, strict=True)).rstrip()
        for line in lines
    ]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    parts = [written[0], rule, *written[1:], *([] if caption is None else [caption])]
    sys.stdout.write("".join(f"{part}\n" for part in parts))


def write_line(text: str) -> None:
    """Write a line to standard output, however long it is."""
    sys.stdout.write(f"{_make_printable(text)}\n")


def _make_printable(text: str) -> str:
    """Replace what would steer the terminal: names come from files and databases."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "�" for sign in text)
