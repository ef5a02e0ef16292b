"""Results of an earlier version: a results folder and a bundle of `quickstart`, every calculation and its document.

Both were written before results named their candidates by ids (version 3 of their documents).
"""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

import pytest

from qdip_dft.execution import local
from qdip_dft.execution.crew import LoneWorker
from qdip_dft.execution.local import run_study
from qdip_dft.flows import stabilization
from qdip_dft.flows.resolution import Resolution
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.term_names import TERM_COLUMNS
from qdip_dft.planning import plan as planning
from qdip_dft.planning.plan import StudyPlan, plan_study
from qdip_dft.planning.study_files import read_study
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.command_line import qdip

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden" / "results"
N_CALCULATIONS = 24
STUDY = GOLDEN.parents[1] / "studies-1" / "quickstart.yaml"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The results folder of an earlier version."""
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "qdip.sqlite").write_bytes(lzma.decompress((GOLDEN / "quickstart-results-3.sqlite.xz").read_bytes()))
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of an earlier version."""
    path = tmp_path / "quickstart.zip"
    path.write_bytes(lzma.decompress((GOLDEN / "quickstart-bundle-3.zip.xz").read_bytes()))
    return path


def plan() -> StudyPlan:
    return plan_study(read_study(str(STUDY)))


def stored_document(results: Path) -> StabilizationDoc:
    (document,) = open_archive(ResultsFolder(results)).find_stabilizations("quickstart")
    return document


def test_no_calculation_of_an_earlier_version_runs_again(results: Path) -> None:
    resolution = plan().resolve(open_archive(ResultsFolder(results)).find_record)
    assert len(resolution.stored) == N_CALCULATIONS
    assert not resolution.unfinished
    assert not resolution.waiting
    assert not resolution.blocked


def test_the_numbers_made_from_them_are_the_stored_ones(results: Path) -> None:
    before = stored_document(results)
    ran = run_study(plan(), results=results)
    assert (ran.n_calculated, ran.n_reused) == (0, N_CALCULATIONS)
    (after,) = ran.documents
    assert after.calculations == before.calculations
    for new, old in zip(after.candidates, before.candidates, strict=True):
        assert new.calculations == old.calculations
        assert (new.candidate.label, new.is_selected) == (old.candidate.label, old.is_selected)
        assert [new[name] for name in TERM_COLUMNS] == [old[name] for name in TERM_COLUMNS]
        assert (new.n_formula_units, new.area_ang2, new.registry) == (old.n_formula_units, old.area_ang2, old.registry)
    assert (after.stabilization.black, after.stabilization.competitor) == (
        before.stabilization.black, before.stabilization.competitor)  # fmt: skip
    # both films hold as much host per area, so that the comparison at one coverage is that of the films as they are
    for name in TERM_COLUMNS:
        assert after.stabilization[name] == pytest.approx(before.stabilization[name], abs=1e-12)


def test_a_stored_result_knows_the_two_films_that_it_compares(results: Path) -> None:
    document = stored_document(results)
    black, competitor = (document.find_candidate(side) for side in (
        document.stabilization.black_id, document.stabilization.competitor_id))  # fmt: skip
    assert black is not None
    assert competitor is not None
    assert black.candidate.title.film_side == "CsPbI3-alpha(100)"
    assert competitor.candidate.title.facet == "PbTe(100)"


def test_a_bundle_of_an_earlier_version_is_restored_and_nothing_runs_again(bundle: Path, tmp_path: Path) -> None:
    restored = tmp_path / "restored"
    qdip("import-bundle", bundle, "--results", restored)
    assert f"0 calculations made, {N_CALCULATIONS} found" in qdip("run", STUDY, "--results", restored).stdout


@pytest.mark.parametrize("is_new", [True, False], ids=["an empty folder", "a finished study"])
def test_a_study_is_resolved_at_most_twice_before_its_first_calculation(
    is_new: bool, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Resolution] = []

    def count(*arguments: Any) -> Resolution:
        counted.append(resolve(*arguments))
        return counted[-1]

    def stop(*_: Any, **__: Any) -> None:
        raise StopIteration("the first calculation would start here")

    resolve = planning.resolve_study
    monkeypatch.setattr(planning, "resolve_study", count)
    monkeypatch.setattr(stabilization, "resolve_study", count)
    monkeypatch.setattr(LoneWorker, "start", stop)
    if is_new:
        with pytest.raises(StopIteration, match="first calculation"):
            run_study(plan(), results=tmp_path / "new", workers=1)
    else:
        local.run_study(plan(), results=results)
    assert 1 <= len(counted) <= 2
