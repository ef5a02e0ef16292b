"""Averages of correlated series, such as the energies of a trajectory, with honest errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST_BLOCKS = 8
"""With fewer blocks the error itself is uncertain by more than a quarter."""

DISCARDS = np.linspace(0.0, 0.5, 11)
"""Shares of a series that may be its approach to equilibrium."""


@dataclass(frozen=True, slots=True)
class Average:
    """A mean with its standard error.

    Parameters
    ----------
    mean, error
        In the unit of the series.
    n_discarded
        Values at the start that were left out.
    """

    mean: float
    error: float
    n_discarded: int


def average_equilibrated(values: Sequence[float]) -> Average:
    """Return the mean of a series after its approach to equilibrium.

    So much is left out at the start that the error of the rest is least: more would waste equilibrated values, less
    would let the drift into the error (after Chodera, J. Chem. Theory Comput. 2016, 12, 1799).
    """
    found = (_average_after(np.asarray(values, dtype=float), int(share * len(values))) for share in DISCARDS)
    return min(found, key=lambda average: average.error)


def _average_after(values: np.ndarray, n_discarded: int) -> Average:
    kept = values[n_discarded:]
    return Average(float(kept.mean()), block_error(kept), n_discarded)


def block_error(values: np.ndarray) -> float:
    """Return the standard error of the mean by blocking (Flyvbjerg and Petersen, J. Chem. Phys. 1989, 91, 461).

    Neighbours are averaged in pairs again and again; the error grows until the blocks no longer remember each other.
    The largest is taken.
    """
    blocks, largest = values, 0.0
    while len(blocks) >= FEWEST_BLOCKS:
        largest = max(largest, float(blocks.std(ddof=1) / np.sqrt(len(blocks))))
        even = len(blocks) // 2 * 2
        blocks = blocks[:even].reshape(-1, 2).mean(axis=1)
    return largest
