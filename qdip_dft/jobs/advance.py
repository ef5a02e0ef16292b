"""The jobs that continue a study once the calculations they wait for are there."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any, Protocol

from jobflow import CURRENT_JOB, Flow, Job, JobConfig, OnMissing, Response, job

from qdip_dft.model.stabilization import StudyOutput


class StudyMaker(Protocol):
    """Whatever turns the calculations at hand into the next flow of a study, or into its result."""

    def make_next(self, records: dict[str, dict[str, Any] | None]) -> Flow | dict[str, Any]:
        """Return the flow of what is still to be calculated, or the finished result as plain data."""


@job(config=JobConfig(on_missing_references=OnMissing.NONE))
def advance_study(maker: StudyMaker, records: dict[str, dict[str, Any] | None]) -> Response[Any]:
    """Continue a study with the calculations that became possible, or finish it.

    Parameters
    ----------
    maker
        Knows the study.
    records
        Calculation records as plain data by key; None where a job was lost.
    """
    following = maker.make_next(records)
    if isinstance(following, Flow):
        return Response(replace=following)
    return Response(output=following)


@job(config=JobConfig(on_missing_references=OnMissing.NONE), output_schema=StudyOutput)
def continue_study(maker: StudyMaker, records: dict[str, dict[str, Any] | None], earlier: str) -> Response[Any]:
    """The same in a flow that any manager carries: earlier stages come as data, for no reference leads back to them.

    Parameters
    ----------
    maker
        Knows the study.
    records
        Calculation records of the last stage as plain data by key; None where a job was lost.
    earlier
        Those of the stages before, packed by `pack_records`.
    """
    following = maker.make_next({**unpack_records(earlier), **records})
    if isinstance(following, Flow):
        return Response(replace=_continue_under_the_same_id(following))
    documents = following["documents"]
    return Response(output=StudyOutput(stabilization=documents[0]["stabilization"], documents=documents))


def _continue_under_the_same_id(flow: Flow) -> Flow:
    """The next stage, whose last job is this one once more, as jobflow replaces a job by a job.

    Jobflow's way for flows, a job that copies the output, cannot have an output schema.
    """
    this, last = CURRENT_JOB.job, flow.jobs[-1]
    if this is not None and isinstance(last, Job):
        flow.output = None
        last.set_uuid(this.uuid)
        last.index = this.index + 1
        last.metadata = this.metadata | last.metadata
    return flow


def pack_records(records: dict[str, dict[str, Any]]) -> str:
    """Records as one short text: a hundred of them would otherwise be megabytes in every job of a queue."""
    return base64.b85encode(gzip.compress(json.dumps(records, sort_keys=True).encode(), mtime=0)).decode("ascii")


def unpack_records(packed: str) -> dict[str, dict[str, Any]]:
    """What `pack_records` was given."""
    records: dict[str, dict[str, Any]] = json.loads(gzip.decompress(base64.b85decode(packed)))
    return records
