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

import yaml
from pymatgen.core import Lattice, Structure

from qdip_dft.builders.molecules import (
    OrganicCation,
    build_formamidinium,
    build_methylammonium,
    build_phenethylammonium,
    place_cations,
)

HERE = Path(__file__).resolve().parent
CATIONS = {cation.name: cation for cation in (build_formamidinium(), build_methylammonium(), build_phenethylammonium())}
CRYSTAL_LICENCE = "cell and coordinates are facts, cited from the source; the file was written by this project"
MOLECULE_LICENCE = "made by this project"
HEADER = "# Written by scripts/build_structures.py from scripts/crystal_data.json; edit those, not this file.\n"
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


def build_crystal(phase: dict[str, Any]) -> Structure:
    """Return the conventional cell of a phase with its molecules."""
    cage = build_cage(phase)
    if "cation" not in phase:
        return cage
    cation = CATIONS[phase["cation"]]
    return place_cations(cage, cation, centres_frac=phase["cation_centres"], seed=phase["cation_seed"])


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
    for phase in data["phases"]:
        (output / f"{phase['id']}.cif").write_text(format_cif(phase, build_crystal(phase)), encoding="utf-8")
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
