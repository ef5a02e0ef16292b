"""D3(BJ) is one number in every engine, and the number of the codes' own implementations."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from qdip_dft.engines.code_run import Setting, find_vacuum
from qdip_dft.engines.cp2k.engine import Cp2kRun
from qdip_dft.engines.dft import DftEngine
from qdip_dft.engines.dispersion import PBE_D3BJ, evaluate_d3
from qdip_dft.engines.espresso.engine import EspressoRun
from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.model.engine import Dispersion, EngineSpec
from qdip_dft.model.structure import StructureRecord
from qdip_dft.units import HARTREE_IN_EV
from tests.dft_codes import CODES, coarse_engine

CODES_TOLERANCE_EV = 1e-3
"""Codes cut their lattice sums at other distances."""


def slab() -> StructureRecord:
    """Return two layers of PbS(100) and 10 Å of vacuum."""
    edge, gap = 5.945 / np.sqrt(2), 5.945 / 2
    height = gap + 10.0
    frac = ((0, 0, 0), (0.5, 0.5, 0), (0.5, 0.5, gap / height), (0, 0, gap / height))
    return StructureRecord(
        lattice_ang=np.diag([edge, edge, height]).tolist(), species=("Pb", "S", "Pb", "S"), frac_coords=frac
    )


def expected_ev() -> float:
    return evaluate_d3(slab().arrangement, PBE_D3BJ).energy_ev


@pytest.mark.parametrize("name", [*CODES, "vasp"])
def test_every_engine_adds_the_same_dispersion_to_a_slab(name: str) -> None:
    engine = engine_from_spec(EngineSpec(name=name, functional="PBE", dispersion=Dispersion.D3BJ))
    if not isinstance(engine, DftEngine):
        pytest.skip(f"{name} computes its dispersion itself")
    arrangement = slab().arrangement
    nothing = Evaluation(0.0, np.zeros((4, 3)), np.zeros((3, 3)))
    assert engine.add_dispersion(arrangement, nothing).energy_ev == pytest.approx(expected_ev(), abs=1e-9)
    assert expected_ev() < -0.5


def setting(folder: Path) -> Setting:
    return Setting(folder=folder, k_mesh=(1, 1, 1), vacuum=find_vacuum(slab()), has_fixed_cell=True)


def run(words: list[str], folder: Path, *, stdin: str | None = None) -> str:
    text = None if stdin is None else (folder / stdin).read_text()
    done = subprocess.run(words, cwd=folder, input=text, capture_output=True, text=True, timeout=500, check=False)
    return done.stdout


def test_quantum_espresso_finds_the_same_dispersion_itself(tmp_path: Path) -> None:
    engine = coarse_engine("espresso", cutoff_ev=272)
    code = engine.start(setting(tmp_path))
    assert isinstance(code, EspressoRun)
    code.write_inputs(slab().arrangement, {"electron_maxstep": 60})
    own = "&SYSTEM\n vdw_corr = 'grimme-d3'\n dftd3_version = 4\n dftd3_threebody = .false.\n"
    text = (tmp_path / "pw.in").read_text().replace("&SYSTEM\n", own)
    (tmp_path / "pw.in").write_text(re.sub(r"conv_thr += \S+", "conv_thr = 1e-4", text))
    output = run(code.command, tmp_path, stdin="pw.in")
    found = re.search(r"DFT-D3 Dispersion\s+=\s+(\S+) Ry", output)
    assert found, output[-2000:]
    assert float(found[1]) * HARTREE_IN_EV / 2 == pytest.approx(expected_ev(), abs=CODES_TOLERANCE_EV)


OWN_OF_CP2K = """&XC
&VDW_POTENTIAL
POTENTIAL_TYPE PAIR_POTENTIAL
&PAIR_POTENTIAL
TYPE DFTD3(BJ)
REFERENCE_FUNCTIONAL PBE
PARAMETER_FILE_NAME dftd3.dat
R_CUTOFF [bohr] 60
&END
&END
"""


def test_cp2k_finds_the_same_dispersion_itself(tmp_path: Path) -> None:
    engine = coarse_engine("cp2k", cutoff_ev=1400)
    code = engine.start(setting(tmp_path))
    assert isinstance(code, Cp2kRun)
    text = re.sub(r"SURF\w*DIP\w+ \S+\n", "", str(code.draft_input(slab().arrangement, {})))
    text = re.sub(r"&XC\n", OWN_OF_CP2K, text)
    (tmp_path / "cp2k.inp").write_text(re.sub(r"EPS_SCF \S+", "EPS_SCF 1e-3", text))
    output = run([*code.command, "-i", "cp2k.inp"], tmp_path)
    found = re.search(r"Dispersion energy:\s+(\S+)", output)
    assert found, output[-2000:]
    assert float(found[1]) * HARTREE_IN_EV == pytest.approx(expected_ev(), abs=CODES_TOLERANCE_EV)
