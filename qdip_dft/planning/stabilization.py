"""The flow of a study for a manager of jobflow's own: `StabilizationMaker.from_study("pbs-fapbi3").make()`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from uuid import uuid4

from jobflow import Job, OutputReference

from qdip_dft.flows.stabilization import StageMaker
from qdip_dft.jobs.advance import continue_study, pack_records
from qdip_dft.model.stored import StoredRecord
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study, use_engine


@dataclass
class StabilizationMaker(StageMaker):
    """Maker of the stabilization of a study; whatever carries flows of jobflow carries its flow, alone or as a part.

    Every job has an id of its own, so a flow may be submitted twice, and is calculated twice; later stages get the
    records of earlier ones as data, so no store has to be shared.  The output is a `StudyOutput`:
    ``flow.output.stabilization.total_ev_per_fu``.  The parameters are those of `StageMaker`.
    """

    @classmethod
    def from_study(cls, name_or_path: str, *, engine: str | None = None, preset: str | None = None) -> Self:
        """Return the maker of a study.

        Parameters
        ----------
        name_or_path
            A ready-made study or a study file.
        engine, preset
            As for `use_engine`: others than those of the study.

        Raises
        ------
        QdipError
            If the study cannot be read, planned or built.
        """
        study = read_study(name_or_path)
        plan = plan_study(use_engine(study, engine=engine, preset=preset) if engine or preset else study)
        plan.require_buildable()
        return cls(
            study=plan.study,
            crystals=plan.crystals,
            candidates=plan.steps.candidates,
            engines=plan.engines,
            dropped=plan.steps.dropped,
        )

    def _follow(self, made: Mapping[str, OutputReference], known: Mapping[str, StoredRecord]) -> Job:
        earlier = {key: record.model_dump(mode="json") for key, record in known.items()}
        return continue_study(self, dict(made), pack_records(earlier))

    def _identify(self, job: Job) -> Job:
        job.set_uuid(str(uuid4()))
        return job
