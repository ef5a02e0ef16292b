"""Running a study on this machine: nothing to set up, every calculation once, continued after any interruption."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qdip_dft.errors import EngineError
from qdip_dft.execution.progress import ProgressDisplay
from qdip_dft.execution.run_notes import NotedRun
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.planning.plan import StudyPlan
from qdip_dft.runtime.journal import recording_in
from qdip_dft.storage.results_folder import ResultsFolder, open_archive
from qdip_dft.tasks.registry_scan import checkpoint_file

if TYPE_CHECKING:
    from rich.console import Console

    from qdip_dft.flows.resolution import Resolution
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
    """

    documents: tuple[StabilizationDoc, ...]
    n_calculated: int
    n_reused: int


def run_study(plan: StudyPlan, *, results: Path, console: Console | None = None, is_retry: bool = False) -> RunSummary:
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

    Raises
    ------
    ResultsError
        If the folder is in use by another run, written by a newer version, or full.
    """
    plan.require_buildable()  # an impossible study leaves no folder behind
    folder = ResultsFolder(results)
    with folder.lock_for_run(), NotedRun(folder, plan.study):
        archive = open_archive(folder)
        before = plan.resolve(archive.find_record)
        stored = _list_attempts(before)
        with ProgressDisplay(_estimate_rest(plan, before), console=console):
            _run_flow(plan, folder, archive, before, is_retry=is_retry)
        resolution = plan.resolve(archive.find_record)
        _require_every_calculation(plan, resolution)
        for scan in resolution.registry_scans.values():
            checkpoint_file(folder.checkpoints, scan.key).unlink(missing_ok=True)
        documents = plan.assemble(resolution)
        for document in documents:
            archive.save_stabilization(document)
    done = _list_attempts(resolution)
    return RunSummary(documents=documents, n_calculated=len(done - stored), n_reused=len(done & stored))


def _estimate_rest(plan: StudyPlan, resolution: Resolution) -> dict[str, float]:
    """Return the estimated seconds of every calculation that is still to be done, by name."""
    calculations = plan.describe_calculations(resolution)
    return {calculation.name: calculation.estimated_s for calculation in calculations if not calculation.is_stored}


def _list_attempts(resolution: Resolution) -> set[tuple[str, int]]:
    """Return key and attempt of every stored calculation of a study."""
    return {(record.key, record.attempt) for record in resolution.stored}


def _run_flow(plan: StudyPlan, folder: ResultsFolder, archive: Archive, before: Resolution, *, is_retry: bool) -> None:
    """Run the study's flow with jobflow; every finished calculation is stored at once."""
    flow = plan.make_flow(
        archive.find_record, resolution=before, is_retry=is_retry, checkpoint_folder=str(folder.checkpoints)
    )
    if flow is None:
        return
    from jobflow import run_locally

    with warnings.catch_warnings(), recording_in(folder.checkpoints):
        warnings.filterwarnings("ignore", message="cd is deprecated", category=FutureWarning)  # jobflow on monty 2026
        run_locally(
            flow,
            store=folder.job_store(),
            log=False,
            allow_external_references=True,
            raise_immediately=True,  # an engine's failure is a record; what is raised here is a full disk or a defect
        )


def _require_every_calculation(plan: StudyPlan, resolution: Resolution) -> None:
    """Refuse to report a study of which a calculation was never tried."""
    if not resolution.unfinished:
        return
    raise EngineError(
        f"study {plan.study.name} stopped before {resolution.label(resolution.unfinished[0])}",
        limit="every calculation that can be built must be tried",
        why="the terms would be incomplete without a reason",
        remedy="run the same command again: it continues where it stopped; the log above says what happened",
    )
