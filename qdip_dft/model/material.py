"""What the crystal library holds: phases, molecules and crystals ready to use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from qdip_dft.model.base import Record
from qdip_dft.model.crystal import CrystalRecord

if TYPE_CHECKING:
    from pymatgen.core import Structure


class Role(StrEnum):
    """What a phase usually is in a study; only a hint, any phase may play any part."""

    DOT = "dot"
    """The quantum-dot material."""
    HOST = "host"
    """The matrix around the dot."""
    DECOMPOSITION = "decomposition"
    """A product into which a host falls apart, such as PbI2."""


class Colour(StrEnum):
    """Which side of the stabilization a host polymorph is on (not its optical colour)."""

    BLACK = "black"
    """The wanted perovskite: octahedra share corners in three dimensions."""
    YELLOW = "yellow"
    """The unwanted polymorph: octahedra share edges or faces."""


class Provenance(StrEnum):
    """How far the numbers of an entry may be trusted."""

    FOUND = "found"
    """Read in the named source."""
    DERIVED = "derived"
    """Computed from found numbers."""
    MEMORY = "memory"
    """Not yet compared with its source; such an entry is never marked as verified."""


class CatalogueEntry(Record):
    """One phase of the crystal library.

    Parameters
    ----------
    id
        The name used in studies and on the command line, such as ``FAPbI3-delta``.
    name
        The name for people.
    formula
        One formula unit, molecules by their short names, such as ``FAPbI3``.
    material
        The material whose phases are compared, such as ``FAPbI3``.
    phase
        The phase within the material, such as ``delta``.
    role
        What it usually is in a study.
    color
        ``black`` or ``yellow`` for the polymorphs of a host, None otherwise.
    space_group
        Hermann-Mauguin symbol in the axes of the file, without the organic cations.
    space_group_number
        Its number in the International Tables, 1 to 230.
    file
        Name of the CIF in the library's folder.
    formula_units
        Formula units Z in the cell of the file.
    volume_ang3_per_fu
        Cell volume divided by Z in Å³.
    formal_charges
        Formal charge in e of each element or molecular cation of the formula.
    bulk_modulus_gpa
        Bulk modulus in GPa at fixed cell shape, atoms relaxed, with SevenNet-0 + D3(BJ)
        (``scripts/compute_bulk_moduli.py``); weighs the strain of film and dot.  None where it says nothing about the
        stiffness in a plane (layered crystals) or was not computed.
    cation
        Short name of the molecular cation, or None.
    cation_centres
        Fractional coordinates at which the cations' centres of mass were placed.
    cation_seed
        Seed of the cations' random orientations.
    provenance
        How far the numbers may be trusted.
    is_verified
        Whether the numbers were read in the source itself.
    source
        Where the cell and the coordinates were read.
    licence
        Under which terms they stand here.
    note
        What a careful reader should know.
    """

    id: str
    name: str
    formula: str
    material: str
    phase: str
    role: Role
    color: Colour | None = None
    space_group: str
    space_group_number: int = Field(ge=1, le=230)
    file: str
    formula_units: int = Field(ge=1)
    volume_ang3_per_fu: float = Field(gt=0)
    formal_charges: dict[str, int]
    bulk_modulus_gpa: float | None = Field(default=None, gt=0)
    cation: str | None = None
    cation_centres: tuple[tuple[float, float, float], ...] = ()
    cation_seed: int | None = None
    provenance: Provenance
    is_verified: bool
    source: str
    licence: str
    note: str = ""

    @model_validator(mode="after")
    def _is_consistent(self) -> CatalogueEntry:
        amounts = count_formula(self.formula, tuple(self.formal_charges))
        if sum(amounts[ion] * charge for ion, charge in self.formal_charges.items()) != 0:
            raise ValueError(f"{self.id}: the formal charges of {self.formula} do not sum to zero")
        if self.provenance is Provenance.MEMORY and self.is_verified:
            raise ValueError(f"{self.id}: an entry from memory cannot be verified")
        if self.cation is not None and self.cation not in amounts:
            raise ValueError(f"{self.id}: the cation {self.cation} has no formal charge")
        return self


class MoleculeEntry(Record):
    """One molecular ion of the crystal library.

    Parameters
    ----------
    id
        Short name, such as ``FA``.
    name
        The name for people.
    formula
        Atoms of one ion, in alphabetical order, such as ``C1 H5 N2``.
    charge
        Formal charge in e.
    file
        Name of the XYZ file in the library's folder.
    source
        Where the geometry comes from.
    licence
        Under which terms it stands here.
    """

    id: str
    name: str
    formula: str
    charge: int
    file: str
    source: str
    licence: str


class Catalogue(Record):
    """The crystal library's list of contents."""

    schema_version: Literal[1] = 1
    phases: tuple[CatalogueEntry, ...]
    molecules: tuple[MoleculeEntry, ...] = ()

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Catalogue:
        ids = self.ids + tuple(molecule.id for molecule in self.molecules)
        repeated = {name for name in ids if ids.count(name) > 1}
        if repeated:
            raise ValueError(f"ids must be unique, repeated: {', '.join(sorted(repeated))}")
        return self

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all phases."""
        return tuple(entry.id for entry in self.phases)

    def find_entry(self, entry_id: str) -> CatalogueEntry | None:
        """Return the phase of that id, or None."""
        return next((entry for entry in self.phases if entry.id == entry_id), None)

    def find_molecule(self, formula: str) -> MoleculeEntry | None:
        """Return the molecule with those atoms, such as ``C1 H5 N2``, or None."""
        return next((molecule for molecule in self.molecules if molecule.formula == formula), None)

    def list_phases(self, material: str) -> tuple[CatalogueEntry, ...]:
        """Return all phases of a material, such as those of ``CsPbI3``."""
        return tuple(entry for entry in self.phases if entry.material == material)


@dataclass(frozen=True, eq=False)
class Crystal:
    """A crystal that was read, with what the library says about it.

    Parameters
    ----------
    record
        The crystal as calculations carry it.
    entry
        The catalogue entry, or None for a user's file.
    remarks
        What was chosen or converted on reading, in words for the user.
    """

    record: CrystalRecord
    entry: CatalogueEntry | None = None
    remarks: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Catalogue id, or the name of the user's file."""
        return self.record.id

    @property
    def formula_units(self) -> int:
        """Formula units Z in the cell."""
        return self.record.formula_units

    @property
    def formal_charges(self) -> dict[str, int]:
        """Formal charge in e of each element or molecular cation."""
        return self.record.formal_charges

    @cached_property
    def structure(self) -> Structure:
        """The cell in the axes of the file for pymatgen; Miller indices refer to it.  Treat it as read-only."""
        return self.record.structure.to_pymatgen()


def count_formula(formula: str, ions: tuple[str, ...]) -> dict[str, int]:
    """Count the ions of a formula unit whose ions may be molecules, such as FA in ``FAPbI3``.

    Parameters
    ----------
    formula
        The formula, without brackets.
    ions
        The names that may appear in it.

    Returns
    -------
    dict
        Number of each ion.

    Raises
    ------
    ValueError
        When the formula holds anything else than these ions.
    """
    longest_first = "|".join(map(re.escape, sorted(ions, key=len, reverse=True)))
    tokens = re.findall(rf"({longest_first})(\d*)", formula)
    if "".join(name + amount for name, amount in tokens) != formula or set(ions) != {name for name, _ in tokens}:
        raise ValueError(f"the formula {formula} does not consist of {', '.join(ions)}")
    return {ion: sum(int(amount or 1) for name, amount in tokens if name == ion) for ion in ions}
