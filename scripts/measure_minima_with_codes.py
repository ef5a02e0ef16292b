"""Measure density-functional codes at published minima of CsPbI3 and FAPbI3, which decide the bulk term.

    python scripts/measure_minima_with_codes.py gpaw espresso [--preset fast] [--k-spacing 0.3] [--cutoff-ev 700]

PBE-D3(BJ) energies per formula unit of the primitive cells of tests/data/phase_minima.json, written into
scripts/phase_minima_of_codes.json one by one: what stands there with the same settings is not computed again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pymatgen.core import Lattice, Structure

from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.model.engine import EngineSpec, PresetName
from qdip_dft.model.structure import StructureRecord

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "scripts" / "phase_minima_of_codes.json"

PHASES = (("CsPbI3", "gamma"), ("CsPbI3", "Csdelta"), ("FAPbI3", "gamma"), ("FAPbI3", "FAdelta"))
"""Black and yellow of each host: tilted black, the Pnma type of caesium, 2H of formamidinium."""

CELL_TOLERANCE_ANG = 0.01
"""The published cells are twice the primitive ones, exact to less than this."""


def main() -> None:
    """Calculate what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codes", nargs="+", choices=["gpaw", "espresso", "cp2k", "vasp"])
    parser.add_argument("--preset", default="fast", choices=[preset.value for preset in PresetName])
    parser.add_argument("--k-spacing", type=float)
    parser.add_argument("--cutoff-ev", type=float)
    parser.add_argument("--material", choices=["CsPbI3", "FAPbI3"])
    arguments = parser.parse_args()
    asked = {"k_spacing_per_ang": arguments.k_spacing, "cutoff_ev": arguments.cutoff_ev}
    settings = {name: value for name, value in asked.items() if value is not None}
    for code in arguments.codes:
        spec = EngineSpec(name=code, preset=arguments.preset, settings=settings)
        for material, phase in PHASES:
            if arguments.material in {None, material}:
                _keep(spec, material, phase)


def read_minimum(material: str, phase: str) -> tuple[Structure, int]:
    """Return the cell of a published minimum and its formula units."""
    minima = json.loads((ROOT / "tests" / "data" / "phase_minima.json").read_text(encoding="utf-8"))["minima"]
    minimum = minima[material][phase]
    return Structure(Lattice(minimum["lattice_ang"]), minimum["species"], minimum["frac"]), minimum["formula_units"]


def find_primitive(material: str, phase: str) -> tuple[StructureRecord, float]:
    """Return the primitive cell of a published minimum and its formula units."""
    structure, n_units = read_minimum(material, phase)
    primitive = structure.get_primitive_structure(tolerance=CELL_TOLERANCE_ANG)
    return StructureRecord.from_pymatgen(primitive), n_units * len(primitive) / len(structure)


def _keep(spec: EngineSpec, material: str, phase: str) -> None:
    engine = engine_from_spec(spec)
    key = {
        "engine": spec.model_dump(mode="json", include={"name", "preset", "settings"}),
        "material": material,
        "phase": phase,
    }
    if is_kept(RESULTS, key):
        return
    primitive, n_units = find_primitive(material, phase)
    energy_ev = engine.static(primitive).energy_ev
    measured = {
        "n_atoms": len(primitive.species),
        "code_version": engine.code_version(),
        "energy_ev_per_fu": round(energy_ev / n_units, 6),
    }
    keep(RESULTS, key | measured)


def is_kept(path: Path, key: dict[str, Any]) -> bool:
    """Return whether a file holds an entry with these values."""
    return any(key.items() <= entry.items() for entry in _read_kept(path))


def keep(path: Path, entry: dict[str, Any]) -> None:
    """Add an entry to a file, which is read again: another run may have written meanwhile."""
    path.write_text(json.dumps([*_read_kept(path), entry], indent=1) + "\n", encoding="utf-8")
    print(entry, flush=True)


def _read_kept(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


if __name__ == "__main__":
    main()
