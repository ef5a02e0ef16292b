"""Reads the references of the crystal library, and finds which phases of it a study uses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from qdip_dft.errors import StructureError
from qdip_dft.library.collections import find_collection, load_catalogue
from qdip_dft.library.crystals import load_crystal_record
from qdip_dft.model.crystal import CrystalRecord
from qdip_dft.model.reference import PhaseReference, References
from qdip_dft.yaml_text import parse_yaml

LENGTH_TOLERANCE, SITE_TOLERANCE, ANGLE_TOLERANCE_DEG = 0.05, 0.1, 3.0
"""How alike a crystal of a user's file must be to one of the library: lengths to 5 %, angles to 3°, atoms to 0.1 of the
mean distance (about 0.35 Å).  The polymorphs of CsPbI3 are told apart; a relaxed and a measured cell of one are not."""


def load_references() -> tuple[PhaseReference, ...]:
    """Return the references of the crystal library.

    Raises
    ------
    StructureError
        When the file is missing, cannot be read, or names a phase that the library does not have or of which the other
        one is not a polymorph.
    """
    return _read_references(find_collection("structures") / "references.yaml")


@cache
def _read_references(path: Path) -> tuple[PhaseReference, ...]:
    try:
        found = References.model_validate(parse_yaml(path.read_text(encoding="utf-8"))).references
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _unreadable(path, " ".join(str(error).split())[:400]) from error
    catalogue = load_catalogue()
    for each in found:
        entries = [catalogue.find_entry(name) for name in (each.phase, each.relative_to)]
        materials = {None if entry is None else entry.material for entry in entries}
        if None in materials or len(materials) > 1:
            raise _unreadable(path, f"{each.phase} and {each.relative_to} are not two phases of one material")
    return found


def _unreadable(path: Path, finding: str) -> StructureError:
    return StructureError(
        f"the references {path} cannot be used",
        limit=finding,
        why="a reference of other phases than those meant would move the answer by as much as it is",
        remedy="correct the entry; its phases must be ids of `qdip structures list`",
    )


def identify_phases(crystals: Mapping[str, CrystalRecord]) -> dict[str, str]:
    """Return which phases of the references some crystals are, by the names of the crystals; others are left out.

    A crystal of the library is known by its content; any other one is compared atom by atom, whatever its name.

    Parameters
    ----------
    crystals
        Crystals by the names that a study has for them.
    """
    filed = _load_filed(find_collection("structures"))
    found = {name: _identify(crystal, filed) for name, crystal in crystals.items()}
    return {name: phase for name, phase in found.items() if phase is not None}


@cache
def _load_filed(_folder: Path) -> dict[str, CrystalRecord]:
    """The crystals that the references speak of, by id."""
    known = {name for each in load_references() for name in (each.phase, each.relative_to)}
    return {name: load_crystal_record(name) for name in sorted(known)}


def _identify(crystal: CrystalRecord, filed: dict[str, CrystalRecord]) -> str | None:
    own = filed.get(crystal.id)
    if own is not None and own.structure == crystal.structure:
        return crystal.id
    alike = (other for other in filed.values() if other.composition_per_fu == crystal.composition_per_fu)
    return next((other.id for other in alike if _match(crystal, other)), None)


def _match(crystal: CrystalRecord, other: CrystalRecord) -> bool:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(ltol=LENGTH_TOLERANCE, stol=SITE_TOLERANCE, angle_tol=ANGLE_TOLERANCE_DEG, scale=False)
    return bool(matcher.fit(crystal.structure.to_pymatgen(), other.structure.to_pymatgen()))
