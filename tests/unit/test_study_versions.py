"""Studies of version 1: every ready-made one of the time is read as the present file of its name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from qdip_dft.errors import StudyError
from qdip_dft.model.study import Environment
from qdip_dft.model.study_versions import MEANT_BY_VERSION_1, NEWEST_STUDY_VERSION, RENAMED_IN_FILM, translate_study
from qdip_dft.planning.study_files import read_study, validate_study, write_study
from tests.unit.studies import TINY_STUDY

ROOT = Path(__file__).resolve().parents[2]
OLD = sorted((ROOT / "tests" / "data" / "studies-1").glob("*.yaml"))


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_a_study_of_version_1_means_what_it_meant(path: Path) -> None:
    study, written = read_study(str(path)), yaml.safe_load(path.read_text(encoding="utf-8"))
    assert study.id == written["name"]
    assert (study.environment, study.check_minima, study.terms_only) == (Environment.CAPPED, False, True)
    asked = {RENAMED_IN_FILM.get(key, key): value for key, value in written.get("film", {}).items()}
    assert study.model_dump(mode="json", include={"film"})["film"].items() >= {
        key: value for key, value in asked.items() if not isinstance(value, dict)}.items()  # fmt: skip
    assert study == validate_study(yaml.safe_load(write_study(study)), source="again")


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_the_files_of_version_1_are_those_of_the_time(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["schema_version"] == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"registry_shifts": [[0, 0]]}, {"registries": [[0, 0]]}),
        ({"registry": {"n_kept": 2}}, {"registry_scan": {"n_kept": 2}}),
    ],
)
def test_the_old_words_mean_the_new_ones(old: dict, new: dict) -> None:
    written = validate_study({**TINY_STUDY, "schema_version": 1, "film": old}, source="old")
    assert written == validate_study({**TINY_STUDY, "schema_version": 1, "film": new}, source="new")


def test_a_study_is_written_in_the_present_words_and_read_again() -> None:
    study = validate_study({**TINY_STUDY, "film": {"registry_shifts": [[0, 0]]}}, source="old")
    text = write_study(study)
    assert "registry_shifts" not in text
    assert validate_study(yaml.safe_load(text), source="again") == study


def test_old_words_in_a_study_of_version_2_are_refused() -> None:
    content = {**TINY_STUDY, "schema_version": 2, "film": {"registry_shifts": [[0, 0]]}}
    with pytest.raises(StudyError, match="correct the named keys"):
        validate_study(content, source="mixed")


def test_a_key_beside_its_new_name_is_refused() -> None:
    content = {**TINY_STUDY, "film": {"registry_shifts": [[0, 0]], "registries": [[0.5, 0]]}}
    with pytest.raises(StudyError, match="correct the named keys"):
        validate_study(content, source="both")


def test_translating_leaves_the_given_study_alone() -> None:
    content = {"schema_version": 1, "film": {"registry_shifts": [[0, 0]]}}
    translated = translate_study(content)
    assert content == {"schema_version": 1, "film": {"registry_shifts": [[0, 0]]}}
    assert translated == {
        **MEANT_BY_VERSION_1, "schema_version": NEWEST_STUDY_VERSION, "film": {"registries": [[0, 0]]}}  # fmt: skip


def test_a_version_that_does_not_exist_is_refused() -> None:
    with pytest.raises(StudyError, match="correct the named keys"):
        validate_study({**TINY_STUDY, "schema_version": 3}, source="newer")
