"""Files of pymatgen's interfaces and slabs as phases of a study: read as plain data, no class is imported by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from qdip_dft.errors import StudyError
from qdip_dft.model.structure import DOT_PART, FILM_PART, StructureRecord
from qdip_dft.planning.named_files import find_named_file

LABELS = {"film": FILM_PART, "substrate": DOT_PART}
"""pymatgen's names of the two sides."""


def insert_interfaces(content: Any, folder: Path) -> Any:
    """Return a study as plain data with the interfaces that its phases name as files; not changed itself.

    Parameters
    ----------
    content
        The plain data.
    folder
        Where the paths of its files start from.

    Raises
    ------
    StudyError
        If a file is missing or holds no interface.
    """
    phases = content.get("phases") if isinstance(content, dict) else None
    if not isinstance(phases, list):
        return content
    return {**content, "phases": [_insert(phase, folder) for phase in phases]}


def _insert(phase: Any, folder: Path) -> Any:
    named = phase.get("interface") if isinstance(phase, dict) else None
    if not isinstance(named, str):
        return phase
    return {**phase, "interface": read_interface_file(Path(find_named_file(named, folder)))}


def read_interface_file(path: Path) -> dict[str, Any]:
    """Return a `GivenInterface` as plain data.

    The file is what ``Interface.as_dict()`` or ``Slab.as_dict()`` gives as JSON; planes and matrices of an interface
    are taken from its ``interface_properties`` where these are those of `list_interfaces`.  A slab is a film alone.

    Raises
    ------
    StudyError
        If there is no such file, or it holds neither of them.
    """
    from pymatgen.core.interface import Interface
    from pymatgen.core.surface import Slab

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        is_slab = content.get("@class") == Slab.__name__
        interface: Any = Slab.from_dict(content) if is_slab else Interface.from_dict(content)
        labels = ["film"] * len(interface) if is_slab else interface.site_properties["interface_label"]
        parts = tuple(LABELS[label] for label in labels)
        structure = StructureRecord(
            lattice_ang=interface.lattice.matrix.tolist(),
            species=tuple(site.specie.symbol for site in interface),
            frac_coords=interface.frac_coords.tolist(),
            part=parts,
        )
    except Exception as error:  # the readers of pymatgen and ASE raise of every kind on a damaged file
        raise StudyError(
            f"{path} holds no Interface or Slab of pymatgen ({type(error).__name__})",
            limit="the JSON text of Interface.as_dict(), each site labelled as film or substrate, or of Slab.as_dict()",
            why="nobody could say which atoms are the dot's",
            remedy="write it with `json.dump(interface.as_dict(), file)`",
        ) from error
    known: dict[str, Any] = {} if is_slab else interface.interface_properties
    matrices: dict[str, Any] = {
        "film_matrix": known.get("film_transformation"),
        "dot_matrix": known.get("substrate_transformation"),
    }
    is_ours = all(np.shape(matrix) == (2, 2) for matrix in matrices.values()) and "termination" in known
    return {"structure": structure.model_dump(mode="json"), **(matrices if is_ours else {})}
