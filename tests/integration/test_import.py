"""`qdip import`: calculations that were run by hand become calculations of a study.

VASP is not on this machine: a stand-in answers in its formats.  What the real codes leave is imported in
test_import_codes.py.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from qdip_dft.cli.stored import open_archive_of
from qdip_dft.engines.relaxation.recorded import SCRATCH_VARIABLE
from qdip_dft.engines.vasp.engine import VERSION_VARIABLE
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.storage.results_folder import ResultsFolder
from tests.command_line import Outcome, assert_four_parts, qdip
from tests.unit.studies import TINY_STUDY
from tests.unit.test_vasp import STAND_IN, write_potentials

RELAXING = "NSW = 99\nIBRION = 2\nISIF = 3\nEDIFFG = -0.02\nIVDW = 12\n"
"""A person's tags for the relaxation of a bulk, with the D3(BJ) of the code."""


@pytest.fixture(autouse=True)
def vasp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Potentials of VASP, which itself is on another machine."""
    from pymatgen.core import SETTINGS

    write_potentials(tmp_path / "potentials", "Cs_sv", "I", "Pb_d", "Te")
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(tmp_path / "potentials"))
    monkeypatch.setenv("ATOMATE2_VASP_CMD", "vasp-on-another-machine")
    monkeypatch.setenv(VERSION_VARIABLE, "6.3.2")
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "scratch"))


def write_study(path: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump({**TINY_STUDY, "name": "by-hand", "engine": {"name": "vasp"}, **changes}))
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study relaxed by the toy potential, with energies of VASP."""
    return write_study(tmp_path / "by-hand.yaml", geometry={"name": "testing"})


def run_vasp(folder: Path, *, words: str = "") -> None:
    environment = {"PYTHONPATH": str(STAND_IN.parents[1]), "FAKE_VASP": words}
    subprocess.run([sys.executable, "-P", STAND_IN], cwd=folder, env=environment, check=True, capture_output=True)


def change(folder: Path, tags: str, *, without: Sequence[str] = ()) -> None:
    """Add lines to an INCAR in place of those that set the same tags."""
    names = [line.split()[0] for line in tags.splitlines()] + list(without)
    lines = (folder / "INCAR").read_text().splitlines()
    kept = [line for line in lines if line.split()[0] not in names]
    (folder / "INCAR").write_text("\n".join([*kept, tags]))


def write_folders(study: Path, results: Path, inputs: Path) -> dict[str, Path]:
    """Write the inputs of a study and return the folder of each step that can be run."""
    qdip("inputs", study, "--results", results, "--write", inputs)
    manifest = json.loads((inputs / "manifest.json").read_text())
    return {
        c["name"]: inputs / c["folder"] for c in manifest["calculations"] if c["run_by_hand"] and not c["is_preview"]
    }


def take(folder: Path, study: Path, results: Path, *options: object) -> Outcome:
    return qdip("import", folder, "--study", study, "--results", results, *options, check=False)


def records_of(results: Path) -> dict[str, CalculationRecord]:
    return {record.task.label: record for record in open_archive_of(ResultsFolder(results)).list_calculations()}


