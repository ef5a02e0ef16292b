"""How numbers are written for people."""

from __future__ import annotations


def write_signed(value: float | None, *, decimals: int = 3) -> str:
    """Return a number with its sign and a true minus; ``—`` where it is missing, no sign where it rounds to zero."""
    if value is None:
        return "—"
    text = f"{value:+.{decimals}f}"
    is_zero = not text.strip("+-0.")
    return text[1:] if is_zero else text.replace("-", "−")
