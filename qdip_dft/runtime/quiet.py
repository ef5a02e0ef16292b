"""Third parties that print and warn where nobody can act on it."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def third_parties_silent() -> Iterator[None]:
    """Show neither warnings nor standard output of what runs inside."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
