"""The crystal library: finds, reads and checks crystals, and finds the ready-made studies.

Its parts are imported when they are used: listing what there is needs neither numpy nor pymatgen.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdip_dft.library.charges import COMMON_CHARGES
    from qdip_dft.library.checks import Finding, check_crystal
    from qdip_dft.library.collections import (
        count_atoms,
        find_structure,
        find_study,
        list_campaigns,
        list_studies,
        load_catalogue,
        load_molecule,
    )
    from qdip_dft.library.crystals import load_crystal, load_crystal_record, read_molecule
    from qdip_dft.library.reading import read_structure
    from qdip_dft.model.material import Catalogue, CatalogueEntry, Crystal

__all__ = [
    "COMMON_CHARGES",
    "Catalogue",
    "CatalogueEntry",
    "Crystal",
    "Finding",
    "check_crystal",
    "count_atoms",
    "find_structure",
    "find_study",
    "list_campaigns",
    "list_studies",
    "load_catalogue",
    "load_crystal",
    "load_crystal_record",
    "load_molecule",
    "read_molecule",
    "read_structure",
]

_MODULES = {
    "qdip_dft.library.checks": ("Finding", "check_crystal"),
    "qdip_dft.library.collections": (
        "count_atoms",
        "find_structure",
        "find_study",
        "list_campaigns",
        "list_studies",
        "load_catalogue",
        "load_molecule",
    ),
    "qdip_dft.library.charges": ("COMMON_CHARGES",),
    "qdip_dft.library.crystals": ("load_crystal", "load_crystal_record", "read_molecule"),
    "qdip_dft.library.reading": ("read_structure",),
    "qdip_dft.model.material": ("Catalogue", "CatalogueEntry", "Crystal"),
}


def __getattr__(name: str) -> Any:
    """Import the part that holds a name."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
