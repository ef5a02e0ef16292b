"""Write the crystal library `structures/` from `scripts/crystal_data.json`.

Run it after a change of the data:  python scripts/build_structures.py [--output FOLDER]
Every cell keeps the axes of its source, because Miller indices refer to them, so all its sites are listed (P 1).
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from crystal_builders.graphene import build_graphene
from crystal_builders.layered import LayeredCell, build_layered_host, place_along
from crystal_builders.mixed import arrange_quasirandom, mix_lattices
from crystal_builders.molecules import (
    OrganicCation,
    build_formamidinium,
    build_methylammonium,
    build_phenethylammonium,
    place_cation,
    place_cations,
)
from pymatgen.core import Lattice, Structure

HERE = Path(__file__).resolve().parent
CATIONS = {cation.name: cation for cation in (build_formamidinium(), build_methylammonium(), build_phenethylammonium())}
CRYSTAL_LICENCE = "cell and coordinates are facts, cited from the source; the file was written by this project"
MOLECULE_LICENCE = "made by this project"
HEADER = "# Written by scripts/build_structures.py from scripts/crystal_data.json; edit those, not this file.\n"
BULK_MODULI_GPA = json.loads((HERE / "bulk_moduli.json").read_text(encoding="utf-8"))
CELL_TAGS = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
TAKEN_OVER = ("id", "name", "formula", "material", "phase", "role", "color", "space_group", "space_group_number")


def build_cage(phase: dict[str, Any]) -> Structure:
    """Return the conventional cell of a phase without its molecules, in the axes of the data."""
    lattice = Lattice.from_parameters(*phase["lattice"])
    species = [element for element, *_ in phase["sites"]]
    coords = [position for _, *position in phase["sites"]]
    if phase["has_all_sites"]:
        return Structure(lattice, species, coords)
    with warnings.catch_warnings():  # pymatgen remarks that Pbnm and the like have no full symbol
        warnings.simplefilter("ignore")
        cage = Structure.from_spacegroup(phase["space_group_setting"], lattice, species, coords)
    return Structure.from_sites(sorted(cage, key=lambda site: (species.index(site.specie.symbol), *site.frac_coords)))


def build_crystal(phase: dict[str, Any], known: dict[str, dict[str, Any]]) -> Structure:
    """Return the conventional cell of a phase with its molecules; a recipe may refer to known phases."""
    if "recipe" in phase:
        return check_lattice(phase, RECIPES[phase["recipe"]["kind"]](phase["recipe"], known))
    cage = build_cage(phase)
    if "cation" not in phase:
        return cage
    cation = CATIONS[phase["cation"]]
    if "cation_axes" in phase:
        return place_oriented(cage, cation, phase)
    return place_cations(cage, cation, centres_frac=phase["cation_centres"], seed=phase["cation_seed"])


def check_lattice(phase: dict[str, Any], crystal: Structure) -> Structure:
    """Return the crystal if its cell is the one written down in the data."""
    if not np.allclose(crystal.lattice.parameters, phase["lattice"], atol=1e-6):
        raise ValueError(f"{phase['id']}: the recipe gives {crystal.lattice.parameters}, the data {phase['lattice']}")
    return crystal


def place_oriented(cage: Structure, cation: OrganicCation, phase: dict[str, Any]) -> Structure:
    """Return the cage with its cations along the directions of the data."""
    filled = cage
    places = zip(phase["cation_centres"], phase["cation_axes"], phase["cation_turns_deg"], strict=True)
    for centre, axis, turn_deg in places:
        filled = place_along(filled, cation, centre_frac=centre, axis=axis, turn_deg=turn_deg)
    return filled


def build_mixed(recipe: dict[str, Any], known: dict[str, dict[str, Any]]) -> Structure:
    """Return a mixed crystal: the frame on the lattice by Vegard's rule, its sites filled quasirandomly."""
    cell = mix_lattices(
        [(m["share"], reorder_cell(known[m["phase"]]["lattice"], m["axes"])) for m in recipe["end_members"]]
    )
    frame = build_cage(known[recipe["frame"]])
    frame = Structure(Lattice.from_parameters(*cell), frame.species, frame.frac_coords)
    frame.make_supercell(recipe["supercell"], to_unit_cell=True)
    labels = [site.specie.symbol for site in frame]
    for element, amounts in recipe["fill"].items():
        sites = [i for i, site in enumerate(frame) if site.specie.symbol == element]
        found = arrange_quasirandom(frame.lattice.matrix, frame.frac_coords[sites], amounts, seed=recipe["seed"])
        for index, label in zip(sites, found.labels, strict=True):
            labels[index] = label
    return fill_frame(frame, labels, seed=recipe["seed"])


def reorder_cell(cell: list[float], axes: list[int]) -> list[float]:
    """Return the cell in another order of its axes."""
    return [cell[axis] for axis in axes] + [cell[3 + axis] for axis in axes]


def fill_frame(frame: Structure, labels: list[str], *, seed: int) -> Structure:
    """Return the frame with these species, elements first, then every molecule with a random orientation."""
    order = sorted((label, index) for index, label in enumerate(labels))
    elements = [index for label, index in order if label not in CATIONS]
    filled = Structure(frame.lattice, [labels[i] for i in elements], frame.frac_coords[elements])
    for label, index in order:
        if label in CATIONS:
            filled = place_cation(
                filled, CATIONS[label], centre_frac=frame.frac_coords[index].tolist(), seed=(seed, index)
            )
    return filled


