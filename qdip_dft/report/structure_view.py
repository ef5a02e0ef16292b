"""Relaxed interfaces for a page: atoms for the three-dimensional view, a picture, a file and a description in words."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.stabilization import CandidateResult, StabilizationDoc
from qdip_dft.model.structure import DOT_PART, FILM_PART, PASSIVATION_PART, StructureRecord
from qdip_dft.report.figure import DARK_STYLE, STYLE
from qdip_dft.report.structure_picture import (
    colour_element,
    draw_structure,
    find_drawn_radius_ang,
)
from qdip_dft.report.structure_scene import Scene, set_scene
from qdip_dft.report.summary import find_structure
from qdip_dft.report.words import find_compared, name_facet, name_film, write_strains
from qdip_dft.results.structure_export import StructureFormat, label_slab, render_structure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


INTERFACE, DOT_SLAB = "interface", "dot slab"
"""Names under which a candidate lists the calculations of its interface and of its dot slab."""

_PICTURE_DPI = 150
_PICTURE_COLOURS = 128
"""Few enough for a small file, more than the balls have shades."""


@dataclass(frozen=True, slots=True)
class InterfaceView:
    """One relaxed interface.

    Parameters
    ----------
    name
        Film and facet, such as ``PbS(111)//FAPbI3-alpha(100)``.
    role
        What the film is in the comparison.
    description
        What the picture shows, in words.
    scene
        Atoms, bonds and cell in Å for the three-dimensional view.
    elements
        Colour and drawn radius in Å of each element.
    picture, dark_picture
        Side and top view as a ``data:`` address of a PNG, on white and on dark paper; None for a candidate that does
        not stand for its phase.
    cif
        The structure as a ``data:`` address of a CIF.
    file_name
        Name under which it is saved, without ending.
    """

    name: str
    role: str
    description: str
    scene: dict[str, JsonValue]
    elements: dict[str, JsonValue]
    picture: str | None
    dark_picture: str | None
    cif: str
    file_name: str

    @property
    def size_bytes(self) -> int:
        """Return about how much it adds to a page."""
        return len(self.picture or "") + len(self.dark_picture or "") + len(self.cif) + len(json.dumps(self.scene))


def view_interface(
    doc: StabilizationDoc, result: CandidateResult, calculations: Mapping[str, CalculationRecord]
) -> InterfaceView | None:
    """Return the view of a candidate's relaxed interface; None where it was not calculated.

    Parameters
    ----------
    doc
        The result that it belongs to.
    result
        The candidate.
    calculations
        Stored calculations by key.
    """
    structure = label_interface(result, calculations)
    if structure is None:
        return None
    candidate = result.candidate
    scene = set_scene(structure, faces=candidate.faces)
    species = sorted(set(scene.species))
    cif = render_structure(structure, StructureFormat.CIF, title=candidate.label)
    return InterfaceView(
        name=candidate.label,
        role=_say_role(doc, result),
        description=_describe(doc, result, structure, scene),
        scene=_list_scene(scene),
        elements={s: {"colour": colour_element(s), "radius_ang": round(find_drawn_radius_ang(s), 3)} for s in species},
        picture=_draw_picture(doc, result, structure, style=STYLE) if result.is_selected else None,
        dark_picture=_draw_picture(doc, result, structure, style=DARK_STYLE) if result.is_selected else None,
        cif=write_address("chemical/x-cif", cif.encode()),
        file_name=re.sub(r"[^A-Za-z0-9.-]+", "_", candidate.label).strip("_"),
    )


def label_interface(result: CandidateResult, calculations: Mapping[str, CalculationRecord]) -> StructureRecord | None:
    """Return the relaxed interface with the part of each atom; the dot's atoms come first, as it is built."""
    interface, dot_slab = (find_structure(result, name, calculations) for name in (INTERFACE, DOT_SLAB))
    if interface is None or dot_slab is None:
        return None
    return label_slab(interface, n_dot=dot_slab.n_atoms, passivation=result.candidate.passivation)


def _say_role(doc: StabilizationDoc, result: CandidateResult) -> str:
    role = result.candidate.role.value
    if result in find_compared(doc):
        return f"{role}, compared"
    return f"{role}, selected" if result.is_selected else f"{role}, not selected"


def _describe(doc: StabilizationDoc, result: CandidateResult, structure: StructureRecord, scene: Scene) -> str:
    """Say what the picture shows: parts, cell, strain and chemical layers from the dot's bottom to the film's top."""
    parts = Counter(structure.parts)
    dot = f"{name_facet(doc)} slab of {parts[DOT_PART]} atoms"
    if parts[PASSIVATION_PART]:
        dot += f" with {parts[PASSIVATION_PART]} passivating {result.candidate.passivation}"
    layers = " · ".join(layer.composition for layer in scene.layers)
    return (
        f"Side view from the dot below to the film above: {dot}, then the film {name_film(result)} of "
        f"{result.n_formula_units} formula units ({parts[FILM_PART]} atoms). "
        f"Cell area {scene.area_ang2:.1f} Å², film strain {write_strains(result.film_principal_strains)} %, "
        f"{f'vacuum {scene.vacuum_ang:.1f} Å' if scene.vacuum_ang else 'no vacuum'}. Layers from the bottom: {layers}."
    )


def _list_scene(scene: Scene) -> dict[str, JsonValue]:
    """Return atoms, bonds and cell in Å, in plain lists; a thousandth of an ångström is enough for the eye."""
    return {
        "species": list(scene.species),
        "parts": list(scene.parts),
        "positions_ang": [[round(float(x), 3) for x in place] for place in scene.positions_ang],
        "bonds": [[int(first), int(second)] for first, second in scene.bonds],
        "octahedra_ang": _list_octahedra(scene),
        "cell_ang": [[round(float(x), 3) for x in vector] for vector in scene.cell_ang],
    }


def _list_octahedra(scene: Scene) -> dict[str, JsonValue]:
    """Return the faces of the octahedra in Å, nine numbers each, by the element of their metal."""
    faces: dict[str, list[JsonValue]] = {}
    for metal, corners in zip(scene.octahedra.metals, scene.octahedra.corners_ang, strict=True):
        faces.setdefault(scene.species[metal], []).append([round(float(x), 2) for x in corners.ravel()])
    return {**faces}


def _draw_picture(
    doc: StabilizationDoc, result: CandidateResult, structure: StructureRecord, *, style: Mapping[Any, Any]
) -> str:
    part_names = {DOT_PART: name_facet(doc), FILM_PART: name_film(result)}
    figure = draw_structure(
        structure, title=result.candidate.label, part_names=part_names, faces=result.candidate.faces, style=style
    )
    return write_address("image/png", _render_small(figure))


def _render_small(figure: Figure) -> bytes:
    """Return a picture as a PNG with a palette: a third of the size, no difference to the eye."""
    from PIL import Image

    plain, small = BytesIO(), BytesIO()
    figure.savefig(plain, format="png", dpi=_PICTURE_DPI, metadata={"Software": None})
    with Image.open(plain) as image:
        image.convert("RGB").quantize(_PICTURE_COLOURS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def write_address(media_type: str, content: bytes) -> str:
    """Return a file as an address that a page can hold."""
    return f"data:{media_type};base64,{b64encode(content).decode()}"
