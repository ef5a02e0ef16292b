"""A crystal of the library turned so that one of its lattice planes lies in the plane of the interface."""

from __future__ import annotations

from dataclasses import dataclass

from qdip_dft.builders.ions import IonicCrystal, view_ions
from qdip_dft.builders.orientation import Orientation, find_orientation, orient_crystal
from qdip_dft.model.crystal import CrystalRecord
from qdip_dft.model.miller import parse_hkl, write_plane
from qdip_dft.model.structure import StructureRecord


@dataclass(frozen=True, slots=True)
class OrientedFace:
    """A crystal cut along a plane, as filed in the catalogue.

    Parameters
    ----------
    crystal
        The conventional cell.
    orientation
        The recipe that turns it, or its relaxed version, into the oriented cell.
    oriented
        The oriented cell without a cut.
    name
        Such as ``PbS(111)``.
    plane
        Miller indices as the study writes them.
    bulk_modulus_gpa
        Of the crystal, in GPa; None if unknown.
    """

    crystal: IonicCrystal
    orientation: Orientation
    oriented: IonicCrystal
    name: str
    plane: str
    bulk_modulus_gpa: float | None = None


def orient_face(crystal: CrystalRecord, plane: str) -> OrientedFace:
    """Return a crystal oriented along a plane of its conventional cell, in any form that `parse_hkl` reads."""
    plane = write_plane(plane)
    charges = tuple(sorted(crystal.formal_charges.items()))
    return crystal.structure.derive(
        ("face", crystal.id, plane, charges, crystal.bulk_modulus_gpa), lambda: _orient_face(crystal, plane)
    )


def _orient_face(crystal: CrystalRecord, plane: str) -> OrientedFace:
    ionic = view_ions(crystal.structure, crystal.formal_charges)
    orientation = find_orientation(ionic, parse_hkl(plane))
    oriented = orient_crystal(ionic, orientation)
    name = f"{crystal.id}({plane})"
    return OrientedFace(ionic, orientation, oriented, name, plane, bulk_modulus_gpa=crystal.bulk_modulus_gpa)


def orient_relaxed(face: OrientedFace, bulk: StructureRecord, *, cut: tuple[int, ...] = ()) -> IonicCrystal:
    """Return the oriented cell of a face with the lattice and the atoms of another record of its crystal.

    Parameters
    ----------
    face
        The face as filed.
    bulk
        The crystal, relaxed or not; sites in the same order.
    cut
        The termination, see `orient_crystal`; empty: none.
    """
    charges = {ion.label: ion.charge for ion in face.crystal.ions}
    return bulk.derive(
        ("oriented", face.orientation, cut),
        lambda: orient_crystal(view_ions(bulk, charges), face.orientation, cut=cut),
    )
