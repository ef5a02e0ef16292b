"""What a results store holds besides results."""

from __future__ import annotations

from collections.abc import Callable

from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.registry import RegistryScan

StoredRecord = CalculationRecord | RegistryScan
"""A calculation or a registry scan; only the latter has a ``kind``."""

LookUp = Callable[[str], StoredRecord | None]
"""Finds the record of a key; None: nothing is stored under it."""
