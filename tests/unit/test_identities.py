"""What crystals, candidates and steps are known by: their content, not what people call them."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path

import pytest

from qdip_dft.errors import StructureError, StudyError
from qdip_dft.flows.steps import Step
from qdip_dft.library.crystals import load_crystal_record
from qdip_dft.model.study import StudySpec
from qdip_dft.planning.campaign import read_studies
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import load_crystals, read_study, use_engine, validate_study, write_study
from tests.unit.studies import TINY_STUDY, make_steps

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def two_files(tmp_path: Path) -> tuple[str, str]:
    """Two different crystals in two files of one name."""
    paths = []
    for folder, phase in (("black", "CsPbI3-alpha"), ("yellow", "CsPbI3-delta")):
        (tmp_path / folder).mkdir()
        source = next((ROOT / "structures").rglob(f"{phase}.cif"))
        paths.append(str(shutil.copy(source, tmp_path / folder / "phase.cif")))
    return paths[0], paths[1]


def name_crystals(dot: str, *phases: str) -> StudySpec:
    """A study of a dot and black phases."""
    named = [{"phase": phase, "role": "black", "planes": ["100"]} for phase in phases]
    return validate_study({**TINY_STUDY, "dot": {"material": dot, "facets": ["100"]}, "phases": named}, source="named")


def test_two_files_of_one_name_are_two_crystals_and_people_are_told_which(two_files: tuple[str, str]) -> None:
    crystals = load_crystals(name_crystals("PbTe", *two_files))
    del crystals["PbTe"]
    assert [crystal.id for crystal in crystals.values()] == ["black/phase.cif", "yellow/phase.cif"]
    assert crystals[two_files[0]].structure != crystals[two_files[1]].structure


def test_a_file_that_is_alone_keeps_its_short_name(two_files: tuple[str, str]) -> None:
    assert [crystal.id for crystal in load_crystals(name_crystals("PbTe", two_files[0])).values()] == ["PbTe", "phase"]


def test_films_of_two_files_of_one_name_are_two_films(two_files: tuple[str, str]) -> None:
    roles = zip(two_files, ("black", "competitor"), strict=True)
    phases = [{"phase": path, "role": role, "planes": ["100"]} for path, role in roles]
    plan = plan_study(validate_study({**TINY_STUDY, "phases": phases}, source="two files"))
    black, yellow = plan.steps.candidates
    assert black.id != yellow.id
    assert (black.title.film_side, yellow.title.film_side) == ("black/phase.cif(100)", "yellow/phase.cif(100)")
    labels = [calculation.name for calculation in plan.list_calculations(lambda _: None)]
    assert len(set(labels)) == len(labels)


def test_a_label_is_written_from_its_parts_and_never_taken_apart() -> None:
    files = [path for path in (ROOT / "qdip_dft").rglob("*.py") if path.name != "migrations.py"]
    parsing = re.compile(r"partition\(\"//\"\)|split\(\"//\"\)|\"//\" in ")
    assert not [path.name for path in files if parsing.search(path.read_text(encoding="utf-8"))]


def test_a_step_is_plain_data() -> None:
    for step in make_steps().steps:
        assert pickle.loads(pickle.dumps(step)) == step
        assert hash(step.id) == hash(pickle.loads(pickle.dumps(step.id)))
        assert not [name for name in Step.__dataclass_fields__ if callable(getattr(step, name))]
        json.dumps(step.id)


def test_a_candidate_keeps_its_id_wherever_it_is_placed_and_another_choice_has_another() -> None:
    first, again = make_steps().candidates[0], make_steps().candidates[0]
    thicker = make_steps(film={"min_thickness_ang": 18}).candidates[0]
    assert first.id == again.id
    assert first.id != thicker.id
    assert first.label == thicker.label


def test_steps_of_a_variation_are_other_steps_than_those_of_the_study() -> None:
    steps = make_steps()
    ids = {step.id for step in steps.steps}
    assert len(ids) == len(steps.steps)
    assert not ids & {step.id._replace(variation="film +1") for step in steps.steps}


FILED = """\
schema_version: 2
name: beside
dot: {material: PbS, facets: ["100"]}
host: CsPbI3
phases:
  - {phase: host.cif, role: black, planes: ["001"]}
  - {phase: CsPbI3-delta, role: competitor, planes: ["100"]}
