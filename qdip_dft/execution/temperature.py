"""Running the phonons of a study on this machine: every calculation once, continued after any interruption."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdip_dft.execution.progress import ProgressDisplay
from qdip_dft.execution.sampling import Sampler, require_potential
from qdip_dft.flows.sampled_crystals import SampledCrystal
from qdip_dft.flows.temperature import COMPARED, assemble_temperature, list_crystals
from qdip_dft.flows.vibrations import VibratingCrystal, VibrationSurvey, survey_vibrations, tighten
from qdip_dft.jobs.calculate import calculation_job
from qdip_dft.model.calculation import CalculationTask
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.temperature import SampledFreeEnergy, TemperatureDoc
from qdip_dft.planning.plan import StudyPlan, estimate_seconds
from qdip_dft.results.temperatures import save_temperature
from qdip_dft.results.trajectories import TrajectoryStore
from qdip_dft.storage.results_folder import ResultsFolder, open_archive

if TYPE_CHECKING:
    from rich.console import Console

    from qdip_dft.engines.base import Engine

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
    sampled_k
        Temperatures in K at which the free energies of the unstrained bulks are sampled with the potential.
    sampled_length_ang
        Least thickness of the sampled supercells in Å.
    sampled_steps
        Steps of the integration at each λ.
    """

    temperatures_k: Sequence[float]
    min_length_ang: float
    sampled_k: Sequence[float] = ()
    sampled_length_ang: float = 9.0
    sampled_steps: int = 400


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
    with folder.lock_for_run():
        archive = open_archive(folder)
        crystals = list_crystals(plan.steps, plan.resolve(archive.find_record), document)
        engine = tighten(plan.engines.relaxing)
        surveys = _calculate_all(crystals, engine, asked, folder=folder, console=console)
        phases = {key: survey.describe(asked.temperatures_k) for key, survey in surveys.items()}
        for side in COMPARED if asked.sampled_k else ():
            sampled = _sample(surveys[side, False], engine, asked, folder=folder, console=console)
            phases[side, False] = phases[side, False].model_copy(update={"sampled": sampled})
        result = assemble_temperature(
            document,
            phases,
            level=plan.engines.level,
            theory=engine.theory(),
            temperatures_k=asked.temperatures_k,
            min_length_ang=asked.min_length_ang,
            sampled_k=asked.sampled_k,
        )
        save_temperature(folder.collection("temperatures"), result)
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
        _run(tasks, engine, folder, console)


@dataclass(frozen=True, slots=True)
class PlannedTrajectories:
    """What sampling a crystal would take.

    Parameters
    ----------
    name
        Phase and temperature.
    n_atoms
        Atoms in the supercell.
    n_evaluations
        Energies of it.
    seconds
        Typical time in s.
    """

    name: str
    n_atoms: int
    n_evaluations: int
    seconds: float


def list_trajectories(
    plan: StudyPlan, document: StabilizationDoc, asked: TemperatureRun, *, folder: ResultsFolder
) -> list[PlannedTrajectories]:
    """Return what sampling would take; the cells are those of the study, before they are relaxed to the end.

    Parameters
    ----------
    plan, document, asked, folder
        As for `run_temperature`.

    Raises
    ------
    StudyError
        If the result compares no two films.
    EngineError
        If the engine of the study's relaxations cannot sample.
    """
    engine = require_potential(plan.engines.relaxing)
    crystals = list_crystals(plan.steps, plan.resolve(open_archive(folder).find_record), document)
    sampled = [
        one for side in COMPARED for one in list_sampled(crystals[side, False], crystals[side, False].start, asked)
    ]
    seconds = estimate_trajectories(sampled, engine)
    return [PlannedTrajectories(one.name, one.n_atoms, one.n_evaluations, seconds[one.name]) for one in sampled]


def _sample(
    survey: VibrationSurvey,
    engine: Engine,
    asked: TemperatureRun,
    *,
    folder: ResultsFolder,
    console: Console | None,
) -> tuple[SampledFreeEnergy, ...]:
    """Return the sampled free energies of a bulk whose relaxation is done; none without it."""
    if survey.displaced is None:
        return ()
    archive = open_archive(folder)

    def survey_frozen(crystal: VibratingCrystal, min_length_ang: float) -> VibrationSurvey:
        while True:
            found = survey_vibrations(crystal, engine, archive.find_calculation, min_length_ang=min_length_ang)
            if not found.ready or found.failure:
                return found
            _run(found.ready, engine, folder, console)

    trajectories = TrajectoryStore(folder.collection("trajectories")).connect()
    sampler = Sampler(require_potential(engine), trajectories, survey_frozen)
    crystals = list_sampled(survey.crystal, survey.displaced.structure, asked)
    with ProgressDisplay(estimate_trajectories(crystals, engine), console=console):
        return tuple(sampler.sample(crystal) for crystal in crystals)


def list_sampled(crystal: VibratingCrystal, bulk: StructureRecord, asked: TemperatureRun) -> list[SampledCrystal]:
    """Return what is sampled of a relaxed bulk."""
    length_ang, n_steps = asked.sampled_length_ang, asked.sampled_steps
    return [
        SampledCrystal(crystal.subject, bulk, crystal.formula_units, t, length_ang, n_steps) for t in asked.sampled_k
    ]


def estimate_trajectories(crystals: Sequence[SampledCrystal], engine: Engine) -> dict[str, float]:
    """Return the typical time of the trajectories of each crystal in s, by its name."""
    return {c.name: c.n_evaluations * engine.seconds_per_force_call(c.n_atoms) for c in crystals}


def _run(tasks: dict[str, CalculationTask], engine: Engine, folder: ResultsFolder, console: Console | None) -> None:
    from jobflow import Flow, run_locally

    jobs = [calculation_job(task, engine, key=key, term="vibrations") for key, task in tasks.items()]
    seconds = {task.label: estimate_seconds(engine, task.freedom, task.structure.n_atoms) for task in tasks.values()}
    with warnings.catch_warnings(), ProgressDisplay(seconds, console=console):
        warnings.filterwarnings("ignore", message="cd is deprecated", category=FutureWarning)  # jobflow on monty 2026
        warnings.filterwarnings("ignore", message="Some jobs are not connected", category=UserWarning)  # nor need be
        run_locally(Flow([*jobs]), store=folder.job_store(), log=False, raise_immediately=True)
