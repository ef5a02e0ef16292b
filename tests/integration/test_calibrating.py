"""`qdip calibrate`: the single points of another engine, each once, and the answer that is stated anew."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from qdip_dft.errors import ResultsError
from qdip_dft.execution.calibration import calibrate
from qdip_dft.execution.local import run_study
from qdip_dft.execution.remaking import compare_with_calculations
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.calibration import Calibration
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study
from qdip_dft.results.calibrations import list_calibrations
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.command_line import qdip

TOY_STUDY = Path(__file__).parents[1] / "data" / "toy-study.yaml"
OTHER = EngineSpec.model_validate(
    {
        "name": "mlip",
        "potential": {
            "calculator": "ase.calculators.lj.LennardJones",
            "arguments": {"sigma": 2.6, "epsilon": 0.3, "rc": 6.0},
            "functional": "none",
            "dispersion": "none",
        },
    }
)


def test_the_films_of_an_answer_are_calibrated_without_another_relaxation(tmp_path: Path) -> None:
    plan = plan_study(read_study(str(TOY_STUDY)))
    run_study(plan, results=tmp_path, workers=1)
    archive = open_archive(ResultsFolder(tmp_path))
    before = {record.key for record in archive.list_calculations()}
    (calibration,) = calibrate(plan, OTHER, results=tmp_path, workers=1)
    made = [record for record in archive.list_calculations() if record.key not in before]
    assert made
    assert all(record.task.freedom is Freedom.NONE for record in made)
    assert {record.theory.code for record in made} == {"LennardJones"}
    assert set(calibration.calculations.values()) & {record.key for record in made}
    store = ResultsFolder(tmp_path).collection("calibrations")
    assert list_calibrations(store) == (calibration,)
    assert calibration.elements == ("Cs", "I", "Pb", "Te")
    n_known = len(list(archive.list_calculations()))
    (again,) = calibrate(plan, OTHER, results=tmp_path, workers=1)
    assert again.strain_ev_per_fu == calibration.strain_ev_per_fu
    assert len(list(archive.list_calculations())) == n_known


SCALED = """\
import os

from ase.calculators.calculator import Calculator, all_changes

from qdip_dft.engines.testing import evaluate_morse
from qdip_dft.model.structure import Arrangement


class Scaled(Calculator):
    implemented_properties = ["energy", "forces", "stress"]
    default_parameters = {"factor": 1.0}

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if os.environ.get("SCALED_FAILS") == str(self.parameters["factor"]):
            raise RuntimeError("no minimum of the density was found")
        found = evaluate_morse(Arrangement(tuple(atoms.symbols), atoms.positions, atoms.cell.array))
        names = ("energy", "forces", "stress")
        numbers = (found.energy_ev, found.forces_ev_per_ang, found.stress_ev_per_ang3)
        self.results = {name: self.parameters["factor"] * number for name, number in zip(names, numbers)}
"""
"""The toy potential as a calculator of a user, at the level of a real one; its file lies beside the study."""


def scaled(factor: float) -> dict[str, object]:
    arguments = {"factor": factor}
    own = {"calculator": "mine.py:Scaled", "arguments": arguments, "functional": "none", "dispersion": "none"}
    return {"name": "mlip", "preset": "fast", "potential": own}


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Calibration]:
    """Results of a study whose potential's file lies beside the study, not in the working directory."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(SCALED)
    content = yaml.safe_load(TOY_STUDY.read_text()) | {"engine": scaled(1.0)}
    (folder / "own.yaml").write_text(yaml.safe_dump(content))
    plan = plan_study(read_study(str(folder / "own.yaml")))
    run_study(plan, results=folder / "results", workers=1)
    (found,) = calibrate(plan, EngineSpec.model_validate(scaled(1.1)), results=folder / "results", workers=1)
    return folder, found


