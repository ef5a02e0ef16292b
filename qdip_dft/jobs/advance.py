"""The job that continues a study once the calculations it waits for are there."""

from __future__ import annotations

from typing import Any, Protocol

from jobflow import Flow, JobConfig, OnMissing, Response, job


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
