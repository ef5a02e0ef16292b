"""Errors that raise nothing: each becomes a missing term with its reason, never a number."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any, ClassVar

import numpy as np
import pytest

from qdip_dft.engines.base import OnStep
from qdip_dft.engines.testing import TestingEngine
from qdip_dft.execution.local import run_study
from qdip_dft.model.calculation import CalculationRecord, EngineResult, Freedom, LevelOfTheory
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.term_names import TERM_COLUMNS
from qdip_dft.planning.plan import StudyPlan, plan_study
from qdip_dft.planning.study_files import read_study
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from tests.command_line import qdip
from tests.unit.studies import find_step

TOY_STUDY = Path(__file__).parents[1] / "data" / "toy-study.yaml"
BLACK = "PbTe(100)//CsPbI3-alpha(100)"

Tamper = Callable[[CalculationRecord], CalculationRecord]


@pytest.fixture(scope="module")
def finished_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("sound") / "results"
    run_study(plan_study(read_study(str(TOY_STUDY))), results=results)
    return results


@pytest.fixture
def own_results(finished_results: Path, tmp_path: Path) -> Path:
    """A copy of the finished results that a test may spoil."""
    return Path(copytree(finished_results, tmp_path / "results"))


def change_result(record: CalculationRecord, **changes: object) -> CalculationRecord:
    assert record.result is not None
    return record.model_copy(update={"result": record.result.model_copy(update=changes)})


def lose_a_cation(record: CalculationRecord) -> CalculationRecord:
    assert record.result is not None
    structure, forces = without_one(record.result.structure, "Cs"), record.result.forces_ev_per_ang[1:]
    return change_result(record, structure=structure, forces_ev_per_ang=forces)


def without_one(structure: StructureRecord, element: str) -> StructureRecord:
    site = structure.species.index(element)
    kept = [i for i in range(structure.n_atoms) if i != site]
    return structure.model_copy(
        update={
            "species": tuple(structure.species[i] for i in kept),
            "frac_coords": tuple(structure.frac_coords[i] for i in kept),
        }
    )


def lose_a_cation_and_hide_it(record: CalculationRecord) -> CalculationRecord:
    """The question is changed as well, so that the record agrees with itself."""
    spoilt = lose_a_cation(record)
    task = record.task.model_copy(update={"structure": without_one(record.task.structure, "Cs")})
    return spoilt.model_copy(update={"task": task})


def with_other_k_points(record: CalculationRecord) -> CalculationRecord:
    theory = record.theory.model_copy(update={"settings": {"k_spacing_per_ang": 0.3}})
    return record.model_copy(update={"theory": theory})


def not_self_consistent(record: CalculationRecord) -> CalculationRecord:
    return change_result(record, is_converged=False)


def half_self_consistent(record: CalculationRecord) -> CalculationRecord:
    """It says that it is converged, but its energy is not the one that the relaxation ended with."""
    assert record.result is not None
    return change_result(record, energy_ev=record.result.energy_ev + 1.0)


def still_pulling(record: CalculationRecord) -> CalculationRecord:
    assert record.result is not None
    forces = np.array(record.result.forces_ev_per_ang)
    forces[0] += 0.5
    return change_result(record, forces_ev_per_ang=tuple(map(tuple, forces.tolist())))


def with_a_stretched_cell(record: CalculationRecord) -> CalculationRecord:
    assert record.result is not None
    lattice = np.array(record.result.structure.lattice_ang)
    lattice[0] *= 1.01
    structure = record.result.structure.model_copy(update={"lattice_ang": tuple(map(tuple, lattice.tolist()))})
    return change_result(record, structure=structure)


INJECTED: dict[str, tuple[str, Tamper, set[str], str]] = {
    "a film slab that lost a cation": (
        f"film slab {BLACK}", lose_a_cation, {"surface", "binding"}, "1 Cs lost"),
    "an interface whose question was changed with it": (
        f"interface {BLACK} (static)", lose_a_cation_and_hide_it, {"binding"}, "another structure (1 Cs lost)"),
    "a reference with other k-points": (
        f"strained bulk {BLACK} (static)", with_other_k_points, {"strain", "surface"}, "k_spacing_per_ang: 0.3"),
    "a static that is not self-consistent": (
        f"interface {BLACK} (static)", not_self_consistent, {"binding"}, "is not self-consistent"),
    "a static that only says that it is": (
        f"film slab {BLACK} (static)", half_self_consistent, {"surface", "binding"}, "misses the energy of its"),
    "a relaxation that is not at rest": (
        f"interface {BLACK}", still_pulling, {"binding"}, "eV/Å are left"),
    "a slab whose cell has moved": (
        f"dot slab {BLACK}", with_a_stretched_cell, {"binding"}, "changed lattice vectors"),
}  # fmt: skip
"""Step, what is done to its record, the terms that must be missing, and words of the reason."""


def spoil(results: Path, name: str, tamper: Tamper) -> StudyPlan:
    """Change a stored record and keep it under its key."""
    plan = plan_study(read_study(str(TOY_STUDY)))
    archive = open_archive(ResultsFolder(results))
    state = plan.resolve(archive.find_record)
    record = state.records[find_step(state, name)]
    archive.save_records([tamper(record)])
    return plan


def black_film(report: dict[str, Any]) -> dict[str, Any]:
    return next(c for c in report["candidates"] if c["candidate"] == BLACK)


@pytest.mark.parametrize("injected", INJECTED, ids=lambda name: name.replace(" ", "-"))
def test_an_injected_error_leaves_its_terms_missing_with_the_reason(injected: str, own_results: Path) -> None:
    step, tamper, missing, words = INJECTED[injected]
    spoil(own_results, step, tamper)
    report = json.loads(qdip("run", TOY_STUDY, "--results", own_results, "--quiet", "--json", leaves_with=1).stdout)
    film = black_film(report)
    assert {term for term in TERM_COLUMNS if film[f"{term}_ev_per_fu"] is None} == {*missing, "total"}
    assert any("energy missing because" in reason and words in reason for reason in film["missing"])
    assert report["stabilization"]["total_ev_per_fu"] is None
    assert words in report["stabilization"]["sentence"]


def test_a_defect_is_named_by_status_and_mended_by_a_retry(own_results: Path, finished_results: Path) -> None:
    spoil(own_results, f"film slab {BLACK} (static)", half_self_consistent)
    qdip("run", TOY_STUDY, "--results", own_results, "--quiet", leaves_with=1)
    told = json.loads(qdip("status", TOY_STUDY, "--results", own_results, "--json").stdout)
    (failure,) = told["failures"]
    assert (failure["kind"], failure["name"]) == ("defective", f"film slab {BLACK} (static)")
    assert "--retry" in failure["remedy"]
    again = qdip("run", TOY_STUDY, "--results", own_results, "--quiet", "--retry", "--json")
    sound = json.loads(qdip("report", "toy-study", "--results", finished_results, "--json").stdout)
    assert black_film(json.loads(again.stdout))["total_ev_per_fu"] == black_film(sound)["total_ev_per_fu"]


@dataclass(frozen=True)
class LyingEngine(TestingEngine):
    """The toy potential, whose films end as something else."""

    name: ClassVar[str] = "testing"

    def relax(self, structure: StructureRecord, freedom: Freedom, *, on_step: OnStep | None = None) -> EngineResult:
        result = super().relax(structure, freedom, on_step=on_step)
        is_film = freedom is Freedom.POSITIONS and "Cs" in structure.species and "Te" not in structure.species
        return result if not is_film else self.lie(result)

    def lie(self, result: EngineResult) -> EngineResult:
        raise NotImplementedError

    def theory(self) -> LevelOfTheory:
        return super().theory().model_copy(update={"code": type(self).__name__})


class PhaseChangingEngine(LyingEngine):
    """Its films end with lead and caesium in each other's places: no octahedron is left."""

    def lie(self, result: EngineResult) -> EngineResult:
        coords = list(result.structure.frac_coords)
        lead, caesium = (
            [i for i, symbol in enumerate(result.structure.species) if symbol == name] for name in ("Pb", "Cs")
        )
        for one, other in zip(lead, caesium, strict=True):
            coords[one], coords[other] = coords[other], coords[one]
        exchanged = result.structure.model_copy(update={"frac_coords": tuple(coords)})
        return result.model_copy(update={"structure": exchanged, "energy_ev": self.static(exchanged).energy_ev})


class CationLosingEngine(LyingEngine):
    """Its films end with one caesium less, and with a perfectly good energy."""

    def lie(self, result: EngineResult) -> EngineResult:
        structure = without_one(result.structure, "Cs")
        return result.model_copy(update={"structure": structure, "forces_ev_per_ang": result.forces_ev_per_ang[1:]})


@pytest.mark.parametrize(
    ("engine_class", "words"),
    [(PhaseChangingEngine, "phase identity: film slab"), (CationLosingEngine, "1 Cs lost")],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_an_engine_that_lies_gives_no_number(engine_class: type[LyingEngine], words: str, tmp_path: Path) -> None:
    plan = plan_study(read_study(str(TOY_STUDY)))
    liar = engine_class(relaxation=plan.engine.relaxation)
    summary = run_study(StudyPlan(plan.study, plan.crystals, liar), results=tmp_path / "results")
    (document,) = summary.documents
    for result in document.candidates:
        assert result.surface_ev_per_fu is None
        assert result.binding_ev_per_fu is None
        assert any("film slab" in reason and words in reason for reason in result.missing)
    assert document.stabilization.total_ev_per_fu is None
    assert "Undecided" in document.stabilization.sentence