def test_the_files_of_a_calibrated_study_start_from_its_folder(calibrated: tuple[Path, Calibration]) -> None:
    """Energies times 1.1: so are the terms, and the correction is a tenth of them."""
    _, found = calibrated
    assert found.black.reference_strain_ev_per_fu == pytest.approx(1.1 * found.black.strain_ev_per_fu, abs=1e-9)
    assert found.black.strain_correction_ev_per_fu != 0


def test_what_failed_is_tried_again_when_that_is_asked_for(
    calibrated: tuple[Path, Calibration], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = calibrated
    monkeypatch.chdir(folder)  # where its potential's file lies
    plan, other = plan_study(read_study("own.yaml")), EngineSpec.model_validate(scaled(1.2))
    run_study(plan, results=tmp_path, workers=1)
    monkeypatch.setenv("SCALED_FAILS", "1.2")
    with pytest.raises(ResultsError, match="is not complete"):
        calibrate(plan, other, results=tmp_path, workers=1)
    monkeypatch.delenv("SCALED_FAILS")
    with pytest.raises(ResultsError, match="with --retry if a calculation failed"):
        calibrate(plan, other, results=tmp_path, workers=1)
    (found,) = calibrate(plan, other, results=tmp_path, is_retry=True, workers=1)
    assert found.black.reference_strain_ev_per_fu == pytest.approx(1.2 * found.black.strain_ev_per_fu, abs=1e-9)


def test_the_page_has_the_error_bar_of_the_calibrated_answer(
    calibrated: tuple[Path, Calibration], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = calibrated
    monkeypatch.chdir(folder)  # where its potential's file lies
    qdip("run", "own.yaml", "--results", tmp_path)
    (page,) = tmp_path.glob("reports/*/report.html")
    assert "calibrated: reference" not in page.read_text()
    said = qdip("calibrate", "own.yaml", "--engine", yaml.safe_dump(scaled(1.1)), "--results", tmp_path).stdout
    assert "black - competitor" in said
    assert "calibrated: reference" in page.read_text()


def answer(results: Path) -> StabilizationDoc:
    (found,) = open_archive(ResultsFolder(results)).find_stabilizations("toy-study")
    return found


@pytest.mark.parametrize("way", ["stays", "bundle", "copy"])
def test_a_calibrated_result_is_made_anew_wherever_it_goes(
    calibrated: tuple[Path, Calibration], way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, calibration = calibrated
    monkeypatch.chdir(folder)  # where its potential's file lies
    results, said = folder / "results", ""
    if way == "bundle":
        qdip("export", "toy-study", "--bundle", tmp_path / "toy.zip", "--results", results)
        results = tmp_path / "restored"
        said = qdip("import-bundle", tmp_path / "toy.zip", "--results", results).stdout
    if way == "copy":
        qdip("db", "copy", results, tmp_path / "copied")
        results = tmp_path / "copied"
    stated = answer(results).uncertainty
    assert stated is not None
    assert stated.calibrations == (calibration,)
    said += qdip("db", "check", results).stdout
    assert "0 findings" in said
    assert "not made anew" not in said
    run_study(plan_study(read_study("own.yaml")), results=results, workers=1)
    again = answer(results).uncertainty
    assert again is not None
    assert again.calibrations == (calibration,)
    assert again.model_error == stated.model_error


def test_an_error_bar_without_its_calibrations_is_not_made_anew(
    calibrated: tuple[Path, Calibration], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = calibrated
    monkeypatch.chdir(folder)
    document = answer(folder / "results")
    assert document.uncertainty is not None
    robbed = document.model_copy(update={"uncertainty": document.uncertainty.model_copy(update={"calibrations": ()})})
    (found,) = compare_with_calculations([robbed], open_archive(ResultsFolder(folder / "results")).find_record)
    assert found.difference is None
    assert "rests on calibrations that it does not hold: qdip run toy-study" in str(found.reason)


def test_a_study_without_an_answer_is_not_calibrated(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="qdip run toy-study first"):
        calibrate(plan_study(read_study(str(TOY_STUDY))), OTHER, results=tmp_path)
