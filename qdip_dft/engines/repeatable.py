"""Networks that give the same numbers from call to call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """Make sums over pairs run in a fixed order: else two threads change the forces by 3e-7 eV/Å from call to call."""
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    is_warning_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=is_warning_only)
