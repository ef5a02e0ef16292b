"""Another engine or preset asks a study anew: its results stand beside the first ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdip_dft.errors import StudyError
from qdip_dft.model.study import StudySpec
from qdip_dft.model.study_versions import translate_study
from qdip_dft.planning.study_files import use_engine
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.unit.report_documents import make_document
from tests.unit.studies import TINY_STUDY


def make_study(**changes: object) -> StudySpec:
    return StudySpec.model_validate(translate_study({**TINY_STUDY, **changes}))


@pytest.mark.parametrize(
    ("engine", "preset", "expected"),
    [
        ("mlip", None, "tiny+mlip"),
        (None, "precise", "tiny+precise"),
        ("mlip", "balanced", "tiny+mlip-balanced"),
        ("mlip", "fast", "tiny+mlip"),  # fast is where another engine starts
        ("testing", "fast", "tiny"),  # what the file says already
        (None, None, "tiny"),
    ],
)
def test_the_id_names_what_differs_from_the_study_file(engine: str | None, preset: str | None, expected: str) -> None:
    assert use_engine(make_study(), engine=engine, preset=preset).id == expected


def test_the_facet_stands_before_the_variant() -> None:
    study = make_study(dot={"material": "PbTe", "facets": ["100", "111"]}, variant="thick")
    assert use_engine(study, preset="precise").result_id("111") == "tiny@111+thick-precise"


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(StudyError, match=r"docs/study-file\.md"):
        use_engine(make_study(), preset="sloppy")


def test_results_of_two_engines_stay_side_by_side(tmp_path: Path) -> None:
    archive = open_archive(ResultsFolder(tmp_path))
    first = make_document()
    study = use_engine(first.study, engine="testing")
    second = first.model_copy(update={"study": study, "id": study.result_id("111")})
    for document in (first, second, first):
        archive.save_stabilization(document)
    assert [document.id for document in archive.list_stabilizations()] == ["synthetic-study", "synthetic-study+testing"]
    assert archive.find_stabilizations("synthetic-study+testing") == [second]
    assert archive.find_stabilizations("synthetic-study") == [first]


def test_the_name_of_a_study_serves_none_of_its_variants(tmp_path: Path) -> None:
    archive = open_archive(ResultsFolder(tmp_path))
    first = make_document()
    for engine, preset in (("testing", None), (None, "precise")):
        study = use_engine(first.study, engine=engine, preset=preset)
        archive.save_stabilization(first.model_copy(update={"study": study, "id": study.result_id("111")}))
    assert archive.find_stabilizations("synthetic-study") == []
    (found,) = archive.find_stabilizations("synthetic-study+precise")
    assert found.id == "synthetic-study+precise"
