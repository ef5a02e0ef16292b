"""Text on its way to the terminal: nothing in it steers the terminal, and what an encoding lacks degrades.

Names come from files, codes and databases.  Escape sequences, control characters and marks that turn the direction of
writing are replaced; colours of our own pass where the output is a terminal.
"""

from __future__ import annotations

import codecs
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from qdip_dft.runtime.harmless import REPLACEMENT, make_harmless

_PLAIN: Final = {
    "−": "-", "–": "-", "—": "-", "×": "x", "·": ".", "±": "+-", "≤": "<=", "≥": ">=", "→": "->", "…": "...",
    "Δ": "d", "σ": "sigma", "μ": "mu", "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "Σ": "Sum", "∂": "d",
    "─": "-", "│": "|", "✓": "+", REPLACEMENT: "?",
}  # fmt: skip
"""What our own signs become where an encoding lacks them; letters lose their accents, everything else becomes ``?``."""

_DEGRADING: Final = "qdip-degrade"


class HarmlessStream:
    """A text stream that prints nothing that steers the terminal.

    Parameters
    ----------
    stream
        Where the text goes.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._has_colours = bool(getattr(stream, "isatty", lambda: False)())

    def write(self, text: str) -> int:
        """Write the text without what steers."""
        self._stream.write(make_harmless(text, has_colours=self._has_colours))
        return len(text)

    @property
    def own(self) -> Any:
        """The stream itself, for a live display that moves the cursor and takes harmless text only."""
        return self._stream

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own."""
        return getattr(self._stream, name)


@contextmanager
def harmless_output() -> Iterator[None]:
    """Let standard output and error pass through `HarmlessStream`, in any encoding."""
    codecs.register_error(_DEGRADING, _degrade)
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_DEGRADING)
    sys.stdout, sys.stderr = (HarmlessStream(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _degrade(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(map(_degrade_sign, lost)), error.end


def _degrade_sign(sign: str) -> str:
    if sign in _PLAIN:
        return _PLAIN[sign]
    plain = unicodedata.normalize("NFKD", sign).encode("ascii", errors="ignore").decode()
    return plain or "?"
