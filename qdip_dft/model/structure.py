"""The one type of a crystal structure: plain numbers, nothing to import when it is read back, arrays on demand."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from qdip_dft.model.base import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase import Atoms
    from pymatgen.core import Structure

Vector = tuple[float, float, float]
Made = TypeVar("Made")

DOT_PART, PASSIVATION_PART, FILM_PART = "dot", "passivation", "film"
"""Parts of an interface."""

NO_PART = "bulk"
"""The part of every atom of a structure that is one piece."""


class Presence(StrEnum):
    """What a calculation puts at a site."""

    ATOM = "atom"
    GHOST = "ghost"
    """The basis functions of the atom, without its nucleus and its electrons."""
    ABSENT = "absent"
    """Nothing; cell, k-points and vacuum are still those of the structure with the atom."""


@dataclass(frozen=True, slots=True, eq=False)
class Arrangement:
    """Atoms in a periodic cell as arrays: what a potential or a builder sees of a structure.

    Parameters
    ----------
    species
        Element symbols.
    positions_ang
        Places in Å, not wrapped, shape (atoms, 3).
    lattice_ang
        Lattice vectors as rows in Å, shape (3, 3).
    presence
        As of a structure.
    """

    species: tuple[str, ...]
    positions_ang: NDArray[np.float64]
    lattice_ang: NDArray[np.float64]
    presence: tuple[Presence, ...] = ()

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.species)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each site: the element, or ``Pb_ghost`` and ``Pb_absent`` where there is no atom."""
        if not self.presence:
            return self.species
        sites = zip(self.species, self.presence, strict=True)
        return tuple(symbol if found is Presence.ATOM else f"{symbol}_{found}" for symbol, found in sites)

    @property
    def is_atom(self) -> NDArray[np.bool_]:
        """For each site, whether there is an atom."""
        return np.array([found is Presence.ATOM for found in self.presence or (Presence.ATOM,) * self.n_atoms])

    def only_atoms(self) -> Arrangement:
        """Return the atoms without the sites that have none."""
        if not self.presence:
            return self
        kept = np.flatnonzero(self.is_atom)
        return Arrangement(tuple(self.species[i] for i in kept), self.positions_ang[kept], self.lattice_ang)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Atomic numbers."""
        from ase.data import atomic_numbers

        return np.array([atomic_numbers[symbol] for symbol in self.species])

    @property
    def volume_ang3(self) -> float:
        """Volume of the cell in Å³."""
        return float(abs(np.linalg.det(self.lattice_ang)))

    def to_ase(self) -> Atoms:
        """Return ASE's atoms with the same sites in the same order, periodic in all directions."""
        from ase import Atoms

        return Atoms(self.species, positions=self.positions_ang, cell=self.lattice_ang, pbc=True)


def is_empty(label: tuple[object, ...]) -> bool:
    """Return whether a label is not known: it is then not written, and older versions read the structure."""
    return not label


class _Derived:
    """What was derived from one structure; equal only to itself, so that it never enters a comparison."""

    def __init__(self) -> None:
        self.made: dict[Hashable, Any] = {}


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
    ion
        For each site, the rigid ion that it belongs to, counted from 0; the sites of a molecule lie next to each other
        in space.  Empty: not known.
    part
        For each site, ``dot``, ``film``, ``passivation`` or another single word.  Empty: one piece.
    presence
        For each site, whether a calculation has an atom there.  Empty: everywhere.
    """

    lattice_ang: tuple[Vector, Vector, Vector]
    species: tuple[str, ...]
    frac_coords: tuple[Vector, ...]
    is_fixed: tuple[bool, ...] = ()
    ion: tuple[int, ...] = Field(default=(), exclude_if=is_empty)
    part: tuple[str, ...] = Field(default=(), exclude_if=is_empty)
    presence: tuple[Presence, ...] = Field(default=(), exclude_if=is_empty)

    @model_validator(mode="after")
    def _lengths_agree(self) -> StructureRecord:
        labels = (self.is_fixed, self.ion, self.part, self.presence)
        if len(self.species) != len(self.frac_coords) or any(len(label) not in (0, self.n_atoms) for label in labels):
            raise ValueError("species, frac_coords, is_fixed, ion, part and presence must have one entry per site")
        return self

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.species)

    @property
    def parts(self) -> tuple[str, ...]:
        """Part of each site, ``bulk`` where none is given."""
        return self.part or (NO_PART,) * self.n_atoms

    @property
    def arrangement(self) -> Arrangement:
        """The same structure as arrays, made once; treat them as read-only."""
        return self.derive("arrangement", self._to_arrangement)

    def _to_arrangement(self) -> Arrangement:
        lattice_ang = np.array(self.lattice_ang)
        return Arrangement(self.species, np.array(self.frac_coords) @ lattice_ang, lattice_ang, self.presence)

    def derive(self, name: Hashable, make: Callable[[], Made]) -> Made:
        """Return what follows from this structure alone, made at the first call and kept with it."""
        made = self._derived.made
        if name not in made:
            made[name] = make()
        derived: Made = made[name]
        return derived

    @cached_property
    def _derived(self) -> _Derived:
        return _Derived()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, perhaps with other fields; nothing that was derived goes with it."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("_derived", None)
        return copied

    def without_labels(self) -> StructureRecord:
        """Return the bare atoms: a calculation does not ask to which ion or part they belong."""
        return self.model_copy(update={"ion": (), "part": ()}) if self.ion or self.part else self

    @classmethod
    def from_pymatgen(cls, structure: Structure) -> StructureRecord:
        """Return the record of an ordered pymatgen structure, sites in the same order and not wrapped."""
        return cls(
            lattice_ang=structure.lattice.matrix.tolist(),
            species=tuple(site.specie.symbol for site in structure),
            frac_coords=tuple(map(tuple, structure.frac_coords.tolist())),
        )

    def to_ase(self) -> Atoms:
        """Return ASE's atoms with the same sites in the same order; fixed sites carry a constraint."""
        from ase.constraints import FixAtoms

        atoms = self.arrangement.to_ase()
        if any(self.is_fixed):
            atoms.set_constraint(FixAtoms(mask=self.is_fixed))
        return atoms

    def to_pymatgen(self) -> Structure:
        """Return the pymatgen structure with the same sites in the same order."""
        from pymatgen.core import Lattice, Structure

        return Structure(Lattice(self.lattice_ang), list(self.species), list(self.frac_coords))


BareStructure = Annotated[StructureRecord, AfterValidator(StructureRecord.without_labels)]
"""A structure in a question to an engine, without ions and parts."""
