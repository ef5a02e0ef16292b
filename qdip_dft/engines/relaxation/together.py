"""Relaxations that do not depend on each other, a step of all of them in one evaluation.

A small structure leaves a graphics processor idle most of the time; fifty of them fill it.  Each relaxation is the one
that it would be alone (`qdip_dft.engines.relaxation.descent.relaxation_steps`): it only waits for the others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from qdip_dft.engines.evaluation import Evaluation, Potential, evaluate_many_apart
from qdip_dft.engines.relaxation.descent import Steps
from qdip_dft.engines.relaxation.recorded import RecordedPotential
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import EngineResult
from qdip_dft.model.structure import Arrangement


@dataclass(slots=True)
class Relaxation:
    """One of several relaxations.

    Parameters
    ----------
    steps
        Yields what it wants evaluated.
    recorded
        Where its evaluations are kept.
    asked
        What it waits for; None once it has ended.
    outcome
        What it ended with.
    """

    steps: Steps
    recorded: RecordedPotential
    asked: Arrangement | None = None
    outcome: EngineResult | EngineError | None = None

    def start(self) -> None:
        """Go to the first evaluation."""
        try:
            self.asked = next(self.steps)
        except EngineError as error:
            self.outcome = error

    def go_on(self, evaluation: Evaluation) -> None:
        """Take an evaluation and go to the next, or end."""
        try:
            self.asked = self.steps.send(evaluation)
        except StopIteration as end:
            self.asked, self.outcome = None, end.value
        except EngineError as error:
            self.asked, self.outcome = None, error


def relax_together(relaxations: Sequence[Relaxation], potential: Potential) -> list[EngineResult | EngineError]:
    """Return the result of each relaxation, or why it has none; one that fails does not stop the others."""
    for relaxation in relaxations:
        relaxation.start()
    while waiting := [relaxation for relaxation in relaxations if relaxation.asked is not None]:
        for relaxation, evaluation in zip(waiting, _evaluate_round(waiting, potential), strict=True):
            relaxation.go_on(evaluation)
    return [relaxation.outcome for relaxation in relaxations if relaxation.outcome is not None]


def _evaluate_round(waiting: Sequence[Relaxation], potential: Potential) -> list[Evaluation]:
    """Evaluate what each waits for, except what is recorded."""
    asked = [(relaxation.recorded, relaxation.asked) for relaxation in waiting if relaxation.asked is not None]
    answers = [recorded.recall(arrangement) for recorded, arrangement in asked]
    new = [index for index, answer in enumerate(answers) if answer is None]
    start_s = time.perf_counter()
    found = evaluate_many_apart(potential, [asked[index][1] for index in new])
    share_s = (time.perf_counter() - start_s) / max(1, len(new))
    for index, evaluation in zip(new, found, strict=True):
        recorded, arrangement = asked[index]
        if evaluation.is_finite:
            recorded.keep(arrangement, evaluation, share_s)
        answers[index] = evaluation
    return [answer for answer in answers if answer is not None]
