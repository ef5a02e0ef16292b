"""`qdip import`: energies that were run by hand become calculations of a study."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from qdip_dft.engines.recorded import SCRATCH_VARIABLE
from qdip_dft.engines.vasp import VERSION_VARIABLE
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import Freedom
from tests.command_line import assert_four_parts, qdip
from tests.dft_codes import coarse_engine, silicon
from tests.unit.studies import TINY_STUDY
from tests.unit.test_vasp import STAND_IN, write_potentials


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study relaxed by the toy potential, with energies of VASP, which is not on this machine."""
    from pymatgen.core import SETTINGS

    write_potentials(tmp_path / "potentials", "Cs_sv", "I", "Pb_d", "Te")
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(tmp_path / "potentials"))
    monkeypatch.setenv("ATOMATE2_VASP_CMD", "vasp-on-another-machine")
    monkeypatch.setenv(VERSION_VARIABLE, "6.3.2")
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "scratch"))
    path = tmp_path / "by-hand.yaml"
    content = {**TINY_STUDY, "name": "by-hand", "engine": {"name": "vasp"}, "geometry": {"name": "testing"}}
    path.write_text(yaml.safe_dump(content))
    return path


def run_by_hand(folder: Path) -> None:
    environment = {"PYTHONPATH": str(STAND_IN.parents[1])}
    subprocess.run([sys.executable, "-P", STAND_IN], cwd=folder, env=environment, check=True, capture_output=True)


def test_energies_run_by_hand_complete_a_study_and_others_are_refused(study: Path, tmp_path: Path) -> None:
    results, inputs = tmp_path / "results", tmp_path / "inputs"
    qdip("run", study, "--quiet", "--results", results)
    qdip("inputs", study, "--results", results, "--write", inputs)
    manifest = json.loads((inputs / "manifest.json").read_text())
    folders = [inputs / each["folder"] for each in manifest["calculations"] if each["run_by_hand"]]
    for folder in folders:
        run_by_hand(folder)
    incar, unfinished = folders[0] / "INCAR", folders[1] / "vasprun.xml"
    own = incar.read_text()
    incar.write_text(own.replace("SIGMA = 0.05", "SIGMA = 0.2"))
    whole = unfinished.read_text()
    unfinished.write_text(whole[: len(whole) // 2])
    refused = qdip("import", inputs, "--study", study, "--results", results, check=False)
    assert refused.returncode == 1
    assert f"{len(folders) - 2} energies stored" in refused.stdout
    assert "no static calculation that the study waits for" in refused.stdout
    assert "complete vasprun.xml" in refused.stdout
    incar.write_text(own)
    unfinished.write_text(whole)
    would = qdip("import", inputs, "--study", study, "--results", results, "--dry-run", check=False)
    assert "2 energies would be stored" in would.stdout
    qdip("import", inputs, "--study", study, "--results", results, check=False)
    done = qdip("run", study, "--quiet", "--results", results)
    assert "0 calculations made" in done.stdout
    nothing_left = qdip("import", inputs, "--study", study, "--results", results, check=False)
    assert_four_parts(nothing_left, "qdip plan says what is ready")


def test_a_finished_folder_of_espresso_has_the_energy_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "scratch"))
    engine = coarse_engine("espresso")
    folder = tmp_path / "by-hand"
    run = engine.write_inputs(silicon(), Freedom.NONE, folder)
    with pytest.raises(EngineError, match="run the folder again"):
        engine.read_finished(silicon(), Freedom.NONE, folder)
    subprocess.run(run.by_hand, shell=True, cwd=folder, check=True)
    by_hand = engine.read_finished(silicon(), Freedom.NONE, folder)
    assert by_hand.energy_ev == pytest.approx(engine.static(silicon()).energy_ev, abs=1e-6)
    output = folder / "pw.out"
    output.write_text(output.read_text().replace("JOB DONE", "JOB"))
    with pytest.raises(EngineError, match="run the folder again"):
        engine.read_finished(silicon(), Freedom.NONE, folder)
