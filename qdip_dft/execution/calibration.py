"""Measuring the error of a potential: single points of another engine at the geometries of a study's two films."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qdip_dft.analysis.calibration import measure_calibration
from qdip_dft.analysis.sides import find_sides
from qdip_dft.errors import ResultsError
from qdip_dft.execution.local import run_study
from qdip_dft.model.calibration import Calibration
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.reference import BulkChoice
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.study import StudySpec, UncertaintySpec
from qdip_dft.planning.plan import StudyPlan, plan_study
from qdip_dft.planning.study_files import validate_study
from qdip_dft.results.archive import save_document
from qdip_dft.storage.results_folder import ResultsFolder, open_archive

if TYPE_CHECKING:
    from rich.console import Console


def make_calibrating_study(study: StudySpec, engine: EngineSpec) -> StudySpec:
    """The study with the energies of another engine at the geometries of its own, and nothing varied.

    Parameters
    ----------
    study
        The study.
    engine
        The reference engine.
    """
    words = [study.variant, "calibration", engine.name]
    changed = study.model_copy(
        update={
            "variant": "-".join(filter(None, words))[:32],
            "engine": engine,
            "geometry": study.geometry or study.engine,
            "dot": study.dot.model_copy(update={"thicknesses": 1}),
            "film": study.film.model_copy(update={"thicknesses": 1}),
            "uncertainty": UncertaintySpec(),
            "check_minima": False,
            "bulk": BulkChoice.ENGINE,
        }
    )
    return validate_study(changed.model_dump(mode="json"), source=f"{study.name}, calibrated", folder=study.folder)


def calibrate(
    plan: StudyPlan,
    engine: EngineSpec,
    *,
    results: Path,
    console: Console | None = None,
    is_retry: bool = False,
    workers: int | None = None,
) -> tuple[Calibration, ...]:
    """Measure and store the error of a study's engine on every facet, and state the study's answer anew with it.

    Parameters
    ----------
    plan
        The study, whose results are stored.
    engine
        The reference engine.
    results
        Results folder.
    console
        Where to show progress; None: silent.
    is_retry
        Whether failed and unconverged calculations are tried again.
    workers
        Calculations made side by side; None: from cores and memory.

    Raises
    ------
    ResultsError
        If the study has no complete answer in the folder, or a reference energy is missing.
    """
    documents = _list_answers(plan, results)
    compared = frozenset(film.candidate.id for document in documents for film in find_sides(document).films)
    asked = replace(plan_study(make_calibrating_study(plan.study, engine)), only=compared)
    summary = run_study(asked, results=results, console=console, is_retry=is_retry, workers=workers)
    references = {document.dot_plane: document for document in summary.documents}
    measured = tuple(
        measure_calibration(document, references[document.dot_plane], elements=plan.steps.elements)
        for document in documents
    )
    store = ResultsFolder(results).collection("calibrations")
    for calibration in measured:
        save_document(store, calibration)
    run_study(plan, results=results)  # everything is stored: the answer is stated anew
    return measured


def _list_answers(plan: StudyPlan, results: Path) -> list[StabilizationDoc]:
    archive = open_archive(ResultsFolder(results))
    found = [doc for doc in archive.find_stabilizations(plan.study.id) if doc.stabilization.total_ev_per_fu is not None]
    if found:
        return found
    raise ResultsError(
        f"{results} holds no complete answer of {plan.study.id}",
        limit="a calibration needs the relaxed structures of both compared films",
        why="the reference energies are taken at them",
        remedy=f"qdip run {plan.study.name} first",
    )
