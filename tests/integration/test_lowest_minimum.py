"""A study whose relaxations search for the lowest minimum: every part of both films, and what that leaves in the ±."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from qdip_dft.analysis.uncertainty import LOWEST_MINIMUM
from qdip_dft.execution.local import run_study
from qdip_dft.execution.remaking import compare_with_calculations
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.uncertainty import ErrorComponent
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study
from qdip_dft.storage.results_folder import ResultsFolder, open_archive

TOY_STUDY = Path(__file__).parents[1] / "data" / "toy-study.yaml"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    engine = {"engine": {"name": "testing", "settings": {"search_tries": 1}}}
    (folder / "searching.yaml").write_text(yaml.safe_dump(yaml.safe_load(TOY_STUDY.read_text()) | engine))
    run_study(plan_study(read_study(str(folder / "searching.yaml"))), results=folder / "results", workers=1)
    return folder / "results"


def find_component(results: Path) -> ErrorComponent:
    (document,) = open_archive(ResultsFolder(results)).find_stabilizations("toy-study")
    assert document.uncertainty is not None
    (found,) = (each for each in document.uncertainty.components if each.name == LOWEST_MINIMUM)
    return found


def test_every_film_its_reference_and_its_slabs_are_searched_and_no_bulk(searched: Path) -> None:
    for record in open_archive(ResultsFolder(searched)).list_calculations():
        assert record.result is not None
        assert (record.result.search is None) is (record.task.freedom in (Freedom.NONE, Freedom.CELL))
        if record.result.search is not None:
            assert min(record.result.search.energies_ev) <= record.result.energy_ev


def test_what_the_searches_leave_is_in_the_budget_with_what_they_cost(searched: Path) -> None:
    records = list(open_archive(ResultsFolder(searched)).list_calculations())
    searches = [r.result.search for r in records if r.result is not None and r.result.search is not None]
    found = find_component(searched)
    assert found.is_sampled
    assert found.difference is not None
    assert found.black is not None
    assert found.competitor is not None
    squares = found.black.total_ev_per_fu**2 + found.competitor.total_ev_per_fu**2
    assert found.difference.total_ev_per_fu == pytest.approx(squares**0.5)
    assert found.difference.total_ev_per_fu > 0
    n_calls = int(found.finding.rpartition("; ")[2].split()[0])
    assert 0 < n_calls <= 2 * sum(search.n_force_calls for search in searches)


def test_a_searched_result_follows_from_its_calculations(searched: Path) -> None:
    archive = open_archive(ResultsFolder(searched))
    (remade,) = compare_with_calculations(archive.list_stabilizations(), archive.find_record)
    assert (remade.difference, remade.reason) == (None, None)
