"""Folders of the real codes, run with a person's own inputs, are taken by meaning and refused by name."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from qdip_dft.engines.base import RelaxationSettings
from qdip_dft.engines.cp2k.data import BASIS_FILES, POTENTIAL_FILE, data_folder
from qdip_dft.engines.dft import DftEngine
from qdip_dft.engines.dispersion import PBE_D3BJ, evaluate_d3
from qdip_dft.engines.espresso.engine import pseudopotential_folder
from qdip_dft.engines.gpaw.engine import data_set_folders
from qdip_dft.engines.relaxation.recorded import SCRATCH_VARIABLE, scratch_folder
from qdip_dft.errors import EngineError
from qdip_dft.finished.finished_run import FinishedRun
from qdip_dft.finished.judgement import Answer
from qdip_dft.finished.matching_steps import SiteMatch, match_sites
from qdip_dft.finished.readers import find_code, read_run
from qdip_dft.model.calculation import CalculationTask, EngineResult, Freedom
from qdip_dft.model.structure import StructureRecord
from tests.by_hand import RELAXATIONS, STATICS, run_by_hand
from tests.command_line import qdip
from tests.dft_codes import CODES, coarse_engine, require_code, silicon
from tests.unit.studies import TINY_STUDY

OUTPUTS = {"espresso": "my.out", "cp2k": "my.out", "gpaw": "my.txt"}

INPUTS = {"espresso": "my.in", "cp2k": "my.inp"}

VERSIONS = {"espresso": "6.7MaX", "cp2k": "CP2K version 2023.1", "gpaw": "26.7.0"}

ENERGY_TOLERANCE_EV = {"espresso": 1e-6, "gpaw": 1e-6, "cp2k": 2e-5}
"""Two ways to self-consistency; CP2K's energy is known to 1e-5 eV with the threshold of both."""


def start() -> StructureRecord:
    """Return silicon with one of its bonds too long: forces, and some symmetry left, which saves k-points."""
    return silicon().model_copy(update={"frac_coords": ((0.0, 0.0, 0.0), (0.262, 0.262, 0.262))})


@dataclass
class Folders:
    """Finished folders of the codes, each run when it is first asked for."""

    root: Path
    kind: dict[str, str]
    engine: Callable[[str], DftEngine]
    structure: Callable[[str], StructureRecord]
    finished: dict[str, Path] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Path:
        if name not in self.finished:
            where = self.root / name
            self.finished[name] = run_by_hand(self.engine(name), self.structure(name), where, kind=self.kind[name])
        return self.finished[name]


