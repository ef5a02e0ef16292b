"""A whole study by real density-functional theory: killed in the middle of a density, continued, and checked.

The study is `workflows/pbte-cspbi3-dft.yaml`: geometries from the potential, every energy from GPAW.  A second code
gives the bulk and strain terms at the same geometries.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from qdip_dft.cli.stored import open_archive_of
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.relaxation.recorded import SCRATCH_VARIABLE, scratch_folder
from qdip_dft.model.calculation import CalculationRecord, Freedom, Level
from qdip_dft.model.engine import Dispersion, EngineSpec
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.structure import StructureRecord
from qdip_dft.planning.study_files import read_study
from qdip_dft.storage.results_folder import ResultsFolder
from tests.dft_codes import require_code

STUDY = "pbte-cspbi3-dft"
FILM = "PbTe(100)//CsPbI3-alpha(100)"

AGREEMENT_EV_PER_FU = 0.015
"""Between two codes, 3 meV per atom of the formula unit."""

VALENCE_ELECTRONS = {"Cs": 9, "Pb": 14, "I": 7}
"""Of the pseudopotentials of Quantum ESPRESSO and of GPAW's data sets, packaged or made."""

DAEMON = """
import sys
from qdip_dft.cli import main
sys.argv = ["qdip", *sys.argv[1:]]
main()
"""


@dataclass(frozen=True)
class Finished:
    """The study after it was killed once and run to its end.

    Parameters
    ----------
    results
        Its results folder.
    stored_at_kill
        What every calculation that was finished at the kill was stored as.
    files_at_kill
        SHA-256 of the files of those calculations.
    scratch
        Where the code ran.
    interrupted
        Label of the calculation whose density was killed.
    """

    results: Path
    scratch: Path
    stored_at_kill: dict[str, str]
    files_at_kill: dict[Path, str]
    interrupted: str

    @property
    def document(self) -> StabilizationDoc:
        """Return the result."""
        (found,) = open_archive_of(ResultsFolder(self.results)).find_stabilizations(STUDY)
        return found

    @property
    def records(self) -> dict[str, CalculationRecord]:
        """Return every calculation by its label."""
        return read_records(self.results)


def read_records(results: Path) -> dict[str, CalculationRecord]:
    return {record.task.label: record for record in open_archive_of(ResultsFolder(results)).list_calculations()}


def start_run(results: Path, scratch: Path) -> subprocess.Popen[str]:
    """Start ``qdip run`` in a process group of its own."""
    environment = {**os.environ, SCRATCH_VARIABLE: str(scratch), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", DAEMON, "run", STUDY, "--results", str(results)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for_second_density(scratch: Path, run: subprocess.Popen[str]) -> Path:
    """Return the folder of the second calculation, once its density is being iterated."""
    end = time.monotonic() + 900
    while True:
        folders = [path.parent for path in scratch.glob("gpaw-*/gpaw.txt")]
        open_ones = [folder for folder in folders if not (folder / "evaluations.jsonl").exists()]
        iterating = [folder for folder in open_ones if (folder / "gpaw.txt").read_text().count("iter:") >= 3]
        if len(folders) > 1 and iterating:
            return iterating[0]
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.2)


def hash_files(folders: list[Path]) -> dict[Path, str]:
    files = [path for folder in folders for path in folder.iterdir() if path.is_file()]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    require_code("gpaw")
    folder = tmp_path_factory.mktemp(STUDY)
    results, scratch = folder / "results", folder / "scratch"
    victim = start_run(results, scratch)
    interrupted = wait_for_second_density(scratch, victim)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.communicate()
    done = [path.parent for path in scratch.glob("gpaw-*/evaluations.jsonl")]
    stored = {label: record.model_dump_json() for label, record in read_records(results).items()}
    files = hash_files(done)
    said, _ = start_run(results, scratch).communicate(timeout=3000)
    assert "Report: " in said, said
    return Finished(
        results=results,
        scratch=scratch,
        stored_at_kill=stored,
        files_at_kill=files,
        interrupted=name_calculation(interrupted, read_records(results)),
    )


def name_calculation(folder: Path, records: dict[str, CalculationRecord]) -> str:
    """Return the label of the calculation that ran in a folder."""
    engine = engine_from_spec(read_study(STUDY).engine)
    (label,) = (
        label
        for label, record in records.items()
        if scratch_folder(engine, record.task.structure, record.task.freedom).name == folder.name
    )
    return label


def test_a_killed_study_continues_and_keeps_what_was_finished(finished: Finished) -> None:
    assert finished.interrupted not in finished.stored_at_kill
    assert any(label.endswith("(static)") for label in finished.stored_at_kill)
    records = finished.records
    assert {label: records[label].model_dump_json() for label in finished.stored_at_kill} == finished.stored_at_kill
    assert finished.files_at_kill
    assert {path: hash_files([path.parent])[path] for path in finished.files_at_kill} == finished.files_at_kill


def test_the_calculation_that_was_killed_gives_the_same_energy_as_one_that_was_not(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path))
    record = finished.records[finished.interrupted]
    straight = engine_from_spec(read_study(STUDY).engine).static(record.task.structure)
    assert record.result is not None
    assert record.result.energy_ev == pytest.approx(straight.energy_ev, abs=1e-4)


