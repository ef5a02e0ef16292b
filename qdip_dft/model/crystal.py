"""A crystal as a calculation carries it: atoms, formula units and formal charges, independent of any file."""

from __future__ import annotations

from qdip_dft.model.base import Record
from qdip_dft.model.structure import StructureRecord


class CrystalRecord(Record):
    """A material or phase.

    Parameters
    ----------
    id
        Catalogue id or file name.
    structure
        Conventional cell; Miller indices refer to it.
    formula_units
        Formula units in this cell.
    formal_charges
        Formal charge in e by ion label, such as ``{"FA": 1, "Pb": 2, "I": -1}``.
    bulk_modulus_gpa
        Bulk modulus in GPa; None if unknown.
    """

    id: str
    structure: StructureRecord
    formula_units: int
    formal_charges: dict[str, int]
    bulk_modulus_gpa: float | None = None

    @property
    def composition_per_fu(self) -> dict[str, float]:
        """Atoms of each element in one formula unit."""
        species = self.structure.species
        return {symbol: species.count(symbol) / self.formula_units for symbol in sorted(set(species))}
