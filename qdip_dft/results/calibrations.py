"""Calibrations of potentials in their store: one per result and reference engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdip_dft.results.migrations import read_calibration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qdip_dft.model.calibration import Calibration
    from qdip_dft.model.stabilization import StabilizationDoc
    from qdip_dft.results.collection import Collection


def list_calibrations(store: Collection) -> tuple[Calibration, ...]:
    """Return all calibrations by id; see `read_calibration`."""
    store.connect()
    return tuple(map(read_calibration, store.query({}, sort={"id": 1})))


def list_held(documents: Iterable[StabilizationDoc]) -> tuple[Calibration, ...]:
    """Return the calibrations that results rest on and bring with them, each once."""
    stated = (document.uncertainty for document in documents)
    held = (calibration for each in stated if each is not None for calibration in each.calibrations)
    return tuple({calibration.id: calibration for calibration in held}.values())
