"""Compute bulk moduli of the crystal library with the embedded potential; they are kept in `scripts/bulk_moduli.json`.

    python scripts/compute_bulk_moduli.py PbS CsPbI3-gamma ...

The filed cell is relaxed with the preset `precise`, then stretched and compressed in all directions by 0.5 %, its atoms
relaxed: B = −V dp/dV at fixed shape, the bulk modulus of Voigt.  Where the three stresses do not lie on a line, because
octahedra or cations turn on the way, the step is halved.  What is there already is computed again only when named.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from qdip_dft.engines.base import Engine
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.library.crystals import load_crystal_record
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.structure import StructureRecord
from qdip_dft.units import EV_PER_ANG3_IN_GPA

RESULTS = Path(__file__).resolve().parent / "bulk_moduli.json"
STEPS = (0.005, 0.0025)
"""Relative change of every length, and the one where the first leaves the minimum."""
MOST_CURVED = 0.3
"""Largest relative difference of the moduli on compression and on stretching; anharmonicity gives about 0.15."""


def main() -> None:
    """Compute what is named and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="+", help="catalogue ids")
    engine = engine_from_spec(EngineSpec(name="mlip", preset="precise"))
    for entry_id in parser.parse_args().ids:
        modulus_gpa = compute_bulk_modulus_gpa(load_crystal_record(entry_id).structure, engine)
        print(f"{entry_id:24} {modulus_gpa:6.1f} GPa", flush=True)
        known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        known[entry_id] = round(modulus_gpa, 1)
        RESULTS.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", encoding="utf-8")


def compute_bulk_modulus_gpa(structure: StructureRecord, engine: Engine) -> float:
    """Return −V dp/dV in GPa, by the differences of three mean stresses, which must lie on a line."""
    relaxed = engine.relax(structure, Freedom.CELL).structure
    for step in STEPS:
        factors = (1 - step, 1.0, 1 + step)
        stresses = [mean_stress_ev_per_ang3(scale_cell(relaxed, factor), engine) for factor in factors]
        moduli_gpa = EV_PER_ANG3_IN_GPA * np.diff(stresses) / (3 * np.diff(np.log(factors)))
        if abs(moduli_gpa[0] / moduli_gpa[1] - 1) <= MOST_CURVED:
            return float(moduli_gpa.mean())
    raise SystemExit(f"{moduli_gpa.round(1)} GPa on compression and on stretching: the atoms left their minimum")


def scale_cell(structure: StructureRecord, factor: float) -> StructureRecord:
    """Return the structure with every length scaled, molecules included; the relaxation gives their bonds back."""
    return structure.model_copy(update={"lattice_ang": (factor * np.array(structure.lattice_ang)).tolist()})


def mean_stress_ev_per_ang3(structure: StructureRecord, engine: Engine) -> float:
    """Return a third of the trace of the stress with relaxed atoms."""
    result = engine.relax(structure, Freedom.POSITIONS)
    if not result.is_converged:
        raise SystemExit("a relaxation did not converge")
    return float(np.trace(np.array(result.stress_ev_per_ang3))) / 3


if __name__ == "__main__":
    main()
