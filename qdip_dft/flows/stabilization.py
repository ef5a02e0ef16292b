"""The flow of a study: everything that can be calculated now, then a job that looks what has become possible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jobflow import Flow, Job, Maker, OutputReference

from qdip_dft.flows.engines import StudyEngines
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import StudySteps
from qdip_dft.flows.study_results import assemble_study, resolve_study
from qdip_dft.jobs.advance import advance_study
from qdip_dft.jobs.calculate import calculation_job
from qdip_dft.jobs.screen import registry_scan_job
from qdip_dft.model.crystal import CrystalRecord
from qdip_dft.model.interface import Candidate, DroppedCandidate
from qdip_dft.model.keys import job_id
from qdip_dft.model.stored import StoredRecord
from qdip_dft.model.study import StudySpec
from qdip_dft.results.migrations import read_record


@dataclass
class StabilizationMaker(Maker):
    """Maker of the flow that answers a study.

    Each stage holds the calculations whose structures are known; the last job of a stage builds the next one from
    their results: bulks → strained bulks, dot slabs and registry registry_scans → film slabs → interfaces, static
    calculations in between; then the samples around the two films that are compared.
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
        Where registry_scans keep their energies while they run, seen from the folder that a job runs in.
    attempts
        Number of the next attempt, by calculation key, of calculations that failed before; all others make their first.
    """

    study: StudySpec
    crystals: dict[str, CrystalRecord]
    candidates: tuple[Candidate, ...]
    engines: StudyEngines
    dropped: tuple[DroppedCandidate, ...] = ()
    name: str = "stabilization"
    attempts: dict[str, int] = field(default_factory=dict)
    checkpoint_folder: str = "."

    def make(self, records: Iterable[StoredRecord] = ()) -> Flow:
        """Return the flow of what is still to be calculated.

        Parameters
        ----------
        records
            Stored calculations and registry_scans; their jobs are referenced, not repeated.
        """
        known = {record.key: record for record in records}
        resolution = self._resolve(known)
        return self._stage(resolution, known)

    def make_next(self, records: Mapping[str, dict[str, Any] | None]) -> Flow | dict[str, Any]:
        """Return the next stage, or the finished documents as plain data."""
        known = {key: read_record(data) for key, data in records.items() if data is not None}
        resolution = self._resolve(known)
        is_lost = any(resolution.keys[name] in records for name in resolution.unfinished)
        if resolution.unfinished and not is_lost:
            return self._stage(resolution, known)
        documents = assemble_study(self.steps, resolution, level=self.engines.level)
        settings = {"relaxation_settings": self.engines.relaxing.relaxation_settings()}
        return {"documents": [d.model_copy(update=settings).model_dump(mode="json") for d in documents]}

    @property
    def steps(self) -> StudySteps:
        """Return the steps of the study."""
        return StudySteps(self.study, self.crystals, tuple(self.candidates), tuple(self.dropped))

    def _resolve(self, known: Mapping[str, StoredRecord]) -> Resolution:
        return resolve_study(self.steps, self.engines, known.get)

    def _stage(self, resolution: Resolution, known: Mapping[str, StoredRecord]) -> Flow:
        jobs = self._calculation_jobs(resolution) | self._registry_scan_jobs(resolution)
        references = {key: OutputReference(job_id(key, attempt=record.attempt)) for key, record in known.items()}
        references |= {key: made.output for key, made in jobs.items()}
        following = advance_study(self, references)
        following.name = f"advance {self.study.name}"
        return Flow([*jobs.values(), following], output=following.output, name=self.study.name)

    def _calculation_jobs(self, resolution: Resolution) -> dict[str, Job]:
        """Return one job per key: two steps that ask the same question share it."""
        engine_of = {name: self.engines.of(step) for name, step in resolution.steps.items()}
        ready = {resolution.keys[name]: (task, engine_of[name]) for name, task in resolution.ready.items()}
        return {
            key: calculation_job(task, engine, key=key, attempt=self.attempts.get(key, 0))
            for key, (task, engine) in ready.items()
        }

    def _registry_scan_jobs(self, resolution: Resolution) -> dict[str, Job]:
        """Return one job per registry screening that can be made."""
        tasks = {resolution.keys[name]: task for name, task in resolution.ready_registry_scans.items()}
        return {
            key: registry_scan_job(
                task,
                self.engines.registry_engine,
                key=key,
                checkpoint_folder=self.checkpoint_folder,
                attempt=self.attempts.get(key, 0),
            )
            for key, task in tasks.items()
        }
