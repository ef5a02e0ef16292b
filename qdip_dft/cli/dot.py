"""`qdip dot`: a finite faceted dot, alone or inside a host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qdip_dft.cli.exhibit import Exhibit, Outputs, present
from qdip_dft.cli.options import AsJson

if TYPE_CHECKING:
    from qdip_dft.builders.finite_dots import FiniteDot
    from qdip_dft.builders.ions import IonicCrystal

NO_PASSIVATION = "none"

VACUUM_ANG = 15.0
"""Vacuum around a dot without a host, in Å."""


def dot(
    material: Annotated[str, typer.Argument(metavar="DOT", help="PbS, PbSe, PbTe or a file of a rock-salt crystal.")],
    output: Outputs,
    diameter: Annotated[float, typer.Option("--diameter", help="Diameter of the sphere of the same volume in Å.")] = 30,
    ratio: Annotated[
        float, typer.Option("--ratio", help="Surface energies γ(111)/γ(100): 0.6 octahedron, 1.7 cube.")
    ] = 1,
    passivation: Annotated[str, typer.Option("--passivation", help="Halide on the surface; none: no halide.")] = "I",
    host: Annotated[str | None, typer.Option("--host", metavar="PHASE", help="Put the dot into this host.")] = None,
    host_thickness: Annotated[float, typer.Option("--host-thickness", help="Least host between two dots in Å.")] = 20,
    clearance: Annotated[float, typer.Option("--clearance", help="Room around the dot beyond contact in Å.")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Decides between equally good places of halides.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Cut a faceted dot by Wulff construction, passivate it until it is neutral, and put it into a host.

    For geometry, strain maps and export. Lengths in Å; the size is as near as whole lattice planes allow.

    Example: qdip dot PbS --diameter 30 --host CsPbI3-alpha --output dot.png
    """
    from qdip_dft.builders.finite_dots import build_finite_dot

    built = build_finite_dot(
        _load_ions(material),
        name=material,
        diameter_ang=diameter,
        energy_ratio=ratio,
        passivation=None if passivation == NO_PASSIVATION else passivation,
        seed=seed,
    )
    exhibit = _show_dot(built) if host is None else _show_embedded(built, host, host_thickness, clearance)
    present(exhibit, output=output, as_json=as_json)


def _load_ions(name: str) -> IonicCrystal:
    from qdip_dft.builders.ions import view_ions
    from qdip_dft.library.crystals import load_crystal_record

    crystal = load_crystal_record(name)
    return view_ions(crystal.structure, crystal.formal_charges)


def _describe_dot(built: FiniteDot) -> dict[str, object]:
    return {
        "material": built.name,
        "diameter_ang": built.diameter_ang,
        "facet_distances_ang": built.facet_distances_ang,
        "facet_ratio": built.shape.facet_ratio,
        "formal_charge": built.formal_charge,
    }


def _note_dot(built: FiniteDot) -> str:
    distances = built.facet_distances_ang
    facets = f"{{111}} {distances['111']:.1f} Å, {{100}} {distances['100']:.1f} Å from the centre"
    return f"diameter {built.diameter_ang:.1f} Å, facets {facets}, formal charge {built.formal_charge}"


def _show_dot(built: FiniteDot) -> Exhibit:
    from qdip_dft.results.structure_export import label_crystal

    structure = label_crystal(built.in_vacuum(VACUUM_ANG), ion_parts=built.parts)
    notes = (f"{structure.n_atoms} atoms, {_note_dot(built)}",)
    return Exhibit(structure, title=f"{built.name} dot", notes=notes, facts=_describe_dot(built))


def _show_embedded(built: FiniteDot, host: str, host_thickness: float, clearance: float) -> Exhibit:
    from qdip_dft.builders.embedding import embed_dot
    from qdip_dft.builders.finite_dots import describe_counts
    from qdip_dft.results.structure_export import label_crystal

    embedded = embed_dot(
        built, _load_ions(host), host_name=host, host_thickness_ang=host_thickness, clearance_ang=clearance
    )
    removed = f"taken from the host: {describe_counts(embedded.carved)}"
    return Exhibit(
        label_crystal(embedded.crystal, ion_parts=embedded.parts),
        title=f"{built.name} dot in {host}",
        notes=(
            f"{embedded.crystal.n_atoms} atoms, {_note_dot(built)}",
            f"{removed} for the cavity, {describe_counts(embedded.balanced)} from its wall for neutrality",
        ),
        part_names={"dot": f"{built.name} dot"},
        facts={**_describe_dot(built), "host": host, "carved": embedded.carved, "balanced": embedded.balanced},
    )
