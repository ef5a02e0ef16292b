"""What a setting of an engine may be: the range in which it means something."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import JsonValue

from qdip_dft.errors import EngineError

RANGES: dict[str, tuple[float, float, str, str]] = {
    "k_spacing_per_ang": (
        0.01,
        3.0,
        "1/Å",
        "above it every crystal has one k-point, below it none can be paid for",
    ),
    "smearing_width_ev": (
        1e-4,
        1.0,
        "eV",
        "a wider one empties the bands of an insulator, a narrower one does nothing",
    ),
    "cutoff_ev": (50.0, 20000.0, "eV", "no pseudopotential is described with less, none needs more"),
    "relative_cutoff_ev": (50.0, 5000.0, "eV", "no Gaussian is described with less, none needs more"),
    "force_threshold_ev_per_ang": (1e-6, 0.5, "eV/Å", "above it nothing is relaxed, below it forces are noise"),
    "stress_threshold_gpa": (1e-5, 2.0, "GPa", "above it no cell is relaxed, below it stresses are noise"),
    "max_steps": (1, 100_000, "force evaluations", "no relaxation that is worth its time needs more"),
    "search_tries": (0, 100, "anneals", "what so many do not find needs another method"),
}
"""Least and largest value of each setting, its unit, and why."""


def require_in_range(settings: Mapping[str, JsonValue], *, place: Callable[[str], str]) -> None:
    """Refuse a setting of a study that means nothing physically, such as a force threshold of 1e9 eV/Å.

    Parameters
    ----------
    settings
        The settings of an engine as a study gives them.
    place
        Gives what errors call a setting, such as its key with its line.

    Raises
    ------
    EngineError
        If a number lies out of its range, or is none.
    """
    for name in sorted(settings.keys() & RANGES.keys()):
        least, largest, unit, why = RANGES[name]
        number = _read_number(settings[name])
        if number is None or not least <= number <= largest:
            raise EngineError(
                f"{place(name)} is {settings[name]!r}",
                limit=f"it is a number from {least:g} to {largest:g} {unit}",
                why=why,
                remedy=f"give `{name}` a number in this range, or leave it out for that of the preset",
            )


def _read_number(value: JsonValue) -> float | None:
    """A number, also one such as 1e-3, which YAML 1.1 reads as a word."""
    try:
        return None if isinstance(value, (bool, dict, list)) or value is None else float(value)
    except ValueError:
        return None
