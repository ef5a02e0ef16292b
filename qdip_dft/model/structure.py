"""The stored form of a crystal structure: plain numbers, nothing to import when it is read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import model_validator

from qdip_dft.model.base import Record

if TYPE_CHECKING:
    from pymatgen.core import Structure

Vector = tuple[float, float, float]


class StructureRecord(Record):
    """A periodic structure in the caller's own site order.

    Parameters
    ----------
    lattice_ang
        The three lattice vectors as rows, in Å.
    species
        Element symbol of each site.
    frac_coords
        Fractional coordinates of each site, not wrapped into the cell: a slab keeps its layers together.
    is_fixed
        For each site, whether a relaxation holds it in place.  Empty means that all sites are free.
    """

    lattice_ang: tuple[Vector, Vector, Vector]
    species: tuple[str, ...]
    frac_coords: tuple[Vector, ...]
    is_fixed: tuple[bool, ...] = ()

    @model_validator(mode="after")
    def _lengths_agree(self) -> StructureRecord:
        if len(self.species) != len(self.frac_coords) or len(self.is_fixed) not in (0, len(self.species)):
            raise ValueError("species, frac_coords and is_fixed must have one entry per site")
        return self

    @property
    def n_atoms(self) -> int:
        """Return the number of atoms."""
        return len(self.species)

    @classmethod
    def from_pymatgen(cls, structure: Structure) -> StructureRecord:
        """Return the record of an ordered pymatgen structure, sites in the same order and not wrapped."""
        return cls(
            lattice_ang=structure.lattice.matrix.tolist(),
            species=tuple(site.specie.symbol for site in structure),
            frac_coords=tuple(map(tuple, structure.frac_coords.tolist())),
        )

    def to_pymatgen(self) -> Structure:
        """Return the pymatgen structure with the same sites in the same order."""
        from pymatgen.core import Lattice, Structure

        return Structure(Lattice(self.lattice_ang), list(self.species), list(self.frac_coords))