def test_every_term_is_there_and_they_add_up(finished: Finished) -> None:
    (film,) = finished.document.candidates
    assert film.is_valid
    assert film.missing == ()
    assert film.identity_residual_ev is not None
    assert abs(film.identity_residual_ev) <= 1e-9 * film.n_formula_units
    decomposition = finished.document.decomposition
    assert decomposition is not None
    assert decomposition.missing == ()
    difference = finished.document.stabilization
    assert difference.total_ev_per_fu == pytest.approx(film.total_ev_per_fu - decomposition.total_ev_per_fu, abs=1e-9)


def energy_ev(finished: Finished, part: str, subject: str) -> float:
    result = finished.records[f"{part} {subject} (static)"].result
    assert result is not None
    return result.energy_ev


def test_the_terms_are_those_of_the_stored_energies(finished: Finished) -> None:
    (film,) = finished.document.candidates
    n = film.n_formula_units
    interface, slab, dot, strained = (
        energy_ev(finished, part, FILM) for part in ("interface", "film slab", "dot slab", "strained bulk")
    )
    bulk = energy_ev(finished, "bulk", "CsPbI3-alpha")
    assert film.strain_ev_per_fu == pytest.approx(strained - bulk, abs=1e-9)
    assert film.surface_ev_per_fu == pytest.approx(slab / n - strained, abs=1e-9)
    assert film.binding_ev_per_fu == pytest.approx((interface - slab - dot) / n, abs=1e-9)


def test_straining_and_cleaving_cost_energy_and_the_film_binds(finished: Finished) -> None:
    """A mismatch of 3 % costs more than what the potential's lattice leaves behind; ionic faces attract."""
    (film,) = finished.document.candidates
    assert film.strain_ev_per_fu > 0
    assert film.surface_ev_per_fu > 0
    assert film.work_of_separation_j_per_m2 > 0


def test_every_energy_is_self_consistent_and_at_one_level_of_theory(finished: Finished) -> None:
    statics = [record for record in finished.records.values() if record.task.freedom is Freedom.NONE]
    assert len(statics) == 8
    assert all(record.is_usable for record in statics)
    assert len({record.theory.model_dump_json() for record in statics}) == 1
    assert {record.pseudopotentials.family for record in statics if record.pseudopotentials} == {"gpaw-data"}
    assert set(statics[0].pseudopotentials.files) <= {"Cs", "Pb", "I", "Te"}


def test_the_result_says_that_its_geometries_are_those_of_the_potential(finished: Finished) -> None:
    doc = finished.document
    assert doc.level is Level.COMPOSITE
    assert doc.theory is not None
    assert doc.geometry_theory is not None
    assert (doc.theory.engine, doc.theory.level) == ("gpaw", Level.DFT)
    assert (doc.geometry_theory.engine, doc.geometry_theory.level) == ("mlip", Level.SCREENING)
    assert "DFT energies at machine-learned geometries" in doc.stabilization.sentence
    names = [check.name for check in doc.candidates[0].checks]
    assert names.count("residual pressure") == 2
    assert names.count("residual forces") == 1


def test_the_lattices_of_the_potential_leave_little_pressure_in_their_own_functional(finished: Finished) -> None:
    """SevenNet-0 was trained on PBE, and D3(BJ) is the same code in both."""
    found = [check for check in finished.document.candidates[0].checks if check.name == "residual pressure"]
    assert all(check.is_passed for check in found), found


def test_running_the_study_again_calculates_nothing(finished: Finished) -> None:
    said, _ = start_run(finished.results, finished.scratch).communicate(timeout=300)
    assert "0 calculations made" in said


def terms_by_code(finished: Finished, name: str) -> tuple[float, float]:
    """Return bulk − products and strain of the film's phase in eV per formula unit, with PBEsol at the geometries."""
    engine = engine_from_spec(
        EngineSpec(name=name, functional="PBEsol", dispersion=Dispersion.NONE, settings={"k_spacing_per_ang": 0.35})
    )

    def energy(label: str) -> float:
        result = finished.records[label].result
        assert result is not None
        structure: StructureRecord = result.structure
        return engine.static(structure).energy_ev

    bulk, strained = energy("bulk CsPbI3-alpha"), energy(f"strained bulk {FILM}")
    return bulk - energy("bulk CsI") - energy("bulk PbI2"), strained - bulk


@pytest.fixture
def made_data_sets(tmp_path: Path) -> Path:
    """Return a folder with PAW data sets from the generator that GPAW ships: those of gpaw-data are of an older one."""
    folder = tmp_path / "made-by-gpaw"
    folder.mkdir()
    for symbol, n_electrons in VALENCE_ELECTRONS.items():
        options = [symbol, "--electrons", str(n_electrons), "--xc-functional", "PBE", "--write"]
        subprocess.run(
            [sys.executable, "-P", "-m", "gpaw", "dataset", *options], cwd=folder, check=True, capture_output=True
        )
    return folder


def test_two_codes_agree_on_the_bulk_and_the_strain_term(
    finished: Finished, made_data_sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the packaged data sets the bulk term differs by 18 to 21 meV: docs/dft-study.md."""
    require_code("espresso")
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path))
    monkeypatch.setenv("GPAW_SETUP_PATH", str(made_data_sets))
    (bulk, strain), (other_bulk, other_strain) = (terms_by_code(finished, name) for name in ("gpaw", "espresso"))
    assert strain == pytest.approx(other_strain, abs=AGREEMENT_EV_PER_FU)
    assert bulk == pytest.approx(other_bulk, abs=AGREEMENT_EV_PER_FU)
