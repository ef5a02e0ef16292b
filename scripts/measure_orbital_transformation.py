"""CP2K at Γ by orbital transformation and by diagonalisation, on one cell of 96 atoms.

    python scripts/measure_orbital_transformation.py [--preset balanced]

The cell is the published minimum of tilted black FAPbI3 (tests/data/phase_minima.json), 12.6 to 12.8 Å along each
vector.  Both ways start from atomic densities, one after the other, and must lead to one ground state: printed are the
energy, the largest difference of a force, iterations and wall time.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from measure_minima_with_codes import read_minimum

from qdip_dft.engines.base import Engine
from qdip_dft.engines.code_run import CodeRun, Setting
from qdip_dft.engines.cp2k.engine import Cp2kEngine, Cp2kRun
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.engine import EngineSpec, PresetName
from qdip_dft.model.structure import StructureRecord
from qdip_dft.runtime.journal import SCRATCH_VARIABLE

GAMMA_SPACING_PER_ANG = 0.6
"""One k-point in a cell of more than 10.5 Å."""


@dataclass(frozen=True)
class Diagonalising(Cp2kEngine):
    """CP2K as if every gap had been found too narrow for full bands."""

    def start(self, setting: Setting) -> CodeRun:
        """Return CP2K in its folder, which diagonalises."""
        run = super().start(setting)
        assert isinstance(run, Cp2kRun)
        run.is_gapped = False
        return run


def diagonalise(engine: Engine) -> Diagonalising:
    """Return an engine of CP2K that leaves orbital transformation out."""
    assert isinstance(engine, Cp2kEngine)
    return Diagonalising(**{each.name: getattr(engine, each.name) for each in fields(engine)})


def main() -> None:
    """Print both ways and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="fast", choices=[preset.value for preset in PresetName])
    preset = parser.parse_args().preset
    record = StructureRecord.from_pymatgen(read_minimum("FAPbI3", "gamma")[0])
    settings = {"k_spacing_per_ang": GAMMA_SPACING_PER_ANG}
    engine = engine_from_spec(EngineSpec(name="cp2k", preset=PresetName(preset), settings=settings))
    transformed, transformed_s = _run(engine, record)
    diagonalised, diagonalised_s = _run(diagonalise(engine), record)
    difference_ev = abs(transformed.energy_ev - diagonalised.energy_ev) / record.n_atoms
    forces = np.subtract(transformed.forces_ev_per_ang, diagonalised.forces_ev_per_ang)
    print(f"energies differ by {difference_ev:.1e} eV per atom, forces by {np.abs(forces).max():.1e} eV/Å at most")
    print(f"diagonalisation takes {diagonalised_s / transformed_s:.1f} times as long")


def _run(engine: Engine, record: StructureRecord) -> tuple[CalculationRecord, float]:
    """Return the single point and its wall time in s."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ[SCRATCH_VARIABLE] = scratch
        start_s = time.monotonic()
        found = engine.static(record)
        wall_s = time.monotonic() - start_s
        text = next(Path(scratch).rglob("cp2k.out")).read_text(encoding="utf-8")
    diagonalises = isinstance(engine, Diagonalising)
    assert found.corrections == ()
    assert ("&OT" in text or " OT " in text) != diagonalises
    n_iterations = len(re.findall(r"^ +\d+ +(?:\S+/Diag|OT )", text, flags=re.MULTILINE))
    way = "diagonalisation" if diagonalises else "orbital transformation"
    print(f"{way}: {found.energy_ev:.6f} eV, {n_iterations} iterations, {wall_s:.0f} s", flush=True)
    return found, wall_s


if __name__ == "__main__":
    main()
