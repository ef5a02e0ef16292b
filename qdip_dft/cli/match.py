"""`qdip match`: the common cells of a dot facet and a film plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from qdip_dft.cli.options import AsJson
from qdip_dft.cli.output import console, write_json

if TYPE_CHECKING:
    from qdip_dft.builders.matching import CellMatch


def match(
    dot: Annotated[str, typer.Argument(metavar="DOT", help="Dot material: catalogue id or structure file.")],
    dot_plane: Annotated[str, typer.Argument(metavar="HKL", help="Facet of the dot, such as 111.")],
    phase: Annotated[str, typer.Argument(metavar="PHASE", help="Host phase: catalogue id or structure file.")],
    film_plane: Annotated[str, typer.Argument(metavar="HKL", help="Plane of the film, such as 100.")],
    max_area: Annotated[float, typer.Option("--max-area", help="Largest area of the common cell in Å².")] = 400.0,
    max_strain: Annotated[float, typer.Option("--max-strain", help="Largest principal strain (fraction).")] = 0.05,
    as_json: AsJson = False,
) -> None:
    """List the common cells of two planes; the film is strained onto the dot.

    Areas in Å², strains as fractions (negative: the film is compressed), Miller indices of the conventional cells as
    filed. Atoms are those of one lattice plane of film and of dot.

    Example: qdip match PbS 111 FAPbI3-alpha 100 --max-area 400 --max-strain 0.05
    """
    from qdip_dft.builders.candidates import orient_face
    from qdip_dft.builders.matching import require_matches
    from qdip_dft.builders.orientation import in_plane_vectors
    from qdip_dft.plan import load_crystal_record

    dot_face = orient_face(load_crystal_record(dot), dot_plane)
    film_face = orient_face(load_crystal_record(phase), film_plane)
    cells = require_matches(
        in_plane_vectors(film_face.oriented),
        in_plane_vectors(dot_face.oriented),
        max_area_ang2=max_area,
        max_strain=max_strain,
    )
    n_atoms = (film_face.oriented.n_atoms, dot_face.oriented.n_atoms)
    described = [_describe(cell, *n_atoms) for cell in cells]
    if as_json:
        write_json({"dot": dot_face.name, "film": film_face.name, "max_area_ang2": max_area,
                    "max_strain": max_strain, "cells": described})  # fmt: skip
        return
    _print_cells(f"{dot_face.name} // {film_face.name}", described)


def _describe(cell: CellMatch, film_atoms: int, dot_atoms: int) -> dict[str, Any]:
    return {
        "area_ang2": cell.area_ang2,
        "n_film": cell.n_film,
        "n_dot": cell.n_dot,
        "principal_strains": list(cell.principal_strains),
        "von_mises_strain": cell.von_mises_strain,
        "film_matrix": [list(row) for row in cell.film_matrix],
        "dot_matrix": [list(row) for row in cell.dot_matrix],
        "n_atoms": cell.n_film * film_atoms + cell.n_dot * dot_atoms,
        "is_pareto": cell.is_pareto,
    }


def _print_cells(title: str, cells: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(title=title, caption="* on the Pareto front of area against the largest strain")
    for heading in ("area (Å²)", "film:dot", "strain 1 (%)", "strain 2 (%)", "von Mises (%)", "atoms/plane", "front"):
        table.add_column(heading, justify="right")
    for cell in cells:
        first, second = cell["principal_strains"]
        table.add_row(
            f"{cell['area_ang2']:.1f}",
            f"{cell['n_film']}:{cell['n_dot']}",
            f"{100 * first:+.2f}",
            f"{100 * second:+.2f}",
            f"{100 * cell['von_mises_strain']:.2f}",
            str(cell["n_atoms"]),
            "*" if cell["is_pareto"] else "",
        )
    console().print(table)
