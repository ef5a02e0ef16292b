"""Running a study on this machine: nothing to set up, every calculation once, continued after any interruption."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qdip_dft.errors import DamagedDocumentError, StoppedError
from qdip_dft.execution.assignments import list_assignments
from qdip_dft.execution.crew import Crew, LoneWorker, Outcome, WorkerCrew, explain_given_up
from qdip_dft.execution.machine import choose_workers
from qdip_dft.execution.progress import ProgressDisplay
from qdip_dft.execution.run_notes import NotedRun
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.planning.plan import StudyPlan, list_repeats, list_retries, passing_over
from qdip_dft.results.calibrations import list_calibrations, list_held
from qdip_dft.results.migrations import read_record
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from qdip_dft.tasks.registry_scan import checkpoint_file

if TYPE_CHECKING:
    from rich.console import Console

    from qdip_dft.flows.resolution import Resolution
    from qdip_dft.model.calibration import Calibration
    from qdip_dft.results.archive import Archive


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did.

    Parameters
    ----------
    documents
        The results, one per dot facet.
    n_calculated
        Calculations made by this run.
    n_reused
        Calculations that were stored before.
    kept
        Ids of the revisions that earlier results of a study which has changed since can be asked for by.
    """

    documents: tuple[StabilizationDoc, ...]
    n_calculated: int
    n_reused: int
    kept: tuple[str, ...] = ()

    @property
    def has_answer(self) -> bool:
        """Whether what the study asks for is known on a facet of the dot at least."""
        return any(document.has_answer for document in self.documents)

    def _repr_html_(self) -> str:
        """The answers in a notebook, as each document shows itself."""
        return "".join(document._repr_html_() for document in self.documents)


def run_study(
    plan: StudyPlan,
    *,
    results: str | Path,
    console: Console | None = None,
    is_retry: bool = False,
    workers: int | None = None,
) -> RunSummary:
    """Carry out what a study still needs and store its results.

    Parameters
    ----------
    plan
        The study.
    results
        Results folder; created when it does not exist.
    console
        Where to show progress; None: silent.
    is_retry
        Whether failed and unconverged calculations are tried again.
    workers
        Calculations made side by side, each in a process with one thread; None: from cores and memory.

    Raises
    ------
    EngineError
        If the study leaves a code to atomate2.
    ResultsError
        If the folder is in use by another run, written by a newer version, or full.
    StoppedError
        If the machine failed, or the processes of a calculation were killed again and again.

    Examples
    --------
    >>> run = run_study(plan, results="qdip-results")
    >>> run.has_answer
    True
    >>> run_study(plan, results="qdip-results").n_calculated  # everything is stored once
    0
    """
    plan.engines.require_own_runner()
    plan.require_buildable()  # an impossible study leaves no folder behind
    folder = ResultsFolder(results)
    with folder.lock_for_run(), NotedRun(folder, plan.study):
        archive = open_archive(folder)
        before = plan.resolve(archive.find_record)
        stored = _list_attempts(before)
        attempts = list_retries(before) if is_retry else list_repeats(before)
        if attempts:
            before = plan.resolve(passing_over(archive.find_record, attempts))
        seconds = _estimate_rest(plan, before)
        size = workers or choose_workers(list(plan.engines.all), estimated_s=sum(seconds.values()))
        crew = LoneWorker(folder.checkpoints) if size == 1 else WorkerCrew(size, folder.checkpoints)
        with ProgressDisplay(seconds, console=console), crew:
            _work_through(plan, archive, crew, before, attempts)
        if isinstance(crew, WorkerCrew) and crew.given_up:
            raise explain_given_up(crew.given_up)
        resolution = plan.resolve(archive.find_record)
        _require_every_calculation(plan, resolution)
        for scan in resolution.registry_scans.values():
            if scan.failures:
                continue  # the next run repeats the registries that failed and finds the others here
            checkpoint_file(folder.checkpoints, scan.key).unlink(missing_ok=True)
        held: tuple[Calibration, ...] = ()  # of a result that came from elsewhere; a damaged one is made anew without
        with suppress(DamagedDocumentError):
            held = list_held(archive.find_stabilizations(plan.study.id))
        known = {each.id: each for each in (*held, *list_calibrations(folder.collection("calibrations")))}
        documents = replace(plan, calibrations=tuple(known.values())).assemble(resolution)
        kept = tuple(filter(None, [archive.save_stabilization(document) for document in documents]))
        folder.require_in_place()
    done = _list_attempts(resolution)
    return RunSummary(documents=documents, n_calculated=len(done - stored), n_reused=len(done & stored), kept=kept)


def _estimate_rest(plan: StudyPlan, resolution: Resolution) -> dict[str, float]:
    """Return the estimated seconds of every calculation that is still to be done, by name."""
    calculations = plan.describe_calculations(resolution)
    return {calculation.name: calculation.estimated_s for calculation in calculations if not calculation.is_stored}


def _list_attempts(resolution: Resolution) -> set[tuple[str, int]]:
    """Return key and attempt of every stored calculation of a study."""
    return {(record.key, record.attempt) for record in resolution.stored}


def _work_through(
    plan: StudyPlan, archive: Archive, crew: Crew, before: Resolution, attempts: Mapping[str, int]
) -> None:
    """Calculate whatever is ready until nothing is; every finished calculation is stored at once.

    An engine's failure is a record.  What is raised here is a full disk or a defect, and ends the run.
    """
    taken: set[str] = set()
    look_up = passing_over(archive.find_record, attempts)
    waiting = list_assignments(plan, before, attempts)
    while waiting or crew.is_busy:
        while waiting and crew.is_free:
            taken.add(waiting[0].key)
            crew.start(waiting.pop(0))
        ended = [outcome for outcome in crew.wait() if _store(archive, outcome)]
        if ended:
            ready = list_assignments(plan, plan.resolve(look_up), attempts)
            waiting = [assignment for assignment in ready if assignment.key not in taken]


def _store(archive: Archive, outcome: Outcome) -> bool:
    """Store a record at once; return whether there is one."""
    if outcome.record is not None:
        archive.save_records([read_record(outcome.record)])
    return outcome.record is not None


def _require_every_calculation(plan: StudyPlan, resolution: Resolution) -> None:
    """Refuse to report a study of which a calculation was never tried."""
    if not resolution.unfinished:
        return
    raise StoppedError(
        f"study {plan.study.name} stopped before {resolution.label(resolution.unfinished[0])}",
        limit="every calculation that can be built must be tried",
        why="the terms would be incomplete without a reason",
        remedy="run the same command again: it continues where it stopped; the log above says what happened",
    )
