"""Measure what docs/validation.md compares with published values; kept in `scripts/validation.json`.

    python scripts/measure_validation.py --engine sevennet-0 [--only PbS CsPbI3-gamma ...]
    python scripts/measure_validation.py --engine espresso --preset balanced --only PbS PbTe ZnS-sphalerite

Every crystal is relaxed in its primitive cell, with the preset `precise` unless another is named, and with PBE and the
dispersion of the preset where the engine is a code.  What is there already is kept unless named.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.library.crystals import load_crystal
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import EngineSpec, PresetName
from qdip_dft.model.structure import StructureRecord

CODES = ("espresso", "gpaw", "cp2k")
RESULTS = Path(__file__).resolve().parent / "validation.json"
CRYSTALS = (
    "PbS",
    "PbTe",
    "ZnS-sphalerite",
    "CsI",
    "PbI2",
    "CsPbI3-delta",
    "CsPbI3-gamma",
    "CsPbI3-beta",
    "CsPbI3-alpha",
    "FAPbI3-delta",
    "FAPbI3-alpha",
    "FAPbI3-orthorhombic",
)


def main() -> None:
    """Relax what is named and keep energy and volume per formula unit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="sevennet-0", help="potential of the engine mlip, or a code")
    parser.add_argument("--preset", default="precise", choices=[preset.value for preset in PresetName])
    parser.add_argument("--only", nargs="*", default=CRYSTALS, help="catalogue ids")
    asked = parser.parse_args()
    for crystal_id in asked.only:
        known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        known.setdefault(asked.engine, {})[crystal_id] = measure(crystal_id, find_spec(asked.engine, asked.preset))
        RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        print(asked.engine, crystal_id, known[asked.engine][crystal_id], flush=True)


def find_spec(name: str, preset: str) -> EngineSpec:
    """Return the engine of that name, or the engine `mlip` with the potential of that name."""
    chosen = {"name": name, "functional": "PBE"} if name in CODES else {"potential": name}
    return EngineSpec.model_validate({**chosen, "preset": preset})


def measure(crystal_id: str, spec: EngineSpec) -> dict[str, float | bool]:
    """Return energy and volume per formula unit of the relaxed crystal, and whether it converged."""
    crystal = load_crystal(crystal_id)
    primitive = crystal.structure.get_primitive_structure()
    formula_units = crystal.formula_units * len(primitive) / len(crystal.structure)
    engine = engine_from_spec(spec)
    result = engine.relax(StructureRecord.from_pymatgen(primitive), Freedom.CELL)
    volume_ang3 = abs(float(np.linalg.det(result.structure.lattice_ang)))
    return {
        "energy_ev_per_fu": round(result.energy_ev / formula_units, 5),
        "volume_ang3_per_fu": round(volume_ang3 / formula_units, 3),
        "is_converged": result.is_converged,
    }


if __name__ == "__main__":
    main()
