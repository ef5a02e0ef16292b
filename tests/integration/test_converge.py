"""`qdip converge` end to end: the toy potential, and a toy with the errors of plane waves and k-points."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from math import exp
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from qdip_dft.engines.base import OnStep
from qdip_dft.engines.code_run import count_k_points
from qdip_dft.engines.registry import ENGINES
from qdip_dft.engines.testing import TestingEngine
from qdip_dft.model.calculation import EngineResult, Freedom, LevelOfTheory
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.structure import StructureRecord
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.command_line import assert_four_parts, qdip

TOY_STUDY = Path(__file__).parents[1] / "data" / "toy-study.yaml"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder that the ladders of this module share, as those of a user do."""
    return tmp_path_factory.mktemp("converge") / "results"


def test_a_vacuum_is_converged_and_the_written_study_can_be_run(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "converged.yaml"
    done = qdip("converge", TOY_STUDY, "--what", "vacuum", "--to", "1meV", "--results", results,
                "--write", file, "--quiet")  # fmt: skip
    assert "vacuum_ang is converged at 12 Å" in done.stdout
    assert len([line for line in done.stdout.splitlines() if " 100 " in line]) == 3
    assert yaml.safe_load(file.read_text())["vacuum_ang"] == 12
    again = qdip("run", file, "--results", results, "--quiet")
    assert "0 calculations made" in again.stdout  # the toy's own value was enough
    stored = {document.id for document in open_archive(ResultsFolder(results)).list_stabilizations()}
    assert stored == {"toy-study", "toy-study+vacuum-17", "toy-study+vacuum-22", "toy-study+vacuum"}


def test_a_ladder_that_was_climbed_before_calculates_nothing(results: Path, tmp_path: Path) -> None:
    def count() -> int:
        return len(list(open_archive(ResultsFolder(results)).list_calculations()))

    before = count()
    arguments = ("converge", TOY_STUDY, "--what", "vacuum", "--to", "1meV", "--results", results, "--json")
    first = json.loads(qdip(*arguments, "--write", tmp_path / "again.yaml", "--quiet").stdout)
    assert count() == before
    (setting,) = first["settings"]
    assert setting["converged_value"] == 12
    assert [rung["value"] for rung in setting["rungs"]] == [12, 17, 22]


def test_what_is_not_converged_says_so_writes_nothing_and_fails(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "never.yaml"
    done = qdip("converge", TOY_STUDY, "--what", "layers", "--to", "0.0001meV", "--max-steps", 3,
                "--results", results, "--write", file, "--quiet", check=False)  # fmt: skip
    assert done.returncode == 1
    assert "film.min_thickness_ang is not converged to 0.0001 meV per formula unit in 3 values" in done.stdout
    assert not file.exists()


@pytest.mark.parametrize("what", ["kpoints", "cutoff"])
def test_a_potential_has_no_k_points_and_no_cutoff(what: str, tmp_path: Path) -> None:
    refused = qdip("converge", TOY_STUDY, "--what", what, "--results", tmp_path / "none", check=False)
    assert_four_parts(refused, "converge layers and vacuum with this engine")
    assert not (tmp_path / "none").exists()


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "kept.yaml"
    file.write_text("precious")
    refused = qdip("converge", TOY_STUDY, "--what", "vacuum", "--write", file, check=False)
    assert_four_parts(refused, "--write FILE")
    assert file.read_text() == "precious"


@dataclass(frozen=True)
class PlaneWaveToy(TestingEngine):
    """The toy potential with an error per lead atom that a cutoff and a mesh of k-points make smaller."""

    name: ClassVar[str] = "plane-wave-toy"
    cutoff_ev: float = 200.0
    k_spacing_per_ang: float = 0.6

    @classmethod
    def from_spec(cls, spec: EngineSpec) -> PlaneWaveToy:
        toy = cls(TestingEngine.from_spec(EngineSpec(name="testing")).relaxation)
        return replace(toy, **{name: float(str(value)) for name, value in spec.settings.items()})

    def theory(self) -> LevelOfTheory:
        settings = {"cutoff_ev": self.cutoff_ev, "k_spacing_per_ang": self.k_spacing_per_ang}
        return super().theory().model_copy(update={"engine": self.name, "settings": settings})

    def static(self, structure: StructureRecord) -> EngineResult:
        return self.with_errors(super().static(structure))

    def relax(self, structure: StructureRecord, freedom: Freedom, *, on_step: OnStep | None = None) -> EngineResult:
        return self.with_errors(super().relax(structure, freedom, on_step=on_step))

    def with_errors(self, result: EngineResult) -> EngineResult:
        """An error of both phases alike leaves the difference; so the one of the basis grows with the slab's faces."""
        n_lead = result.structure.species.count("Pb")
        n_points = min(count_k_points(result.structure, self.k_spacing_per_ang)[:2])
        is_tilted = result.structure.n_atoms > 30
        error = n_lead * (exp(-self.cutoff_ev / 60) + (0.02 if is_tilted else 0.01) / n_points**4)
        return result.model_copy(update={"energy_ev": result.energy_ev + error})


@pytest.mark.parametrize(("what", "key"), [("kpoints", "k_spacing_per_ang"), ("cutoff", "cutoff_ev")])
def test_k_points_and_cutoff_are_refined_with_an_engine_that_has_them(
    what: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "plane-wave-toy", PlaneWaveToy.from_spec)
    file, results = tmp_path / "study.yaml", tmp_path / "results"
    done = qdip("converge", TOY_STUDY, "--engine", "plane-wave-toy", "--what", what, "--to", "2meV",
                "--results", results, "--write", file, "--quiet", "--json")  # fmt: skip
    (setting,) = json.loads(done.stdout)["settings"]
    values = [rung["value"] for rung in setting["rungs"]]
    assert values == sorted(values, reverse=what == "kpoints")
    assert yaml.safe_load(file.read_text())["engine"]["settings"] == {key: setting["converged_value"]}
    assert setting["converged_value"] == values[-3]
