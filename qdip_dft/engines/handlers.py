"""What is done when a code fails: numerics are changed and recorded, the physics never.

A handler knows a symptom in the code's words and the numerical settings that cure it, in the manner of custodian
(Ong et al., Comput. Mater. Sci. 2013, 68, 314).  Each is used once.  Mixing, diagonaliser, number of iterations and
restart files lead to the same ground state; smearing, k-points, cutoff, functional, charge and spin do not, and an
answer that is a difference of energies would silently mix them.  A handler that touches one of those is refused when
it is made.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isinf
from pathlib import Path
from typing import Any, ClassVar

from qdip_dft.engines.code_run import CodeRun, Setting
from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.errors import EngineError, OutOfTime
from qdip_dft.model.engine import Restart
from qdip_dft.model.structure import Arrangement
from qdip_dft.runtime.deadline import current_deadline

NUMERICS = frozenset(
    {
        "startingpot", "startingwfc", "mixing_beta", "mixing_mode", "mixing_ndim", "electron_maxstep",
        "diagonalization", "diago_david_ndim", "diago_thr_init",  # pw.x
        "mixer", "eigensolver", "maxiter",  # GPAW
        "alpha", "nbroyden", "method", "max_scf", "eps_default", "orbital_transformation",  # CP2K
        "ALGO", "AMIX", "BMIX", "NELM",  # VASP; custodian has a list of its own
        "restart",
    }
)  # fmt: skip
"""The settings that may change after a failure: they decide whether and how fast the ground state is found."""


@dataclass(frozen=True, slots=True)
class Handler:
    """A symptom and its numerical cure.

    Parameters
    ----------
    symptom
        Regular expression that is searched in what the code said.
    changes
        Numerical settings that replace those of the failed attempt.
    words
        The correction as it stands in the record.

    Raises
    ------
    EngineError
        If a setting is none of `NUMERICS`.
    """

    symptom: str
    changes: Mapping[str, Any]
    words: str

    def __post_init__(self) -> None:
        physics = sorted(self.changes.keys() - NUMERICS)
        if physics:
            raise EngineError(
                f"a handler would change {', '.join(physics)} after a failure",
                limit=f"only numerics may change: {', '.join(sorted(NUMERICS))}",
                why="the answer is a difference of energies, and both must have the same physics",
                remedy="change it in the study, for all calculations alike",
            )

    def fits(self, failure: Failure) -> bool:
        """Return whether the symptom is there."""
        return re.search(self.symptom, failure.said) is not None


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that gave no energy.

    Parameters
    ----------
    said
        What the code said.
    summary
        The part of it that a person should read.
    output
        The file to look at.
    """

    said: str
    summary: str
    output: Path


@dataclass
class HandledRun(CodeRun):
    """A code that is started again with other numerics while a handler knows its failure.

    Parameters
    ----------
    setting
        Where and how.
    corrections
        What was changed on the way, in words.
    """

    setting: Setting
    corrections: list[str] = field(default_factory=list, kw_only=True)

    code: ClassVar[str]
    handlers: ClassVar[Sequence[Handler]]

    @property
    def is_restarted(self) -> bool:
        """Return whether the next attempt may begin with what lies in the folder."""
        return self.has_restart and self.setting.restart is not Restart.NONE

    @property
    def usable_s(self) -> float | None:
        """Return for how long the code may run, in s; None if there is no hurry."""
        usable_s = current_deadline().usable_s
        return None if isinf(usable_s) else max(1.0, usable_s)

    def out_of_time(self) -> OutOfTime:
        """Return what is raised when the code has stopped itself; its restart files stay for the next run."""
        return OutOfTime(
            f"{self.code} stopped itself before its density was self-consistent",
            limit="the allocation ends",
            why="it would have been killed in the middle",
            remedy="run the same again with more time: it resumes where it stopped",
        )

    @abstractmethod
    def attempt(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> Evaluation | Failure:
        """Return what the code says, run once with some numerical settings.

        Raises
        ------
        OutOfTime
            If the code stopped itself because the allocation ends.
        """

    def evaluate(self, arrangement: Arrangement) -> Evaluation:
        """Return what the code says; the numerics that finally worked are recorded."""
        untried = list(self.handlers)
        numerics: dict[str, Any] = {}
        answer = self.attempt(arrangement, numerics)
        while isinstance(answer, Failure):
            handler = next((each for each in untried if each.fits(answer)), None)
            if handler is None:
                raise self._given_up(answer)
            untried.remove(handler)
            numerics |= handler.changes
            self.corrections.append(handler.words)
            answer = self.attempt(arrangement, numerics)
        return answer

    def _given_up(self, failure: Failure) -> EngineError:
        return EngineError(
            f"{self.code} failed: {failure.summary[:300]}",
            limit=f"after {', then '.join(self.corrections)}"
            if self.corrections
            else "no numerical setting cures this",
            why="the energy is not that of the ground state",
            remedy=f"read {failure.output}; a metal, overlapping atoms or an odd electron are the usual reasons",
        )
