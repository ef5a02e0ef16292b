"""What crystals, candidates and steps are known by: their content, not what people call them."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path

import pytest

from qdip_dft.flows.steps import Step
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import load_crystals, validate_study
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


def test_two_files_of_one_name_are_two_crystals_and_people_are_told_which(two_files: tuple[str, str]) -> None:
    crystals = load_crystals(two_files)
    assert [crystal.id for crystal in crystals.values()] == ["black/phase.cif", "yellow/phase.cif"]
    assert crystals[two_files[0]].structure != crystals[two_files[1]].structure


def test_a_file_that_is_alone_keeps_its_short_name(two_files: tuple[str, str]) -> None:
    assert [crystal.id for crystal in load_crystals(["PbTe", two_files[0]]).values()] == ["PbTe", "phase"]


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
