"""What the commands print: tables for people, JSON for programs, errors in four parts."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from qdip_dft.runtime.harmless import escape_steering
from qdip_dft.runtime.line_width import find_width, wrap_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from qdip_dft.errors import QdipError

NARROWEST_NAME = 16
"""The shortest that names in a table are cut to, in columns."""


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
        line = f"{title + ':':<12}{text}"
        sys.stderr.write(f"{wrap_line(line, indent=12)}\n")


def write_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str] = (), caption: str | None = None
) -> None:
    """Write a table as aligned columns, one line per row.

    Where it is wider than the terminal, units stand below their headings, and names in the first column go on in the
    next line.  Numbers have the minus that a spreadsheet reads.  Thousands of rows take milliseconds; rich, which
    wraps every cell, takes a minute for ten thousand results.

    Parameters
    ----------
    headings
        Of the columns.
    rows
        The cells.
    numbers
        Headings of the columns that are aligned to the right.
    caption
        What stands below, broken into lines where it is wider than the terminal.
    """
    is_number = [heading in numbers for heading in headings]
    head = [[_make_printable(heading) for heading in headings]]
    cells = [[_make_printable(cell) for cell in row] for row in rows]
    body = [[cell.replace("−", "-") if n else cell for cell, n in zip(row, is_number, strict=True)] for row in cells]
    width = find_width()
    if width is not None and _measure(head + body) > width:
        head = _put_units_below(head[0])
        body = _fold_names(body, n_too_many=_measure(head + body) - width)
    widths = _measure_columns(head + body)
    written = [
        "  ".join(f"{cell:{'>' if n else '<'}{w}}" for cell, n, w in zip(line, is_number, widths, strict=True)).rstrip()
        for line in head + body
    ]
    parts = [*written[: len(head)], "─" * _measure(head + body), *written[len(head) :]]
    if caption is not None:
        parts += [wrap_line(line, indent=0) for line in caption.split("\n")]
    sys.stdout.write("".join(f"{part}\n" for part in parts))


def _measure_columns(lines: list[list[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _measure(lines: list[list[str]]) -> int:
    """Return the columns of the terminal that a table takes."""
    return sum(_measure_columns(lines)) + 2 * (len(lines[0]) - 1)


def _put_units_below(headings: list[str]) -> list[list[str]]:
    halves = [heading.partition(" (") for heading in headings]
    return [[name for name, _, _ in halves], [unit.removesuffix(")") for _, _, unit in halves]]


def _fold_names(body: list[list[str]], *, n_too_many: int) -> list[list[str]]:
    """Let names in the first column that are too long go on in the next line, by characters."""
    longest = max((len(row[0]) for row in body), default=0)
    kept = max(longest - max(n_too_many, 0), NARROWEST_NAME)
    folded = []
    for name, *others in body:
        first, *rest = [name[start : start + kept] for start in range(0, max(len(name), 1), kept)]
        folded += [[first, *others], *([piece, *("" for _ in others)] for piece in rest)]
    return folded


def write_line(text: str) -> None:
    """Write a line to standard output; on a terminal it is broken where it is wider, and goes on indented."""
    indent = len(text) - len(text.lstrip()) + 2
    sys.stdout.write(f"{wrap_line(_make_printable(text), indent=indent)}\n")
    sys.stdout.flush()  # a long run may follow


def _make_printable(text: str) -> str:
    """Replace what would steer the terminal: names come from files and databases."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "�" for sign in text)
