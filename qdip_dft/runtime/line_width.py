"""How long a line may be: the width of the terminal, or of ``COLUMNS``; elsewhere, for programs, no line is broken."""

from __future__ import annotations

import re
import shutil
import textwrap


def find_width() -> int | None:
    """The columns of the terminal; None where the output goes elsewhere."""
    return shutil.get_terminal_size(fallback=(0, 0)).columns or None


def wrap_line(text: str, *, indent: int) -> str:
    """Break a line between words; paths, and commands between backticks, stay whole, so that they can be copied.

    Parameters
    ----------
    text
        One line.
    indent
        Of the lines that follow the first, in columns.
    """
    width = find_width()
    if width is None or len(text) <= width:
        return text
    whole = re.sub(r"`[^`]+`", lambda command: command[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(
        whole, max(width, 2 * indent), subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines).replace("\0", " ")
