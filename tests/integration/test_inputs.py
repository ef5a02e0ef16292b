"""`qdip inputs`: every input file of a study, by the writers of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pymatgen.io.vasp.inputs import Poscar

from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.engines.relaxation.recorded import SCRATCH_VARIABLE
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.engine import EngineSpec
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study
from tests.command_line import assert_four_parts, qdip
from tests.dft_codes import coarse_engine, silicon
from tests.unit.studies import TINY_STUDY

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden" / "inputs"
STUDY = GOLDEN.parents[1] / "studies-1" / "quickstart.yaml"


@pytest.fixture(scope="module")
def drafts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs") / "drafts"
    qdip("inputs", STUDY, "--engine", "vasp", "--without-potentials", "--write", folder)
    return folder


def test_every_calculation_of_the_plan_has_its_folder(drafts: Path) -> None:
    manifest = json.loads((drafts / "manifest.json").read_text())
    steps = plan_study(read_study(str(STUDY))).steps.steps
    assert [each["name"] for each in manifest["calculations"]] == [step.label for step in steps]
    for each in manifest["calculations"]:
        files = {path.name for path in (drafts / each["folder"]).iterdir()}
        assert files == set(each["files"]) == {"INCAR", "KPOINTS", "POSCAR", "POTCAR.spec", "structure.cif"}


def test_the_manifest_is_the_golden_one(drafts: Path) -> None:
    written, golden = (json.loads((folder / "manifest.json").read_text()) for folder in (drafts, GOLDEN))
    assert written["calculations"] == golden["calculations"]
    assert written.keys() == golden.keys()
    assert (drafts / "README.md").read_text() == (GOLDEN / "README.md").read_text()


@pytest.mark.parametrize("name", ["INCAR", "KPOINTS", "POTCAR.spec"])
def test_the_inputs_of_a_film_slab_are_the_golden_ones(drafts: Path, name: str) -> None:
    (folder,) = drafts.glob("*-film-slab-PbTe-100-CsPbI3-alpha-100")
    assert (folder / name).read_text() == (GOLDEN / "film-slab" / name).read_text()


def test_the_structure_of_a_film_slab_is_the_golden_one(drafts: Path) -> None:
    (folder,) = drafts.glob("*-film-slab-PbTe-100-CsPbI3-alpha-100")
    here, there = (Poscar.from_file(path / "POSCAR").structure for path in (folder, GOLDEN / "film-slab"))
    assert here.species == there.species
    assert np.allclose(here.lattice.matrix, there.lattice.matrix, atol=1e-6)
    assert np.allclose(here.frac_coords, there.frac_coords, atol=1e-8)


def test_what_follows_from_relaxed_structures_is_a_preview_until_they_are_stored(tmp_path: Path) -> None:
    results = tmp_path / "results"
    qdip("inputs", STUDY, "--engine", "testing", "--results", results, "--write", tmp_path / "before")
    qdip("run", STUDY, "--engine", "testing", "--quiet", "--results", results)
    qdip("inputs", STUDY, "--engine", "testing", "--results", results, "--write", tmp_path / "after")
    before, after = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("before", "after"))
    assert [each["is_preview"] for each in before["calculations"][:3]] == [False, True, False]
    assert all(each["waits_for"] for each in before["calculations"] if each["is_preview"])
    assert all((each["key"] is None) == each["is_preview"] for each in before["calculations"])
    stored = [each for each in after["calculations"] if each["is_stored"]]
    assert len(stored) > len(after["calculations"]) // 2
    assert not any(each["is_preview"] for each in stored)
    settings = json.loads((tmp_path / "after" / stored[0]["folder"] / "settings.json").read_text())
    assert settings["theory"]["engine"] == "testing"


def test_a_calculation_that_failed_is_not_called_stored(tmp_path: Path) -> None:
    results, study = tmp_path / "results", tmp_path / "short.yaml"
    one_step = {"name": "testing", "settings": {"max_steps": 1, "force_threshold_ev_per_ang": 1e-6}}
    study.write_text(json.dumps({**TINY_STUDY, "name": "short", "engine": one_step}))
    qdip("run", study, "--quiet", "--results", results, leaves_with=1)
    qdip("inputs", study, "--results", results, "--write", tmp_path / "inputs")
    calculations = json.loads((tmp_path / "inputs" / "manifest.json").read_text())["calculations"]
    failed = [each for each in calculations if "failure" in each]
    assert failed
    assert not any(each["is_stored"] for each in failed)
    assert all(each["failure"].startswith("did not converge in ") for each in failed)
    readme = (tmp_path / "inputs" / "README.md").read_text()
    assert readme.count("| failed: did not converge in ") == len(failed)


def test_inputs_are_not_mixed_with_what_lies_in_a_folder(drafts: Path) -> None:
    refused = qdip("inputs", STUDY, "--engine", "testing", "--write", drafts, check=False)
    assert_four_parts(refused, "name another folder")


def test_a_missing_code_is_named_with_the_way_to_write_its_inputs_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATOMATE2_VASP_CMD", "no-such-vasp")
    refused = qdip("inputs", STUDY, "--engine", "vasp", "--write", tmp_path / "inputs", check=False)
    assert_four_parts(refused, "--without-potentials")
    assert not (tmp_path / "inputs").exists()


def test_a_draft_of_espresso_names_its_pseudopotentials_by_their_elements(tmp_path: Path) -> None:
    engine = engine_from_spec(EngineSpec(name="espresso"))
    engine.write_draft(silicon(), Freedom.NONE, tmp_path)  # type: ignore[attr-defined]
    assert "Si.upf" in (tmp_path / "pw.in").read_text()


@pytest.mark.parametrize("name", ["espresso", "gpaw"])
def test_the_files_are_those_of_a_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "scratch"))
    engine = coarse_engine(name)
    engine.write_inputs(silicon(), Freedom.NONE, tmp_path / "inputs")
    engine.static(silicon())
    (run,) = (tmp_path / "scratch").glob(f"{name}-*")
    written = list((tmp_path / "inputs").iterdir())
    assert written
    for path in written:
        assert path.read_text() == (run / path.name).read_text()