def build_layered(recipe: dict[str, Any], _: dict[str, dict[str, Any]]) -> Structure:
    """Return a layered host."""
    cell = LayeredCell(n_sheets=recipe["n_sheets"], bond_ang=recipe["bond_ang"], gap_ang=recipe["gap_ang"])
    return build_layered_host(cell, seed=recipe["seed"])


def build_sheets(recipe: dict[str, Any], _: dict[str, dict[str, Any]]) -> Structure:
    """Return stacked sheets of graphene."""
    return build_graphene(
        recipe["repeats"],
        bond_ang=recipe["bond_ang"],
        spacing_ang=recipe["spacing_ang"],
        hydroxyl_pairs=recipe["hydroxyl_pairs"],
        epoxides=recipe["epoxides"],
        carbonyl_pairs=recipe.get("carbonyl_pairs", 0),
    )


RECIPES = {"mixed": build_mixed, "layered": build_layered, "graphene": build_sheets}


def format_cif(phase: dict[str, Any], crystal: Structure) -> str:
    """Return the CIF text of a phase: every site of the cell, ten decimals, molecules not wrapped."""
    molecules = " without the organic cations" if "cation" in phase else ""
    comments = [
        f"# {phase['name']}; space group {phase['space_group']} (No. {phase['space_group_number']}){molecules}",
        f"# source: {phase['source']}",
        f"# provenance: {phase['provenance']}",
    ]
    cell = [
        f"data_{phase['id']}",
        "_space_group_name_H-M_alt 'P 1'",
        "_space_group_IT_number 1",
        f"_chemical_formula_sum '{crystal.composition.formula}'",
        f"_cell_formula_units_Z {phase['formula_units']}",
        *(f"_cell_{name} {value:.10g}" for name, value in zip(CELL_TAGS, phase["lattice"], strict=True)),
        "loop_\n_space_group_symop_operation_xyz\n'x, y, z'",
        "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z",
    ]
    sites = [format_site(f"{site.specie.symbol}{i}", site) for i, site in enumerate(crystal, start=1)]
    return "\n".join([*comments, *cell, *sites]) + "\n"


def format_site(label: str, site: Any) -> str:
    """Return one line of the site table; -0 is written as 0."""
    x, y, z = (round(float(value), 10) + 0.0 for value in site.frac_coords)
    return f"{label} {site.specie.symbol} {x:.10f} {y:.10f} {z:.10f}"


def format_xyz(cation: OrganicCation, molecule: dict[str, Any]) -> str:
    """Return the XYZ text of a molecule in Å, centre of mass at the origin."""
    rows = [
        f"{symbol} {x + 0.0:.10f} {y + 0.0:.10f} {z + 0.0:.10f}"
        for symbol, (x, y, z) in zip(cation.symbols, cation.positions_ang.round(10), strict=True)
    ]
    return "\n".join([str(len(rows)), f"{molecule['name']}, charge +{cation.charge}", *rows]) + "\n"


def describe_phase(phase: dict[str, Any]) -> dict[str, Any]:
    """Return the catalogue entry of a phase."""
    entry = {name: phase[name] for name in TAKEN_OVER if phase[name] is not None}
    entry |= {"file": f"{phase['id']}.cif", "formula_units": phase["formula_units"]}
    entry |= {"volume_ang3_per_fu": phase["vol_per_fu"], "formal_charges": phase["formal_charges"]}
    entry |= {"bulk_modulus_gpa": BULK_MODULI_GPA[phase["id"]]} if phase["id"] in BULK_MODULI_GPA else {}
    entry |= {name: phase[name] for name in ("cation", "cation_centres", "cation_seed") if name in phase}
    entry |= {"provenance": phase["provenance"], "is_verified": phase["provenance"] != "memory"}
    entry |= {"source": phase["source"], "licence": CRYSTAL_LICENCE}
    return entry | ({"note": phase["note"]} if phase["note"] else {})


def describe_molecule(molecule: dict[str, Any]) -> dict[str, Any]:
    """Return the catalogue entry of a molecule."""
    symbols = CATIONS[molecule["id"]].symbols
    formula = " ".join(f"{element}{symbols.count(element)}" for element in sorted(set(symbols)))
    named = {name: molecule[name] for name in ("id", "name", "charge", "source")}
    return {**named, "formula": formula, "file": f"{molecule['id']}.xyz", "licence": MOLECULE_LICENCE}


def build_library(data: dict[str, Any], output: Path) -> None:
    """Write the catalogue, one CIF per phase and one XYZ per molecule."""
    output.mkdir(parents=True, exist_ok=True)
    known = {phase["id"]: phase for phase in data["phases"]}
    for phase in data["phases"]:
        text = format_cif(phase, build_crystal(phase, known))
        (output / f"{phase['id']}.cif").write_text(text, encoding="utf-8")
    for molecule in data["molecules"]:
        text = format_xyz(CATIONS[molecule["id"]], molecule)
        (output / f"{molecule['id']}.xyz").write_text(text, encoding="utf-8")
    catalogue = {
        "schema_version": 1,
        "phases": [describe_phase(phase) for phase in data["phases"]],
        "molecules": [describe_molecule(molecule) for molecule in data["molecules"]],
    }
    text = yaml.safe_dump(catalogue, sort_keys=False, allow_unicode=True, width=118, default_flow_style=None)
    (output / "catalogue.yaml").write_text(HEADER + text, encoding="utf-8")


def main() -> None:
    """Read the command line and write the library."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE.parent / "structures", help="folder to write to")
    given = parser.parse_args()
    build_library(json.loads((HERE / "crystal_data.json").read_text(encoding="utf-8")), given.output)


if __name__ == "__main__":
    main()
