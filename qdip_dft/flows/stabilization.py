"""The flow of a study: everything that can be calculated now, then a job that looks what has become possible."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobflow import Flow, Job, Maker, OutputReference

from qdip_dft.flows.engines import StudyEngines
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import StepId, StudySteps
from qdip_dft.flows.study_results import assemble_study, resolve_study
from qdip_dft.jobs.advance import advance_study
from qdip_dft.jobs.calculate import calculation_job
from qdip_dft.jobs.scan_registry import registry_scan_job
from qdip_dft.model.calculation import CalculationTask
from qdip_dft.model.crystal import CrystalRecord
from qdip_dft.model.interface import Candidate, DroppedCandidate
from qdip_dft.model.keys import job_id
from qdip_dft.model.stored import StoredRecord
from qdip_dft.model.study import StudySpec
from qdip_dft.model.term_names import TERM_OF_PART, TERM_OF_SCANS
from qdip_dft.results.migrations import read_record

if TYPE_CHECKING:
    from qdip_dft.engines.base import Engine


class StudyFlow(Flow):
    """The flow of a study, which says so where a powerup finds nothing in it that it could change."""

    def as_dict(self) -> dict[str, Any]:
        """The plain flow: managers look for jobflow's own class, and jobflow-remote passes over any other."""
        return {**super().as_dict(), "@module": Flow.__module__, "@class": Flow.__name__}

    def update_maker_kwargs(self, *update: Any, **options: Any) -> None:
        """As in jobflow; a powerup of atomate2 ends here.  The parameters are those of `Flow.update_maker_kwargs`."""
        before = [job.as_dict() for job in self.jobs]
        super().update_maker_kwargs(*update, **options)
        if before == [job.as_dict() for job in self.jobs]:
            warnings.warn(
                f"the powerup changed nothing in the flow of {self.name}: its filters fit no Maker in it, for only"
                " engines with `runner: atomate2` are run by one; set in the study what is to be calculated",
                stacklevel=2,
            )


@dataclass
class StageMaker(Maker):
    """Maker of the flow that answers a study, stage by stage.

    Each stage holds the calculations whose structures are known; the last job of a stage builds the next one from
    their results: bulks → strained bulks, dot slabs and registry scans → film slabs → interfaces, static
    calculations in between; then the variations around the two films that are compared.
    The ids of the jobs follow from the calculations, and later stages look earlier ones up in a store which all share:
    studies of one store share their calculations.

    Parameters
    ----------
    study
        The study.
    crystals
        Dot material and phases by the names that the study uses.
    candidates, dropped
        What is built, and what is not and why.
    engines
        Which engine does which step.
    checkpoint_folder
        Where registry scans keep their energies while they run, seen from the folder that a job runs in.
    attempts
        Number of the next attempt, by calculation key, of calculations that failed before; all others make their first.
    makers
        Makers of atomate2 by the name of the engine whose code they run: what powerups change.  Empty: as the engines
        ask for.
    """

    study: StudySpec
    crystals: dict[str, CrystalRecord]
    candidates: tuple[Candidate, ...]
    engines: StudyEngines
    dropped: tuple[DroppedCandidate, ...] = ()
    name: str = "stabilization"
    attempts: dict[str, int] = field(default_factory=dict)
    checkpoint_folder: str = "."
    makers: dict[str, Maker] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the makers that the engines ask for; atomate2 is imported only then."""
        if not self.makers and any(engine.is_run_by_atomate2 for engine in self.engines.all):
            from qdip_dft.jobs.by_atomate2 import list_makers

            self.makers = list_makers(self.engines.all)

    def make(self, resolution: Resolution | None = None) -> Flow:
        """Return the flow of what is still to be calculated.

        Parameters
        ----------
        resolution
            What is stored already: its jobs are referenced, not repeated.  None: nothing is.
        """
        if resolution is None:
            return self._stage(resolve_study(self.steps, self.engines, lambda _: None), {})
        return self._stage(resolution, {record.key: record for record in resolution.stored})

    def make_next(self, records: Mapping[str, dict[str, Any] | None]) -> Flow | dict[str, Any]:
        """Return the next stage, or the finished documents as plain data."""
        known = {key: read_record(data) for key, data in records.items() if data is not None}
        resolution = resolve_study(self.steps, self.engines, known.get)
        is_lost = any(resolution.keys[step] in records for step in resolution.unfinished)
        if resolution.unfinished and not is_lost:
            return self._stage(resolution, known)
        documents = assemble_study(self.steps, resolution, engines=self.engines)
        return {"documents": [document.model_dump(mode="json") for document in documents]}

    @property
    def steps(self) -> StudySteps:
        """Return the steps of the study."""
        return StudySteps(
            self.study,
            self.crystals,
            tuple(self.candidates),
            tuple(self.dropped),
            can_check_minima=self.engines.can_check_minima,
        )

    def _stage(self, resolution: Resolution, known: Mapping[str, StoredRecord]) -> Flow:
        chains = self._calculation_jobs(resolution) | self._registry_scan_jobs(resolution)
        following = self._follow({key: chain[-1].output for key, chain in chains.items()}, known)
        following.name = f"advance {self.study.name}"
        jobs = [job for chain in chains.values() for job in chain]
        return StudyFlow([*jobs, following], output=following.output, name=self.study.name)

    def _follow(self, made: Mapping[str, OutputReference], known: Mapping[str, StoredRecord]) -> Job:
        """The job that builds the next stage from what this one makes and what was known before."""
        stored = {key: OutputReference(job_id(key, attempt=record.attempt)) for key, record in known.items()}
        return advance_study(self, {**stored, **made})

    def _identify(self, job: Job) -> Job:
        """The job with the id that it is to have: that of its calculation."""
        return job

    def _calculation_jobs(self, resolution: Resolution) -> dict[str, tuple[Job, ...]]:
        """Return by key the jobs of each calculation, the last of which gives the record.

        Two steps that ask the same question share them.
        """
        return {
            resolution.keys[id_]: self._jobs_of(task, self.engines.of(resolution.steps[id_]), resolution.keys[id_], id_)
            for id_, task in resolution.ready.items()
        }

    def _jobs_of(self, task: CalculationTask, engine: Engine, key: str, id_: StepId) -> tuple[Job, ...]:
        attempt = self.attempts.get(key, 0)
        if not engine.is_run_by_atomate2:
            return (
                self._identify(calculation_job(task, engine, key=key, term=TERM_OF_PART[id_.part], attempt=attempt)),
            )
        from qdip_dft.jobs.by_atomate2 import atomate2_jobs

        return atomate2_jobs(task, engine, self.makers[engine.name], key=key, attempt=attempt)

    def _registry_scan_jobs(self, resolution: Resolution) -> dict[str, tuple[Job, ...]]:
        """Return one job per registry scan that can be made."""
        tasks = {resolution.keys[scan]: task for scan, task in resolution.ready_registry_scans.items()}
        return {
            key: (
                self._identify(
                    registry_scan_job(
                        task,
                        self.engines.registry_engine,
                        key=key,
                        term=TERM_OF_SCANS,
                        checkpoint_folder=self.checkpoint_folder,
                        attempt=self.attempts.get(key, 0),
                    )
                ),
            )
            for key, task in tasks.items()
        }
