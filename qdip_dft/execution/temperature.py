"""Running the phonons of a study on this machine: every calculation once, continued after any interruption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdip_dft.analysis.phonons import require_phonopy
from qdip_dft.execution.assignments import Assignment
from qdip_dft.execution.progress import ProgressDisplay
from qdip_dft.flows.temperature import assemble_temperature, list_crystals
from qdip_dft.flows.vibrations import VibratingCrystal, VibrationSurvey, survey_vibrations, tighten
from qdip_dft.model.calculation import CalculationTask
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.temperature import TemperatureDoc
from qdip_dft.planning.plan import StudyPlan, estimate_seconds
from qdip_dft.results.archive import save_document
from qdip_dft.results.migrations import read_record
from qdip_dft.storage.results_folder import ResultsFolder, open_archive

if TYPE_CHECKING:
    from rich.console import Console

    from qdip_dft.engines.base import Engine
    from qdip_dft.results.archive import Archive

Key = tuple[str, bool]
"""Side of a result, and whether the crystal is strained."""


@dataclass(frozen=True, slots=True)
class TemperatureRun:
    """What is asked.

    Parameters
    ----------
    temperatures_k
        The temperatures in K.
    min_length_ang
        Least thickness of the phonons' supercells in Å.
    """

    temperatures_k: Sequence[float]
    min_length_ang: float


def run_temperature(
    plan: StudyPlan,
    document: StabilizationDoc,
    asked: TemperatureRun,
    *,
    folder: ResultsFolder,
    console: Console | None = None,
) -> TemperatureDoc:
    """Calculate the vibrations of what a result compares, and store its answer against temperature.

    Parameters
    ----------
    plan
        The study of the result.
    document
        The result, complete.
    asked
        Temperatures and supercells.
    folder
        The results folder that holds the result and its calculations.
    console
        Where to show progress; None: silent.

    Raises
    ------
    StudyError
        If the result compares no two films.
    ResultsError
        If the folder is in use by another run.
    """
    require_phonopy()
    with folder.lock_for_run():
        archive = open_archive(folder)
        crystals = list_crystals(plan.steps, plan.resolve(archive.find_record), document)
        engine = tighten(plan.engines.relaxing)
        surveys = _calculate_all(crystals, engine, asked, folder=folder, console=console)
        phases = {key: survey.describe(asked.temperatures_k) for key, survey in surveys.items()}
        result = assemble_temperature(
            document,
            phases,
            level=plan.engines.level,
            theory=engine.theory(),
            temperatures_k=asked.temperatures_k,
            min_length_ang=asked.min_length_ang,
        )
        save_document(folder.collection("temperatures"), result)
    return result


def _calculate_all(
    crystals: dict[Key, VibratingCrystal],
    engine: Engine,
    asked: TemperatureRun,
    *,
    folder: ResultsFolder,
    console: Console | None,
) -> dict[Key, VibrationSurvey]:
    """Return the finished surveys: relaxations first, then the displaced supercells that follow from them."""
    archive = open_archive(folder)
    while True:
        surveys = {
            key: survey_vibrations(crystal, engine, archive.find_calculation, min_length_ang=asked.min_length_ang)
            for key, crystal in crystals.items()
        }
        tasks = {key: task for survey in surveys.values() if not survey.failure for key, task in survey.ready.items()}
        if not tasks:
            return surveys
        _run(tasks, engine, folder, archive, console)


def _run(
    tasks: dict[str, CalculationTask], engine: Engine, folder: ResultsFolder, archive: Archive, console: Console | None
) -> None:
    seconds = {task.label: estimate_seconds(engine, task.freedom, task.structure.n_atoms) for task in tasks.values()}
    with ProgressDisplay(seconds, console=console):
        for key, task in tasks.items():
            assignment = Assignment(key, 0, task.label, task.model_dump(mode="json"), engine)
            archive.save_records([read_record(assignment.carry_out(folder.checkpoints))])