def test_energies_run_by_hand_complete_a_study_and_others_are_refused(study: Path, tmp_path: Path) -> None:
    results, inputs = tmp_path / "results", tmp_path / "inputs"
    qdip("run", study, "--quiet", "--results", results, leaves_with=1)
    folders = list(write_folders(study, results, inputs).values())
    spoiled, unfinished, other_numerics = folders[:3]
    change(spoiled, "SIGMA = 0.2\nLASPH = .FALSE.\n")
    change(other_numerics, "ALGO = Fast\nNCORE = 4\n")
    for folder in folders:
        run_vasp(folder)
    output = unfinished / "vasprun.xml"
    whole = output.read_text()
    output.write_text(whole[: len(whole) // 2])
    refused = take(inputs, study, results)
    assert refused.returncode == 1
    assert f"{len(folders) - 2} calculations stored" in refused.stdout
    assert "LASPH: False, the study has True; SIGMA: 0.2, the study has 0.05" in refused.stdout
    assert "complete vasprun.xml" in refused.stdout
    (warned,) = (
        each for each in records_of(results).values() if each.result and "ALGO = fast" in str(each.result.warnings)
    )
    assert "NCORE = 4" in str(warned.result.warnings)
    change(spoiled, "SIGMA = 0.05\nLASPH = .TRUE.\n")
    run_vasp(spoiled)
    output.write_text(whole)
    would = take(inputs, study, results, "--dry-run")
    assert "2 calculations would be stored" in would.stdout
    assert would.stdout.count("is stored already") == len(folders) - 2
    assert take(inputs, study, results).returncode == 0
    done = qdip("run", study, "--quiet", "--results", results)
    assert "0 calculations made" in done.stdout
    nothing_left = take(inputs, study, results)
    assert_four_parts(nothing_left, "qdip plan says what is ready")


def shift_energies(folder: Path, by_ev: float) -> None:
    """Move every energy of an output."""
    path = folder / "vasprun.xml"
    moved = re.sub(
        r'(name="e_\w+"> *)(-?[\d.]+)', lambda found: f"{found[1]}{float(found[2]) + by_ev:.8f}", path.read_text()
    )
    path.write_text(moved)


@pytest.mark.parametrize(("by_ev", "is_said"), [(1e-7, False), (0.01, True), (-2.0, True)])
def test_a_folder_that_contradicts_what_is_stored_is_named(
    by_ev: float, is_said: bool, study: Path, tmp_path: Path
) -> None:
    results, inputs = tmp_path / "results", tmp_path / "inputs"
    qdip("run", study, "--quiet", "--results", results, leaves_with=1)
    folder, other, *_ = write_folders(study, results, inputs).values()
    run_vasp(folder)
    assert "1 calculations stored" in take(folder, study, results).stdout
    stored = records_of(results)
    shift_energies(folder, by_ev)
    run_vasp(other)
    again = take(inputs, study, results)
    assert again.returncode == int(is_said)
    assert ("it contradicts what is stored for" in again.stdout) == is_said
    assert ("is stored already" in again.stdout) == (not is_said)
    assert "1 calculations stored" in again.stdout
    now = records_of(results)
    assert all(now[name] == record for name, record in stored.items() if record.is_usable)


def test_relaxations_run_by_hand_let_a_study_go_on(tmp_path: Path) -> None:
    study, results = write_study(tmp_path / "by-hand.yaml"), tmp_path / "results"
    folders = write_folders(study, results, tmp_path / "inputs")
    assert set(folders) == {"dot bulk PbTe", "bulk CsPbI3-alpha", "bulk CsPbI3-delta"}
    for folder in folders.values():
        change(folder, RELAXING)
        run_vasp(folder)
    taken = take(tmp_path / "inputs", study, results)
    assert "2 calculations stored" in taken.stdout
    assert "'bulk CsPbI3-delta': phase" in taken.stdout
    record = records_of(results)["dot bulk PbTe"]
    assert record.is_usable
    assert "its D3(BJ) is the code's own" in str(record.result.warnings)
    following = write_folders(study, results, tmp_path / "following")
    assert {"dot bulk PbTe (static)", "bulk CsPbI3-alpha (static)"} < set(following)
    assert any(name.startswith("strained bulk") for name in following)


def test_a_relaxation_that_leaves_forces_is_refused_with_them(tmp_path: Path) -> None:
    strict = {"name": "vasp", "settings": {"force_threshold_ev_per_ang": 1e-5}}
    study, results = write_study(tmp_path / "by-hand.yaml", engine=strict), tmp_path / "results"
    folder = write_folders(study, results, tmp_path / "inputs")["bulk CsPbI3-delta"]
    change(folder, RELAXING)
    run_vasp(folder)
    refused = take(folder, study, results)
    assert "eV/Å are left, the study allows 1e-05" in refused.stdout
    assert records_of(results) == {}


def test_a_relaxation_that_started_elsewhere_is_taken_only_as_what_it_is_declared_to_be(tmp_path: Path) -> None:
    study, results = write_study(tmp_path / "by-hand.yaml"), tmp_path / "results"
    folder = write_folders(study, results, tmp_path / "inputs")["dot bulk PbTe"]
    lines = (folder / "POSCAR").read_text().splitlines()
    x, *rest = lines[8].split()
    (folder / "POSCAR").write_text(
        "\n".join([*lines[:8], " ".join([f"{float(x) + 0.02:.10f}", *rest]), *lines[9:], ""])
    )
    change(folder, RELAXING)
    run_vasp(folder)
    refused = take(folder, study, results)
    assert "nearest is 'dot bulk PbTe': an atom of it lies 0.1291 Å from its place" in refused.stdout
    wrong = take(folder, study, results, "--step", "bulk CsPbI3-alpha")
    assert "it holds Pb4 Te4 instead of Cs1 I3 Pb1" in wrong.stdout
    unknown = take(folder, study, results, "--step", "dot slab")
    assert_four_parts(unknown, "as `qdip inputs` writes it")
    taken = take(folder, study, results, "--step", "dot bulk PbTe")
    assert "1 calculations stored" in taken.stdout
    assert "started up to 0.129 Å from the structure of the step" in str(records_of(results)["dot bulk PbTe"].result)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ("IVDW = 11\n", "dispersion in the code: IVDW = 11, the study has none"),
        ("PSTRESS = 5.0\n", "PSTRESS: 5, the study has 0"),
        ("ISIF = 2\n", "GPa are left, the study allows 0.1"),
        ("NSW = 0\nIBRION = -1\n", "it is a static calculation of VASP; the study has those of no other code"),
        ("NELECT = 19.0\n", "charge: 1, the study has 0"),
        ("ISPIN = 2\n", "ISPIN: 2, the study has 1"),
        ("LDAU = .TRUE.\n", "LDAU: True, the study has False"),
        ("ENCUT = 400\n", "ENCUT (eV): 400, the study has 450"),
    ],
)
def test_a_relaxation_that_is_another_one_is_refused_by_name(tags: str, words: str, tmp_path: Path) -> None:
    study, results = write_study(tmp_path / "by-hand.yaml"), tmp_path / "results"
    folder = write_folders(study, results, tmp_path / "inputs")["bulk CsPbI3-alpha"]
    change(folder, RELAXING)
    change(folder, tags)
    run_vasp(folder)
    refused = take(folder, study, results)
    assert refused.returncode == 1
    assert words in refused.stdout
    assert records_of(results) == {}
