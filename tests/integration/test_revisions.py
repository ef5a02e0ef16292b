"""A changed study keeps its earlier results; they can be asked for, and nothing is replaced or exchanged in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qdip_dft.errors import ResultsError
from qdip_dft.execution.local import run_study
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study, use_engine
from qdip_dft.results.archive import Archive
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.command_line import qdip
from tests.unit.studies import TINY_STUDY

EDITS: tuple[dict[str, object], ...] = (
    {},
    {"vacuum_ang": 13},
    {"film": {"min_thickness_ang": 6, "registries": [[0, 0]]}},
    {"vacuum_ang": 14, "symmetry_breaking_ang": 0.01},
    {"seed": 3, "matching": {"max_area_ang2": 95, "max_strain": 0.05}},
)
"""What a user changes in one file, one after the other."""


def write_study(folder: Path, **changes: object) -> str:
    path = folder / "mine.yaml"
    content = {**TINY_STUDY, "name": "mine", **changes}
    if "registries" in content.get("film", {}):
        content["schema_version"] = 2
        content |= {"environment": "capped", "check_minima": False}
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def run(path: str, folder: Path, **changed: str) -> tuple[str, ...]:
    return run_study(plan_study(use_engine(read_study(path), **changed)), results=folder / "results", workers=1).kept


def archive_of(folder: Path) -> Archive:
    return open_archive(ResultsFolder(folder / "results"))


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[str, ...]]]:
    """A study that was edited five times, and what each run said that it kept."""
    folder = tmp_path_factory.mktemp("edited")
    return folder, [run(write_study(folder, **changes), folder) for changes in EDITS]


def test_a_study_edited_five_times_keeps_five_results(edited: tuple[Path, list[tuple[str, ...]]]) -> None:
    folder, kept = edited
    assert kept == [(), ("mine~1",), ("mine~2",), ("mine~3",), ("mine~4",)]
    archive = archive_of(folder)
    (newest,) = archive.find_stabilizations("mine")
    revisions = archive.list_revisions(newest)
    assert [each.id for each in revisions] == ["mine~1", "mine~2", "mine~3", "mine~4"]
    assert [each.study.vacuum_ang for each in (*revisions, newest)] == [12, 13, 12, 14, 12]
    assert newest.study.seed == 3


def test_the_first_result_can_be_printed(edited: tuple[Path, list[tuple[str, ...]]]) -> None:
    folder, _ = edited
    (first,) = archive_of(folder).find_stabilizations("mine~1")
    printed = qdip("report", "mine~1", "--results", folder / "results", "--json").stdout
    assert json.loads(printed)["id"] == first.id
    assert first.stabilization.sentence in printed
    assert "mine~1: earlier revision of" in qdip("report", "mine", "--results", folder / "results").stdout


def test_revisions_can_be_queried_and_stand_in_no_list_of_results(edited: tuple[Path, list[tuple[str, ...]]]) -> None:
    folder, _ = edited
    asked = ("query", "--results", folder / "results", "--json", "--columns", "id")
    assert [row["id"] for row in json.loads(qdip(*asked).stdout)] == ["mine"]
    revisions = [row["id"] for row in json.loads(qdip(*asked, "--revisions").stdout)]
    assert revisions == ["mine~1", "mine~2", "mine~3", "mine~4"]


def test_the_same_study_again_is_no_revision(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    assert run(path, tmp_path) == ()
    assert run(path, tmp_path) == ()
    assert run(write_study(tmp_path, question="The same in other words?"), tmp_path) == ()


def test_going_back_to_an_earlier_study_doubles_nothing(tmp_path: Path) -> None:
    first, second = {}, {"vacuum_ang": 13}
    kept = [run(write_study(tmp_path, **changes), tmp_path) for changes in (first, second, first, second)]
    assert kept == [(), ("mine~1",), ("mine~2",), ("mine~1",)]


def test_a_crystal_whose_file_changed_makes_a_revision(tmp_path: Path) -> None:
    source = Path(__file__).resolve().parents[2] / "structures" / "PbTe.cif"
    text = source.read_text(encoding="utf-8")
    (tmp_path / "dot.cif").write_text(text, encoding="utf-8")
    dot = {**TINY_STUDY["dot"], "material": "dot.cif"}
    assert run(write_study(tmp_path, dot=dot), tmp_path) == ()
    (tmp_path / "dot.cif").write_text(text.replace("6.4541", "6.4441"), encoding="utf-8")
    assert (tmp_path / "dot.cif").read_text(encoding="utf-8") != text
    assert run(write_study(tmp_path, dot=dot), tmp_path) == ("mine~1",)


def test_a_study_that_is_run_from_another_folder_makes_no_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(__file__).resolve().parents[2] / "structures" / "PbTe.cif"
    (tmp_path / "dot.cif").write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    path = write_study(tmp_path, dot={**TINY_STUDY["dot"], "material": "dot.cif"})
    for folder in (tmp_path, tmp_path / "elsewhere"):
        monkeypatch.chdir(folder)
        assert run(path, tmp_path) == ()
    (stored,) = archive_of(tmp_path).list_stabilizations()
    assert stored.study.dot.material == "dot.cif"
    assert str(tmp_path) not in stored.model_dump_json()


def test_a_variant_is_never_shown_for_the_study(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    run(path, tmp_path, preset="balanced")
    with pytest.raises(ResultsError, match=r"no result called 'mine'.*stored here: mine\+balanced"):
        find("mine", tmp_path)
    assert [each.id for each in find("mine+balanced", tmp_path)] == ["mine+balanced"]
    run(path, tmp_path)
    assert [each.id for each in find("mine", tmp_path)] == ["mine"]


def find(name: str, folder: Path) -> list[object]:
    from qdip_dft.cli.stored import find_results

    return list(find_results(ResultsFolder(folder / "results"), name))