@dataclass
class OwnRuns:
    """Static calculations by the package itself, with the folders that the codes ran in."""

    root: Path
    finished: dict[str, tuple[EngineResult, Path]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> tuple[EngineResult, Path]:
        if name not in self.finished:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(SCRATCH_VARIABLE, str(self.root))
                engine = coarse_engine(name)
                self.finished[name] = engine.static(start()), scratch_folder(engine, start(), Freedom.NONE)
        return self.finished[name]


@pytest.fixture(scope="module")
def own_runs(tmp_path_factory: pytest.TempPathFactory) -> OwnRuns:
    """One static calculation of each code by the package."""
    return OwnRuns(tmp_path_factory.mktemp("own"))


def relaxing_engine(name: str) -> DftEngine:
    """Return the engine of the relaxations; that of CP2K has one k-point."""
    return coarse_engine(name, **({"k_spacing_per_ang": 2.0} if name == "cp2k" else {}))


def relaxing_start(name: str) -> StructureRecord:
    """Return what is relaxed: silicon, and in CP2K, where that takes minutes, a stretched molecule of hydrogen."""
    if name != "cp2k":
        return start()
    lattice = ((5.0, 0.0, 0.0), (0.0, 5.0, 0.0), (0.0, 0.0, 5.0))
    return StructureRecord(lattice_ang=lattice, species=("H", "H"), frac_coords=((0.1, 0.1, 0.1), (0.1, 0.1, 0.26)))


DISTANCES_ANG = {"espresso": (2.360, 0.015), "gpaw": (2.360, 0.015), "cp2k": (0.750, 0.03)}
"""Of silicon with an edge of 5.45 Å, and of the molecule with PBE (0.750: Patton et al., Phys. Rev. B 1997, 55, 7454),
with what coarse settings allow: a grid of 200 Ry is wide for hydrogen."""


@pytest.fixture(scope="module")
def statics(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A finished static calculation of each code, from a person's own input."""
    return Folders(tmp_path_factory.mktemp("statics"), STATICS, coarse_engine, lambda _: start())


@pytest.fixture(scope="module")
def relaxations(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A finished relaxation of each code by its own algorithm, from a person's own input."""
    return Folders(tmp_path_factory.mktemp("relaxations"), RELAXATIONS, relaxing_engine, relaxing_start)


def read(folder: Path) -> FinishedRun:
    code = find_code(folder)
    assert code is not None, list(folder.iterdir())
    return read_run(folder, code)


def answer(
    folder: Path, engine: DftEngine, *, freedom: Freedom = Freedom.NONE, structure: StructureRecord | None = None
) -> Answer:
    task = CalculationTask(label="by hand", freedom=freedom, structure=structure or start())
    run = read(folder)
    match = match_sites(task.structure, run.start, tolerance_ang=1e-4)
    assert isinstance(match, SiteMatch), match
    return Answer(run, task, engine, match)


@pytest.fixture
def copy(statics: Folders, tmp_path: Path) -> Callable[[str], Path]:
    """Return a copy of a static calculation, to be spoiled."""
    return lambda name: Path(shutil.copytree(statics[name], tmp_path / "copies" / name))


@pytest.mark.parametrize("name", CODES)
def test_an_input_of_ones_own_has_the_energy_and_forces_of_a_run(
    name: str, statics: Folders, own_runs: OwnRuns
) -> None:
    engine = coarse_engine(name)
    found = answer(statics[name], engine)
    assert found.find_differences() == ()
    record = found.make_record("0" * 64, attempt=0)
    assert record.result is not None
    own, _ = own_runs[name]
    assert record.result.energy_ev == pytest.approx(own.energy_ev, abs=ENERGY_TOLERANCE_EV[name])
    assert np.allclose(record.result.forces_ev_per_ang, own.forces_ev_per_ang, atol=2e-3)
    assert np.allclose(record.result.stress_ev_per_ang3, own.stress_ev_per_ang3, atol=1e-4)
    assert record.task.structure == record.result.structure == start()
    assert record.theory == engine.theory()
    assert found.find_defect(record) is None
    assert any("its numerics are not those of the package" in each for each in record.result.warnings)


@pytest.mark.parametrize("name", CODES)
def test_a_folder_of_the_packages_own_run_differs_in_nothing(name: str, own_runs: OwnRuns) -> None:
    """The inputs are those that `qdip inputs` writes."""
    engine = coarse_engine(name)
    result, folder = own_runs[name]
    found = answer(folder, engine)
    assert found.find_differences() == ()
    record = found.make_record("0" * 64, attempt=0)
    assert record.result is not None
    assert record.result.energy_ev == pytest.approx(result.energy_ev, abs=1e-9)
    assert np.allclose(record.result.forces_ev_per_ang, result.forces_ev_per_ang, atol=1e-9)
    assert not any("numerics" in each for each in record.result.warnings)


@pytest.mark.parametrize("name", CODES)
def test_dispersion_is_added_as_in_a_run(name: str, statics: Folders) -> None:
    engine = coarse_engine(name)
    plain, corrected = (answer(statics[name], replace(engine, dispersion=d)).evaluation() for d in ("none", "d3bj"))
    expected = evaluate_d3(start().arrangement, PBE_D3BJ).energy_ev
    assert corrected.energy_ev - plain.energy_ev == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k_spacing_per_ang": 0.7}, r"^k-points: 2 x 2 x 2 around Γ, the study has 3 x 3 x 3 around Γ$"),
        ({"smearing_width_ev": 0.1}, r"^(degauss|width|ELECTRONIC_TEMPERATURE) .*, the study has"),
    ],
)
def test_another_mesh_or_smearing_is_named(name: str, changes: dict[str, float], words: str, statics: Folders) -> None:
    (difference,) = answer(statics[name], replace(coarse_engine(name), **changes)).find_differences()
    assert re.search(words, difference), difference


@pytest.mark.parametrize("name", CODES)
def test_another_cutoff_is_named(name: str, statics: Folders) -> None:
    engine = coarse_engine(name)
    differences = answer(statics[name], replace(engine, cutoff_ev=engine.cutoff_ev * 1.001)).find_differences()
    assert differences
    assert all("cut" in each.lower() for each in differences)


@pytest.mark.parametrize("name", ["espresso", "gpaw"])
def test_another_functional_is_named(name: str, statics: Folders) -> None:
    differences = answer(statics[name], replace(coarse_engine(name), functional="PBEsol")).find_differences()
    assert "functional: PBE, the study has PBEsol" in differences


def replace_pseudopotential(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine find another file for silicon: the same one with one number changed."""
    folder.mkdir()
    if name == "espresso":
        own = next(path for path in pseudopotential_folder("PBE").iterdir() if path.name.startswith("Si."))
        (folder / own.name).write_text(own.read_text().replace("ONCVPSP", "oncvpsp", 1))
        monkeypatch.setenv("ESPRESSO_PSEUDO", str(folder))
    elif name == "gpaw":
        own = data_set_folders()[0] / "Si.PBE.gz"
        (folder / "Si.PBE").write_bytes(gzip.decompress(own.read_bytes()) + b"\n")
        monkeypatch.setenv("GPAW_SETUP_PATH", str(folder))
    else:
        for file in (*BASIS_FILES, POTENTIAL_FILE):
            text = (data_folder("cp2k") / file).read_text(encoding="utf-8", errors="replace")
            (folder / file).write_text(text.replace("0.43998262317118", "0.43998262317119"))
        monkeypatch.setenv("CP2K_DATA_DIR", str(folder))


@pytest.mark.parametrize("name", ["espresso", "gpaw"])
def test_another_pseudopotential_is_named(
    name: str, statics: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, folder = coarse_engine(name), statics[name]  # which may run only now, with the true pseudopotentials
    replace_pseudopotential(name, tmp_path / "family", monkeypatch)
    (difference,) = answer(folder, engine).find_differences()
    assert difference.startswith(("pseudopotential of Si (MD5): ", "data set of Si (MD5): "))


def test_another_pseudopotential_of_cp2k_is_named(
    copy: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file beside the input counts before that of CP2K's data."""
    folder = copy("cp2k")
    replace_pseudopotential("cp2k", tmp_path / "family", monkeypatch)
    monkeypatch.delenv("CP2K_DATA_DIR")
    shutil.copy(tmp_path / "family" / POTENTIAL_FILE, folder)
    (difference,) = answer(folder, coarse_engine("cp2k")).find_differences()
    assert difference.startswith("pseudopotential of Si (SHA-256): ")


@pytest.mark.parametrize("name", CODES)
def test_another_version_is_named(name: str, copy: Callable[[str], Path]) -> None:
    folder = copy(name)
    output = folder / OUTPUTS[name]
    output.write_text(output.read_text().replace(VERSIONS[name], VERSIONS[name].replace("2", "3").replace("6", "5")))
    (difference,) = answer(folder, coarse_engine(name)).find_differences()
    assert difference.startswith("version: ")


@pytest.mark.parametrize("name", CODES)
def test_another_structure_answers_no_question(name: str, statics: Folders) -> None:
    run = read(statics[name])
    stretched = silicon(5.46).model_copy(update={"frac_coords": start().frac_coords})
    assert match_sites(stretched, run.start, tolerance_ang=1e-4) == "its lattice vectors differ by 0.005 Å"
    assert "lies 0." in str(match_sites(silicon(), run.start, tolerance_ang=1e-4))


@pytest.mark.parametrize("name", CODES)
def test_an_output_that_is_cut_short_is_refused(name: str, copy: Callable[[str], Path]) -> None:
    folder = copy(name)
    output = folder / OUTPUTS[name]
    text = output.read_text()
    output.write_text(text[: len(text) // 2])
    with pytest.raises(EngineError, match="cut short"):
        read(folder)


@pytest.mark.parametrize("name", CODES)
def test_a_density_that_is_not_self_consistent_is_refused(name: str, tmp_path: Path) -> None:
    folder = run_by_hand(coarse_engine(name), start(), tmp_path / name, steps=3)
    with pytest.raises(EngineError, match=r"self-consistent|cut short"):
        read(folder)


@pytest.mark.parametrize("name", ["espresso", "cp2k"])
def test_an_input_that_was_changed_after_the_run_is_refused(name: str, copy: Callable[[str], Path]) -> None:
    folder = copy(name)
    source = folder / INPUTS[name]
    text = source.read_text()
    for old, new in (("ecutwfc = 40.05676", "ecutwfc = 50.0"), ("CUTOFF [eV] 2721", "CUTOFF [eV] 3000")):
        text = text.replace(old, new)
    source.write_text(text.replace("[K] 226.200141", "[K] 300.0"))
    with pytest.raises(EngineError, match="made by another input"):
        read(folder)


def test_a_mesh_that_was_changed_after_the_run_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("espresso")
    source = folder / "my.in"
    source.write_text(source.read_text().replace(" 2 2 2 0 0 0", " 3 3 3 0 0 0"))
    with pytest.raises(EngineError, match=r"number of k-points is 8"):
        read(folder)


def test_keywords_that_nobody_knows_count_as_physics(copy: Callable[[str], Path]) -> None:
    folder = copy("espresso")
    source = folder / "my.in"
    source.write_text(source.read_text().replace("nspin = 1", "exx_fraction = 0.1"))
    (difference,) = answer(folder, coarse_engine("espresso")).find_differences()
    assert difference == "exx_fraction: 0.1, the study has not set"


@pytest.mark.parametrize("name", CODES)
def test_a_relaxation_by_the_codes_own_algorithm_ends_where_its_energy_is_that_of_a_run(
    name: str, relaxations: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path))
    engine = relaxing_engine(name)
    found = answer(relaxations[name], engine, freedom=Freedom.POSITIONS, structure=relaxing_start(name))
    assert found.find_differences() == ()
    assert found.find_objection() is None
    record = found.make_record("0" * 64, attempt=0)
    assert found.find_defect(record) is None
    result = record.result
    assert result is not None
    assert result.is_converged
    assert result.max_force_ev_per_ang <= engine.relaxation.force_threshold_ev_per_ang
    assert result.structure.lattice_ang == relaxing_start(name).lattice_ang
    first, other = np.array(result.structure.frac_coords) @ np.array(result.structure.lattice_ang)
    expected_ang, tolerance_ang = DISTANCES_ANG[name]
    assert np.linalg.norm(other - first) == pytest.approx(expected_ang, abs=tolerance_ang)
    own = engine.static(result.structure)
    assert result.energy_ev == pytest.approx(own.energy_ev, abs=ENERGY_TOLERANCE_EV[name])
    assert np.allclose(result.forces_ev_per_ang, own.forces_ev_per_ang, atol=5e-3)


def tighten(engine: DftEngine, force_ev_per_ang: float) -> DftEngine:
    limits = RelaxationSettings(force_ev_per_ang, 1e-9, 10, engine.relaxation.optimiser)
    return replace(engine, relaxation=limits)


@pytest.mark.parametrize("name", CODES)
def test_a_relaxation_that_leaves_forces_is_refused_with_what_is_left(name: str, relaxations: Folders) -> None:
    found = answer(
        relaxations[name],
        tighten(relaxing_engine(name), 1e-6),
        freedom=Freedom.POSITIONS,
        structure=relaxing_start(name),
    )
    assert "eV/Å are left, the study allows 1e-06" in str(found.find_objection())


@pytest.mark.parametrize("name", CODES)
def test_a_cell_that_should_have_relaxed_is_refused_with_its_stress(name: str, relaxations: Folders) -> None:
    found = answer(relaxations[name], relaxing_engine(name), freedom=Freedom.CELL, structure=relaxing_start(name))
    words = "the output has no stress" if name == "gpaw" else "GPa are left"
    assert words in str(found.find_objection())


@pytest.fixture(scope="module")
def relaxed_cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A relaxation of the cell by ``pw.x``."""
    folder = tmp_path_factory.mktemp("cell") / "espresso"
    return run_by_hand(coarse_engine("espresso"), silicon(), folder, kind="vc-relax")


def test_a_relaxed_cell_is_taken_where_the_study_relaxes_it(relaxed_cell: Path) -> None:
    found = answer(relaxed_cell, coarse_engine("espresso"), freedom=Freedom.CELL, structure=silicon())
    assert found.find_differences() == ()
    assert found.find_objection() is None
    lattice = np.array(found.final_structure().lattice_ang)
    stretch = np.linalg.solve(np.array(silicon().lattice_ang), lattice)
    assert np.allclose(stretch, stretch[0, 0] * np.eye(3), atol=1e-4), "a cubic cell stays cubic"
    assert stretch[0, 0] > 1.005


def test_a_relaxed_cell_is_refused_where_the_study_holds_it(relaxed_cell: Path) -> None:
    found = answer(relaxed_cell, coarse_engine("espresso"), freedom=Freedom.POSITIONS, structure=silicon())
    assert "lattice vectors that the study holds changed by" in str(found.find_objection())


def tetragonal() -> StructureRecord:
    """Return two atoms of silicon in a cell whose first two vectors are in the plane, far from any minimum."""
    lattice = ((3.1, 0.0, 0.0), (0.0, 3.1, 0.0), (0.0, 0.0, 3.3))
    return StructureRecord(lattice_ang=lattice, species=("Si", "Si"), frac_coords=((0, 0, 0), (0.5, 0.5, 0.48)))


def test_a_height_that_was_relaxed_alone_is_taken_and_leaves_the_plane_as_it_was(tmp_path: Path) -> None:
    engine = coarse_engine("espresso")
    folder = tmp_path / "espresso"
    run_by_hand(engine, tetragonal(), folder, kind="vc-relax", freedom="cell_dofree = 'z'")
    found = answer(folder, engine, freedom=Freedom.OUT_OF_PLANE, structure=tetragonal())
    assert found.find_differences() == ()
    assert found.find_objection() is None
    final = found.final_structure()
    assert final.lattice_ang[:2] == tetragonal().lattice_ang[:2]
    assert abs(final.lattice_ang[2][2] - 3.3) > 0.05
    whole = answer(folder, engine, freedom=Freedom.CELL, structure=tetragonal())
    assert "GPa are left" in str(whole.find_objection())


def test_atoms_that_a_person_held_are_not_called_relaxed(relaxations: Folders) -> None:
    found = answer(relaxations["espresso"], coarse_engine("espresso"), freedom=Freedom.POSITIONS)
    held = replace(found, run=replace(found.run, held=frozenset({0})))
    assert "held 1 atoms that the study lets move" in str(held.find_objection())


def test_a_folder_of_the_real_code_is_stored_as_the_step_of_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_code("espresso")
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "scratch"))
    engine = {"name": "espresso", "functional": "PBEsol", "settings": {"k_spacing_per_ang": 2.0, "cutoff_ev": 272}}
    study, results = tmp_path / "mine.yaml", tmp_path / "results"
    study.write_text(yaml.safe_dump({**TINY_STUDY, "name": "mine", "engine": engine, "geometry": {"name": "testing"}}))
    qdip("run", study, "--engine", "testing", "--quiet", "--results", results)
    qdip("inputs", study, "--results", results, "--write", tmp_path / "inputs")
    (folder,) = (tmp_path / "inputs").glob("*-bulk-CsPbI3-alpha-static")
    subprocess.run("pw.x -in pw.in > pw.out", shell=True, cwd=folder, check=True)
    described = qdip("import", folder)
    assert "Quantum ESPRESSO 6.7MaX, static, Cs1 I3 Pb1" in described.stdout
    taken = qdip("import", folder, "--study", study, "--results", results)
    assert "1 calculations stored" in taken.stdout
    plan = json.loads(qdip("plan", study, "--results", results, "--json").stdout)
    states = {each["name"]: each["state"] for each in plan["calculations"]}
    assert states["bulk CsPbI3-alpha (static)"] == "stored"
    assert states["bulk CsPbI3-delta (static)"] == "ready"


def test_an_atom_that_the_study_holds_may_not_have_moved(relaxations: Folders) -> None:
    fixed = start().model_copy(update={"is_fixed": (True, False)})
    found = answer(relaxations["espresso"], coarse_engine("espresso"), freedom=Freedom.POSITIONS, structure=fixed)
    assert "a fixed atom moved by 0.0" in str(found.find_objection())
