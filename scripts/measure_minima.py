"""Measure potentials at published minima of CsPbI3 and FAPbI3, as they are and relaxed from there.

    python scripts/measure_minima.py [--preset balanced] [--static] [POTENTIAL …]

Writes energies and volumes per formula unit, and the processor time of a force call on 96 atoms, into
scripts/phase_minima.json; the minima are those of tests/data.  ``--static`` leaves out the relaxations.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Lattice, Structure

from qdip_dft.engines.base import Engine
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import EngineSpec, PresetName
from qdip_dft.model.structure import StructureRecord

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "scripts" / "phase_minima.json"


def main() -> None:
    """Calculate every minimum and keep what it gives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("potentials", nargs="*", default=["sevennet-0"])
    parser.add_argument("--preset", default="balanced", choices=[preset.value for preset in PresetName])
    parser.add_argument("--static", action="store_true")
    arguments = parser.parse_args()
    minima = json.loads((ROOT / "tests" / "data" / "phase_minima.json").read_text(encoding="utf-8"))["minima"]
    for potential in arguments.potentials:
        engine = engine_from_spec(EngineSpec(preset=arguments.preset, potential=potential))
        for material, phase in ((material, phase) for material, phases in minima.items() for phase in phases):
            _keep(potential, material, phase, _measure(engine, minima[material][phase], relaxes=not arguments.static))


def _measure(engine: Engine, minimum: dict[str, Any], *, relaxes: bool) -> dict[str, float]:
    structure = Structure(Lattice(minimum["lattice_ang"]), minimum["species"], minimum["frac"])
    record, n_units = StructureRecord.from_pymatgen(structure), minimum["formula_units"]
    static = engine.static(record)
    start = time.process_time()
    engine.static(record)
    measured = {
        "static_ev_per_fu": round(static.energy_ev / n_units, 5),
        "processor_s": round(time.process_time() - start, 2),
    }
    if relaxes:
        relaxed = engine.relax(record, Freedom.CELL)
        volume_ang3 = abs(float(np.linalg.det(np.array(relaxed.structure.lattice_ang))))
        measured |= {
            "relaxed_ev_per_fu": round(relaxed.energy_ev / n_units, 5),
            "volume_ang3_per_fu": round(volume_ang3 / n_units, 3),
        }
    return measured


def _keep(potential: str, material: str, phase: str, measured: dict[str, float]) -> None:
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    kept.setdefault(potential, {}).setdefault(material, {}).setdefault(phase, {}).update(measured)
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(potential, material, phase, measured, flush=True)


if __name__ == "__main__":
    main()