film: {reservoirs: {ax: CsI, bx2: ../salts/PbI2.cif}}
engine: {name: testing}
"""

MANY = """\
schema_version: 2
name: many
dots: [{material: dot.cif, facets: ["100"]}]
hosts: [{host: CsPbI3, phases: [{phase: host.cif, role: black, planes: ["001"]}]}]
engines: [{name: testing}]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A study and a campaign beside their structures, and another folder with other crystals of the same names."""
    filed = {"proj/host": "CsPbI3-alpha", "proj/dot": "PbSe", "salts/PbI2": "PbI2", "elsewhere/host": "CsPbI3-gamma",
             "elsewhere/dot": "PbTe"}  # fmt: skip
    for place, crystal in filed.items():
        target = tmp_path / f"{place}.cif"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(next((ROOT / "structures").rglob(f"{crystal}.cif")), target)
    (tmp_path / "proj" / "study.yaml").write_text(FILED, encoding="utf-8")
    (tmp_path / "proj" / "many.yaml").write_text(MANY, encoding="utf-8")
    return tmp_path / "proj"


@pytest.mark.parametrize("folder", ["proj", "elsewhere", "."])
def test_paths_in_a_study_start_from_its_folder(project: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.parent / folder)
    study = read_study(str(project / "study.yaml"))
    assert study.film.reservoirs is not None
    found = load_crystals(study)
    assert found[study.phases[0].phase].structure == load_crystal_record("CsPbI3-alpha").structure
    assert found[study.film.reservoirs.bx2].structure == load_crystal_record("PbI2").structure
    assert study.phases[1].phase == "CsPbI3-delta"


@pytest.mark.parametrize("folder", ["proj", "elsewhere"])
def test_paths_in_a_campaign_start_from_its_folder(project: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.parent / folder)
    ((_, study),) = read_studies(str(project / "many.yaml"))
    found = load_crystals(study).values()
    assert [c.structure for c in found] == [load_crystal_record(name).structure for name in ("PbSe", "CsPbI3-alpha")]


@pytest.mark.parametrize("folder", ["elsewhere", "."])
def test_a_study_is_the_same_wherever_a_command_runs(
    project: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    own = read_study("study.yaml")
    ((_, part),) = read_studies("many.yaml")
    monkeypatch.chdir(project.parent / folder)
    there = read_study(str(project / "study.yaml"))
    ((_, part_there),) = read_studies(str(project / "many.yaml"))
    assert there == own
    assert part_there == part
    assert [phase.phase for phase in there.phases] == ["host.cif", "CsPbI3-delta"]
    assert write_study(there) == write_study(own)
    assert str(project) not in write_study(there)
    assert plan_study(there).crystals == plan_study(own).crystals


def test_a_study_of_another_folder_keeps_its_files_when_an_engine_is_asked(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.parent / "elsewhere")
    asked = use_engine(read_study("../proj/study.yaml"), preset="balanced")
    assert load_crystals(asked)["host.cif"].structure == load_crystal_record("CsPbI3-alpha").structure


def test_a_study_is_written_with_paths_from_its_new_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.parent / "elsewhere")
    study = read_study("../proj/study.yaml")
    (project / "again.yaml").write_text(write_study(study, folder=project), encoding="utf-8")
    assert "phase: host.cif" in (project / "again.yaml").read_text(encoding="utf-8")
    assert read_study("../proj/again.yaml") == study


@pytest.mark.parametrize("name", ["only.cif", "CsPbI3-delta", "PbS"])
def test_a_file_of_the_working_directory_never_stands_for_one_of_the_study(
    project: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.parent / "elsewhere")
    shutil.copy("host.cif", name)
    (project / "study.yaml").write_text(FILED.replace("host.cif", name) if "." in name else FILED, encoding="utf-8")
    with pytest.raises(StudyError, match=f"write `../elsewhere/{name}` for this file"):
        read_study("../proj/study.yaml")
    (project / "study.yaml").write_text(FILED.replace(f" {name},", f" ../elsewhere/{name},"), encoding="utf-8")
    assert read_study("../proj/study.yaml")


def test_a_file_that_lies_nowhere_is_refused_with_where_paths_start(project: Path) -> None:
    (project / "study.yaml").write_text(FILED.replace("host.cif", "lost.cif"), encoding="utf-8")
    with pytest.raises(StructureError, match="in a study it starts from the study's folder"):
        plan_study(read_study(str(project / "study.yaml")))
