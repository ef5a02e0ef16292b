"""What failed in a study, where it is, why, and what to try next."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from qdip_dft.flows.resolution import AnyStepId, Resolution
from qdip_dft.flows.steps import RegistryScanId, StepId
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.planning.plan import StudyPlan

_PATH = re.compile(r"(?<![\w/])/[\w.@+-]+(?:/[\w.@+-]+)+")
_KEY_DIGITS = 12

_ADVICE_BY_WORD = (
    (r"memory|oom", "take a machine with more memory, or a smaller cell (matching.max_area_ang2)"),
    (r"no module|modulenotfound|importerror|not installed|not found on path", "`qdip doctor` says what is missing"),
    (r"time ?limit|timeout|timed out|killed|sigterm|walltime", "allow it more time"),
    (r"\bnan\b|not finite|explo|too close", "look at its start (qdip show STUDY), try another plane or termination"),
    (r"no space|disk full|quota", "free some space"),
)
"""What to try first, by a word in the failure; then the calculation is tried again."""

_ADVICE_BY_CHECK = {
    "phase identity": "the film left its phase: try another plane or termination, a thicker film or less strain",
    "whole cations": "a molecule broke: try another termination, or a finer preset",
    "gap": "film and dot are not at rest: try a finer preset",
}
"""What to try where a decisive check failed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that keeps a study from its numbers.

    Parameters
    ----------
    name
        The calculation, or the film that is left out.
    kind
        ``failed``, ``unconverged``, ``defective``, ``blocked`` or ``left out``.
    reason
        Why.
    where
        Where the record is stored and, if the engine said so, where the code ran.
    remedy
        The next thing to try.
    holds_up
        Calculations that wait for it in vain.
    """

    name: str
    kind: str
    reason: str
    where: str
    remedy: str
    holds_up: tuple[str, ...] = ()


def list_failures(plan: StudyPlan, resolution: Resolution, *, where: str) -> tuple[Failure, ...]:
    """Return every calculation without a usable energy and every one that cannot be built, with those they hold up.

    Parameters
    ----------
    plan, resolution
        The study and what is stored of it.
    where
        The results folder as the user calls it.
    """
    failures: dict[AnyStepId, Failure] = {}
    cause_of: dict[AnyStepId, AnyStepId] = {}
    for step, parents in _list_parents(plan, resolution).items():
        record = None if isinstance(step, RegistryScanId) else resolution.records.get(step)
        if isinstance(step, StepId) and record is not None and resolution.usable(step) is None:
            failures[step] = _describe_record(plan, resolution, step, where=where)
        elif isinstance(step, RegistryScanId) and step in resolution.unusable_registry_scans:
            failures[step] = _describe_scan(plan, resolution, step, where=where)
        elif step in resolution.unbuildable:
            failures[step] = _describe_unbuildable(resolution, step, parents)
        elif step in resolution.blocked:
            parent = next(parent for parent in parents if parent in failures or parent in cause_of)
            cause = cause_of[step] = cause_of.get(parent, parent)
            held_up = (*failures[cause].holds_up, resolution.label(step))
            failures[cause] = replace(failures[cause], holds_up=held_up)
    return tuple(failures.values())


def _list_parents(plan: StudyPlan, resolution: Resolution) -> dict[AnyStepId, tuple[AnyStepId, ...]]:
    """Return what each calculation needs, parents before children; a registry scan stands before its interface."""
    parents: dict[AnyStepId, tuple[AnyStepId, ...]] = {}
    for step in plan.steps.steps:
        if step.scan is not None:
            parents.setdefault(step.scan, plan.steps.scans[step.scan].parents)
        parents[step.id] = step.parents if step.scan is None else (*step.parents, step.scan)
    for variation in resolution.variations:
        parents |= {step.id: step.parents for step in variation.steps.steps}
    return parents


def list_left_out(document: StabilizationDoc) -> tuple[Failure, ...]:
    """Return the films of a finished result that a decisive check keeps out of the comparison."""
    return tuple(
        Failure(
            name=result.candidate.label,
            kind="left out",
            reason=f"{check.name}: {check.finding}",
            where=f"result {document.id}",
            remedy=_ADVICE_BY_CHECK.get(check.name, "try another plane, termination or cell"),
        )
        for result in document.candidates
        for check in result.failed_checks
    )


def _describe_record(plan: StudyPlan, resolution: Resolution, step: StepId, *, where: str) -> Failure:
    record, name = resolution.records[step], resolution.label(step)
    reason = resolution.explain_failure(step).removeprefix(f"{name} ")
    if step in resolution.defects:
        return _describe_defect(plan, record, name, reason, where)
    is_unconverged = record.result is not None
    return Failure(
        name=name,
        kind="unconverged" if is_unconverged else "failed",
        reason=reason,
        where=_say_where(record, where),
        remedy=_advise_unconverged(plan, record) if is_unconverged else _advise_failed(plan, record.failure or ""),
    )


def _describe_scan(plan: StudyPlan, resolution: Resolution, step: RegistryScanId, *, where: str) -> Failure:
    scan = resolution.registry_scans[step]
    return Failure(
        name=resolution.label(step),
        kind="failed",
        reason=scan.failure or "",
        where=f"stored in {where} as calculation {scan.key[:_KEY_DIGITS]}, attempt {scan.attempt + 1}",
        remedy=f"qdip run {plan.study.name} repeats the registries that failed",
    )


def _describe_defect(plan: StudyPlan, record: CalculationRecord, name: str, reason: str, where: str) -> Failure:
    return Failure(
        name=name,
        kind="defective",
        reason=reason,
        where=_say_where(record, where),
        remedy=f"qdip run {plan.study.name} --retry makes it again; if it ends the same way, read what the code wrote",
    )


def _say_where(record: CalculationRecord, where: str) -> str:
    stored = f"stored in {where} as calculation {record.key[:_KEY_DIGITS]}, attempt {record.attempt + 1}"
    ran_in = _PATH.search(record.failure or "")
    return f"{stored}; ran in {ran_in.group()}" if ran_in else stored


def _advise_unconverged(plan: StudyPlan, record: CalculationRecord) -> str:
    """Say how to give a relaxation more steps: the same question again would end the same way."""
    n_steps = 0 if record.result is None else record.result.n_steps
    if n_steps == 0:
        return f"raise the engine's limit of electronic steps, then qdip run {plan.study.name} --retry"
    return (
        f"set engine.settings.max_steps above {n_steps} in the study (all its relaxations are then made anew), "
        "or try another plane or termination if the force no longer falls"
    )


def _advise_failed(plan: StudyPlan, failure: str) -> str:
    again = f"qdip run {plan.study.name} --retry"
    first = next((advice for words, advice in _ADVICE_BY_WORD if re.search(words, failure, re.IGNORECASE)), None)
    return f"{first}; then {again}" if first else f"{again} tries it again; if it fails the same way, read the reason"


def _describe_unbuildable(resolution: Resolution, step: AnyStepId, parents: tuple[AnyStepId, ...]) -> Failure:
    name, needed = resolution.label(step), ", ".join(map(resolution.label, parents))
    return Failure(
        name=name,
        kind="blocked",
        reason=resolution.blocked[step].removeprefix(f"{name} "),
        where="nothing was run",
        remedy=f"its relaxed parents do not fit ({needed}): try another plane or termination",
    )
