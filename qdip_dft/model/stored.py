"""What a results store holds besides results."""

from __future__ import annotations

from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.registry import RegistryScan

StoredRecord = CalculationRecord | RegistryScan
"""A calculation or a registry scan; only the latter has a ``kind``."""
