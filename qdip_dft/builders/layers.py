"""Chemical layers of a slab: one definition for terminations, tables, pictures and reports.

The outermost layer of a face holds the ions within `LAYER_THICKNESS_ANG` of the outermost one (a polar face: within the
gap between its planes).  What is named so when a film is cut is found again in the built or relaxed film, whose ions
lie a little higher or lower.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from math import gcd

LAYER_THICKNESS_ANG = 1.5
"""Depth of the outermost chemical layer of a non-polar face, counted from the outermost centre."""

RELAXATION_ALLOWANCE_ANG = 0.5
"""How much thicker strain and relaxation may make a layer."""


def name_composition(labels: Sequence[str], *, anions: Collection[str]) -> str:
    """The ions of a layer per smallest whole unit, cations first, such as ``PbI2``."""
    counts = Counter(labels)
    divisor = gcd(*counts.values())
    ordered = sorted(counts, key=lambda label: (label in anions, label))
    return "".join(f"{label}{_number(counts[label] // divisor)}" for label in ordered)


def _number(count: int) -> str:
    return str(count) if count > 1 else ""


def count_outer_layer(
    labels: Sequence[str], depths_ang: Sequence[float], *, name: str, anions: Collection[str]
) -> int | None:
    """How many ions, counted from a face, are the outermost layer of a name; None where the face has no such layer.

    Parameters
    ----------
    labels
        The ions from the face inwards.
    depths_ang
        Their depths below the outermost one in Å, ascending.
    name
        Composition of the layer, as `name_composition` writes it.
    anions
        The labels of anions.
    """
    alike = [count for count in range(1, len(labels) + 1) if name_composition(labels[:count], anions=anions) == name]
    within = [count for count in alike if depths_ang[count - 1] <= LAYER_THICKNESS_ANG]
    slightly_beyond = [
        count for count in alike if depths_ang[count - 1] <= LAYER_THICKNESS_ANG + RELAXATION_ALLOWANCE_ANG
    ]
    return within[-1] if within else next(iter(slightly_beyond), None)
