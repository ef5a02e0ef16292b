"""What `qdip show` and `qdip dot` present: a description, pictures and structure files of one structure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qdip_dft.cli.output import console, write_json, write_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qdip_dft.analysis.strain_map import OctahedronStrain
    from qdip_dft.model.structure import StructureRecord

HOST_PART = "host"
"""A structure with this part is a dot inside a host, of which a slice is drawn."""

SLICE_ANG = 6.5
"""Thickness of that slice in Å: about one perovskite cell."""

PICTURE_SUFFIX = ".png"

Outputs = Annotated[
    list[Path],
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="File to write: .png, .cif, .vasp or .extxyz; may be repeated.",
        default_factory=list,
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Exhibit:
    """What is presented.

    Parameters
    ----------
    structure
        The structure with its parts.
    title
        What it is.
    notes
        Lines of the picture under the title.
    part_names
        What is written beside the brackets of the picture, by part.
    facts
        What the description says beside atoms, cell and layers.
    faces
        Layers that the film was cut at, the lower one first; None: not known.
    """

    structure: StructureRecord
    title: str
    notes: tuple[str, ...] = ()
    part_names: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    faces: tuple[str, str] | None = None


def present(exhibit: Exhibit, *, output: Sequence[Path], as_json: bool) -> None:
    """Write the files that were asked for, then the description.

    Raises
    ------
    StructureError
        If the ending of a file name is unknown.
    ResultsError
        If a file cannot be written.
    """
    from qdip_dft.results.structure_export import choose_format

    for path in output:
        if path.suffix.lower() != PICTURE_SUFFIX:
            choose_format(path)  # refuses before anything is written
    for path in output:
        _write(exhibit, path)
    description = {**describe(exhibit), "files": [str(path) for path in output]}
    if as_json:
        write_json(description)
    else:
        _print_description(description)


def _write(exhibit: Exhibit, path: Path) -> None:
    from qdip_dft.results.structure_export import write_structure
    from qdip_dft.results.writing import write_content

    if path.suffix.lower() == PICTURE_SUFFIX:
        write_content(path, _draw(exhibit))
    else:
        write_structure(exhibit.structure, path, title=exhibit.title)


def _draw(exhibit: Exhibit) -> bytes:
    from qdip_dft.report.figure import FigureKind, render_figure
    from qdip_dft.report.structure_picture import draw_structure

    figure = draw_structure(
        exhibit.structure,
        title=exhibit.title,
        notes=exhibit.notes,
        part_names=exhibit.part_names,
        faces=exhibit.faces,
        slice_ang=SLICE_ANG if HOST_PART in exhibit.structure.parts else None,
    )
    return render_figure(figure, FigureKind.PNG)


def describe(exhibit: Exhibit) -> dict[str, Any]:
    """Return atoms, parts, cell, layers and facts in plain values, lengths in Å and areas in Å²."""
    from qdip_dft.builders.ions import name_ions
    from qdip_dft.report.structure_scene import set_scene

    structure = exhibit.structure
    scene, lattice = set_scene(structure, faces=exhibit.faces), structure.to_pymatgen().lattice
    return {
        "title": exhibit.title,
        "n_atoms": structure.n_atoms,
        "composition": dict(sorted(Counter(name_ions(structure)).items())),
        "parts": dict(Counter(structure.parts)),
        "lengths_ang": list(lattice.abc),
        "angles_degree": list(lattice.angles),
        "area_ang2": scene.area_ang2,
        "vacuum_ang": scene.vacuum_ang,
        "layers": [{"height_ang": layer.height_ang, "composition": layer.composition}
                   for layer in scene.layers if scene.has_layers],
        **exhibit.facts,
    }  # fmt: skip


def describe_strains(strains: Sequence[OctahedronStrain]) -> dict[str, Any]:
    """Return a strain map and its means in shells around the dot; strains as fractions, distances in Å."""
    from dataclasses import asdict

    from qdip_dft.analysis.strain_map import average_in_shells, find_strain_range_ang

    return {
        "strain_range_ang": find_strain_range_ang(strains),
        "strain_shells": [asdict(shell) for shell in average_in_shells(strains)],
        "octahedra": [asdict(strain) for strain in strains],
    }


def _print_description(description: dict[str, Any]) -> None:
    for key, value in description.items():
        if key in {"layers", "octahedra", "strain_shells"} or value in ({}, [], None):
            continue
        write_line(f"{key:<24} {_in_words(value)}")
    for shell in description.get("strain_shells", ()):
        console().print(
            f"  {shell['distance_ang']:6.2f} Å from the dot: {shell['n_octahedra']:4d} octahedra, volume"
            f" {100 * shell['mean_volume_strain']:+.2f} %, von Mises {100 * shell['mean_von_mises_strain']:.2f} %",
            markup=False,
        )
    for layer in reversed(description["layers"]):
        console().print(f"  {layer['height_ang']:7.2f} Å  {layer['composition']}", markup=False)


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_in_words(number)}" for name, number in value.items())
    if isinstance(value, (list, tuple)):
        return "  ".join(_in_words(each) for each in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
