"""Text in which nothing steers a terminal: names come from files, codes and databases.

Escape sequences, control characters and marks that turn the direction of writing are replaced.
"""

from __future__ import annotations

import re
from typing import Final

_COLOUR = r"\x1b\[(?:[0-7]|9|2[2-79]|[34][0-79]|9[0-7]|10[0-7])(?:;[0-9]{1,3}){0,8}m|\x1b\[0m"
_STEERING = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
_ANY: Final = re.compile(_STEERING)
_ALL_BUT_COLOURS: Final = re.compile(f"({_COLOUR})|{_STEERING}")

REPLACEMENT: Final = "�"
"""Stands where something would steer the terminal."""


def make_harmless(text: str, *, has_colours: bool = False) -> str:
    """Text without anything that steers a terminal, tabs and line feeds excepted.

    Parameters
    ----------
    text
        What is to be printed.
    has_colours
        Whether plain colours pass.
    """
    if not has_colours:
        return _ANY.sub(REPLACEMENT, text)
    return _ALL_BUT_COLOURS.sub(lambda match: match[1] or REPLACEMENT, text)


def escape_steering(text: str) -> str:
    """JSON text in which everything that steers a terminal is written as an escape: the value stays what it is."""
    return _ANY.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
