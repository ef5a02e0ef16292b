"""`qdip match`: the common cells of a dot and a host."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qdip_dft.cli.options import AsJson
from qdip_dft.cli.output import write_json, write_line, write_table

if TYPE_CHECKING:
    from qdip_dft.builders.faces import OrientedFace
    from qdip_dft.builders.matching import CellMatch


def match(
    dot: Annotated[str, typer.Argument(metavar="DOT", help="Dot material: catalogue id or structure file.")],
    plane_or_host: Annotated[
        str, typer.Argument(metavar="HKL|HOST", help="Facet of the dot, such as 111; with --planes: the host.")
    ],
    phase: Annotated[
        str | None, typer.Argument(metavar="[PHASE]", help="Host phase: catalogue id or structure file.")
    ] = None,
    film_plane: Annotated[str | None, typer.Argument(metavar="[HKL]", help="Plane of the film, such as 100.")] = None,
    max_index: Annotated[
        int | None,
        typer.Option("--planes", min=1, max=5, help="Scan all facets, phases and planes up to this Miller index."),
    ] = None,
    max_area: Annotated[float, typer.Option("--max-area", help="Largest area of the common cell in Å².")] = 400.0,
    max_strain: Annotated[float, typer.Option("--max-strain", help="Largest principal strain (fraction).")] = 0.05,
    strain_partition: Annotated[
        str,
        typer.Option(
            "--strain-partition",
            metavar="W",
            help="Share w of the strain that the dot takes: a number from 0 to 1, or auto (bulk modulus × thickness).",
        ),
    ] = "0",
    limit: Annotated[int, typer.Option("--limit", min=0, help="Pairs that a scan prints; 0: all.")] = 30,
    as_json: AsJson = False,
) -> None:
    """List the common cells of two planes, or with --planes rank all pairs of planes of a dot and a host.

    Areas in Å²; ε1 and ε2: principal strains, in JSON as fractions (negative: the film is compressed); Miller
    indices of the conventional cells as filed. Atoms are those of one lattice plane of film and dot. The misfit is
    that of the film on the unstrained dot; with --strain-partition the interface cell and the strains of both are
    listed too. For auto the slabs are as thick as a study's defaults. A scan knows lattices alone: equal planes may
    end in different atoms.

    Example: qdip match PbS 111 FAPbI3-alpha 100 --strain-partition auto

    Example: qdip match PbS CsPbI3 --planes 3
    """
    if max_index is not None:
        _require_host_alone(phase)
        _rank_planes(dot, plane_or_host, max_index=max_index, max_area_ang2=max_area, max_strain=max_strain,
                     limit=limit, as_json=as_json)  # fmt: skip
        return
    if phase is None or film_plane is None:
        raise typer.BadParameter("give DOT HKL PHASE HKL, or DOT HOST --planes N")
    _match_pair(dot, plane_or_host, phase, film_plane, max_area_ang2=max_area, max_strain=max_strain,
                partition=strain_partition, as_json=as_json)  # fmt: skip


def _require_host_alone(phase: str | None) -> None:
    if phase is not None:
        raise typer.BadParameter("with --planes, DOT and HOST are all: qdip match PbS CsPbI3 --planes 3")


def _rank_planes(
    dot: str, host: str, *, max_index: int, max_area_ang2: float, max_strain: float, limit: int, as_json: bool
) -> None:
    """Print all pairs of planes that have a common cell, the least strained first."""
    from qdip_dft.planning.matching import rank_planes

    pairs = rank_planes(dot, host, max_index=max_index, max_area_ang2=max_area_ang2, max_strain=max_strain)
    shown = pairs[: limit or None]
    if as_json:
        limits = {"max_index": max_index, "max_area_ang2": max_area_ang2, "max_strain": max_strain}
        found = [asdict(pair) for pair in shown]
        write_json({"dot": dot, "host": host, **limits, "n_pairs": len(pairs), "pairs": found})
        return
    if not pairs:
        write_line("No pair has a common cell: raise --max-area or --max-strain.")
        return
    headings = ("facet", "film", "strain (%)", "area (Å²)", "film:dot", "cells")
    rows = [
        (pair.facet, f"{pair.phase}({pair.plane})", ", ".join(f"{100 * s:+.2f}" for s in pair.principal_strains),
         f"{pair.area_ang2:.1f}", f"{pair.n_film}:{pair.n_dot}", str(pair.n_cells))
        for pair in shown
    ]  # fmt: skip
    caption = f"facets of {dot}, ranked by whole percent of the largest strain, then by area"
    write_table(headings, rows, numbers=headings[2:], caption=f"{len(shown)} of {len(pairs)} pairs, {caption}")


def _match_pair(
    dot: str, dot_plane: str, phase: str, film_plane: str, *,
    max_area_ang2: float, max_strain: float, partition: str, as_json: bool,
) -> None:  # fmt: skip
    from qdip_dft.planning.matching import load_face, match_faces

    dot_face, film_face = load_face(dot, dot_plane), load_face(phase, film_plane)
    cells = match_faces(film_face, dot_face, max_area_ang2=max_area_ang2, max_strain=max_strain)
    n_atoms = (film_face.oriented.n_atoms, dot_face.oriented.n_atoms)
    share = _read_partition(partition, film_face, dot_face)
    described = [
        _describe(cell, *n_atoms) | _describe_shared(cell, film_face, dot_face, partition=share) for cell in cells
    ]
    if as_json:
        write_json({"dot": dot_face.name, "film": film_face.name, "max_area_ang2": max_area_ang2,
                    "max_strain": max_strain, "strain_partition": share, "cells": described})  # fmt: skip
        return
    _print_cells(f"{dot_face.name} // {film_face.name}", described, partition=share)


def _read_partition(text: str, film: OrientedFace, dot: OrientedFace) -> float:
    """Return the share w as a number."""
    from qdip_dft.builders.strain import check_partition

    if text == "auto":
        return _resolve_auto(film, dot)
    try:
        return check_partition(float(text))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a number from 0 to 1 nor auto") from None


def _resolve_auto(film: OrientedFace, dot: OrientedFace) -> float:
    """Return the share of least elastic energy for slabs of the least thickness that a study asks for by default."""
    from math import ceil

    from qdip_dft.builders.candidates import resolve_partition
    from qdip_dft.builders.orientation import plane_spacing_ang
    from qdip_dft.model.study import DotSpec, FilmSpec

    thicknesses_ang = [spec.model_fields["min_thickness_ang"].default for spec in (FilmSpec, DotSpec)]
    slabs = [
        (face, ceil(thickness_ang / plane_spacing_ang(face.oriented)))
        for face, thickness_ang in zip((film, dot), thicknesses_ang, strict=True)
    ]
    return resolve_partition("auto", *slabs)


def _describe_shared(cell: CellMatch, film: OrientedFace, dot: OrientedFace, *, partition: float) -> dict[str, Any]:
    from qdip_dft.builders.orientation import in_plane_vectors
    from qdip_dft.builders.strain import interface_cell

    interface = interface_cell(in_plane_vectors(film.oriented), in_plane_vectors(dot.oriented), cell, partition)
    return {
        "interface_area_ang2": interface.area_ang2,
        "film_strains": list(interface.film_principal_strains),
        "dot_strains": list(interface.dot_principal_strains),
    }


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


def _print_cells(title: str, cells: list[dict[str, Any]], *, partition: float) -> None:
    caption = "* on the Pareto front of area against the largest strain"
    describe = _describe_in_words if partition == 0.0 else _describe_shares_in_words
    rows = [describe(cell) for cell in cells]
    headings = tuple(rows[0])
    write_line(title)
    write_table(headings, [tuple(row.values()) for row in rows], numbers=headings,
                caption=caption if partition == 0.0 else f"w = {partition:.3f}; {caption}")  # fmt: skip


def _describe_in_words(cell: dict[str, Any]) -> dict[str, str]:
    first, second = cell["principal_strains"]
    return {
        "area (Å²)": f"{cell['area_ang2']:.1f}",
        "film:dot": f"{cell['n_film']}:{cell['n_dot']}",
        "ε1 (%)": f"{100 * first:+.2f}",
        "ε2 (%)": f"{100 * second:+.2f}",
        "von Mises (%)": f"{100 * cell['von_mises_strain']:.2f}",
        "atoms/plane": str(cell["n_atoms"]),
        "front": "*" if cell["is_pareto"] else "",
    }


def _describe_shares_in_words(cell: dict[str, Any]) -> dict[str, str]:
    shares = {
        f"{side} strains (%)": ", ".join(f"{100 * strain:+.2f}" for strain in cell[f"{side}_strains"])
        for side in ("film", "dot")
    }
    words = _describe_in_words(cell)
    kept = {name: words[name] for name in ("atoms/plane", "front")}
    return {"cell (Å²)": f"{cell['interface_area_ang2']:.1f}", "film:dot": words["film:dot"], **shares, **kept}
