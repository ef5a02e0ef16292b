"""The flow of a study: everything that can be calculated now, then a job that looks what has become possible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from jobflow import Flow, Job, Maker, OutputReference

from qdip_dft.flows.engines import StudyEngines
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import StudySteps
from qdip_dft.flows.study_results import assemble_study, resolve_study
from qdip_dft.jobs.advance import advance_study, continue_study, pack_records
from qdip_dft.jobs.calculate import calculation_job
from qdip_dft.jobs.scan_registry import registry_scan_job
from qdip_dft.model.crystal import CrystalRecord
from qdip_dft.model.interface import Candidate, DroppedCandidate
from qdip_dft.model.keys import job_id
from qdip_dft.model.stored import StoredRecord
from qdip_dft.model.study import StudySpec
from qdip_dft.model.term_names import TERM_OF_PART, TERM_OF_SCANS
from qdip_dft.results.migrations import read_record


@dataclass
class StabilizationMaker(Maker):
    """Maker of the flow that answers a study.

    Each stage holds the calculations whose structures are known; the last job of a stage builds the next one from
    their results: bulks → strained bulks, dot slabs and registry scans → film slabs → interfaces, static
    calculations in between; then the variations around the two films that are compared.
    The flow carries everything it needs, so it runs on any machine.

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
    is_self_contained
        Whether the flow runs under any manager of jobflow: its jobs have ids of their own, so that it can be submitted
        twice, and later stages get the records of earlier ones as data.  Otherwise the ids follow from the
        calculations, and later stages look earlier ones up in a store which all share.
    """

    study: StudySpec
    crystals: dict[str, CrystalRecord]
    candidates: tuple[Candidate, ...]
    engines: StudyEngines
    dropped: tuple[DroppedCandidate, ...] = ()
    name: str = "stabilization"
    attempts: dict[str, int] = field(default_factory=dict)
    checkpoint_folder: str = "."
    is_self_contained: bool = False

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
        jobs = self._calculation_jobs(resolution) | self._registry_scan_jobs(resolution)
        made = {key: job.output for key, job in jobs.items()}
        if self.is_self_contained:
            earlier = {key: record.model_dump(mode="json") for key, record in known.items()}
            following = continue_study(self, made, pack_records(earlier))
        else:
            stored = {key: OutputReference(job_id(key, attempt=record.attempt)) for key, record in known.items()}
            following = advance_study(self, stored | made)
        following.name = f"advance {self.study.name}"
        return Flow([*jobs.values(), following], output=following.output, name=self.study.name)

    def _calculation_jobs(self, resolution: Resolution) -> dict[str, Job]:
        """Return one job per key: two steps that ask the same question share it."""
        jobs = {}
        for id_, task in resolution.ready.items():
            key, engine, attempt = resolution.keys[id_], self.engines.of(resolution.steps[id_]), self.attempts
            term = TERM_OF_PART[id_.part]
            jobs[key] = self._name(calculation_job(task, engine, key=key, term=term, attempt=attempt.get(key, 0)))
        return jobs

    def _registry_scan_jobs(self, resolution: Resolution) -> dict[str, Job]:
        """Return one job per registry scan that can be made."""
        tasks = {resolution.keys[scan]: task for scan, task in resolution.ready_registry_scans.items()}
        return {
            key: self._name(
                registry_scan_job(
                    task,
                    self.engines.registry_engine,
                    key=key,
                    term=TERM_OF_SCANS,
                    checkpoint_folder=self.checkpoint_folder,
                    attempt=self.attempts.get(key, 0),
                )
            )
            for key, task in tasks.items()
        }

    def _name(self, job: Job) -> Job:
        """The job with an id of its own, if the flow is to have such ids."""
        if self.is_self_contained:
            job.set_uuid(str(uuid4()))
        return job
