"""What the commands leave with, and which places of results are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdip_dft.errors import EngineError, MachineError, OutOfTime, QdipError, ResultsDiskError, ScratchError, StudyError
from qdip_dft.execution.local import RunSummary
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.storage.location import make_results, open_results
from qdip_dft.storage.results_folder import ResultsFolder
from tests.command_line import assert_four_parts, qdip
from tests.unit.report_documents import make_document

SECRET = "hunter2"
ADDRESSES = [
    f"mongodb://user:{SECRET}@db.example.org/group",
    f"postgres://user:{SECRET}@db.example.org/group",
    f"https://user:{SECRET}@example.org/results",
    f"MONGODB+SRV://user:{SECRET}@example.org",
    f"mongo:/user:{SECRET}@example.org",
]
COMMANDS = [("run", "quickstart"), ("plan", "quickstart"), ("report", "x"), ("status",), ("compare", "x", "y")]


def raise_in_command(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("qdip_dft.cli.studies.make_plans", fail)
    return qdip("run", "quickstart", check=False).returncode


@pytest.mark.parametrize("kind", [MachineError, ScratchError, OutOfTime, ResultsDiskError])
def test_what_stops_a_run_leaves_with_3(kind: type[QdipError], monkeypatch: pytest.MonkeyPatch) -> None:
    assert raise_in_command(kind("a", limit="b", why="c", remedy="d"), monkeypatch) == 3


def test_an_interrupted_run_leaves_with_3(monkeypatch: pytest.MonkeyPatch) -> None:
    assert raise_in_command(KeyboardInterrupt(), monkeypatch) == 3


@pytest.mark.parametrize("kind", [StudyError, EngineError])
def test_what_is_wrong_in_a_question_leaves_with_2(kind: type[QdipError], monkeypatch: pytest.MonkeyPatch) -> None:
    assert raise_in_command(kind("a", limit="b", why="c", remedy="d"), monkeypatch) == 2


def without_answer(document: StabilizationDoc) -> StabilizationDoc:
    lost = document.stabilization.model_copy(update={"total_ev_per_fu": None})
    return document.model_copy(update={"stabilization": lost})


@pytest.mark.parametrize(("n_answers", "code"), [(0, 1), (1, 0), (2, 0)])
def test_a_run_leaves_with_1_if_no_facet_has_an_answer(
    n_answers: int, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    document = make_document()
    documents = (*[document] * n_answers, *[without_answer(document)] * (2 - n_answers))
    monkeypatch.setattr("qdip_dft.execution.local.run_study", lambda *_, **__: RunSummary(documents, 0, 1))
    assert qdip("run", "quickstart", "--json", "--results", tmp_path, check=False).returncode == code


def test_a_study_of_terms_only_is_answered_by_a_film() -> None:
    lost = without_answer(make_document())
    asked = lost.model_copy(update={"study": lost.study.model_copy(update={"terms_only": True})})
    nothing = asked.model_copy(
        update={"candidates": tuple(each.model_copy(update={"is_selected": False}) for each in asked.candidates)}
    )
    assert (lost.has_answer, asked.has_answer, nothing.has_answer) == (False, True, False)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_address_in_the_place_of_a_folder_is_refused_without_its_password(
    command: tuple[str, ...], address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = qdip(*command, "--results", address, check=False)
    assert_four_parts(refused, "name a folder with --results DIR")
    assert SECRET not in refused.stderr + refused.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ADDRESSES[1:3])
@pytest.mark.parametrize("open_it", [open_results, make_results, ResultsFolder])
def test_no_way_into_the_results_makes_a_folder_of_an_address(
    open_it: Any, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for form in (address, Path(address)):
        with pytest.raises(QdipError, match="name a folder") as caught:
            open_it(form)
        assert SECRET not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_query_of_an_address_that_is_no_database_names_no_password() -> None:
    refused = qdip("query", "--results", ADDRESSES[1], check=False)
    assert_four_parts(refused, "name a folder")
    assert SECRET not in refused.stderr


@pytest.mark.parametrize("name", ["a:b", "results:2026", "C:", "./mongodb"])
def test_names_with_a_colon_are_folders(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ResultsFolder(name).path.is_dir()
