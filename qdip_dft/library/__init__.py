"""The crystal library: finds, reads and checks crystals, and finds the ready-made studies."""

from __future__ import annotations

from qdip_dft.library.checks import Finding, check_crystal
from qdip_dft.library.collections import (
    find_structure,
    find_study,
    list_campaigns,
    list_studies,
    load_catalogue,
    load_molecule,
)
from qdip_dft.library.crystals import COMMON_CHARGES, load_crystal
from qdip_dft.library.reading import read_structure
from qdip_dft.model.material import Catalogue, CatalogueEntry, Crystal

__all__ = [
    "COMMON_CHARGES",
    "Catalogue",
    "CatalogueEntry",
    "Crystal",
    "Finding",
    "check_crystal",
    "find_structure",
    "find_study",
    "list_campaigns",
    "list_studies",
    "load_catalogue",
    "load_crystal",
    "load_molecule",
    "read_structure",
]
