"""What a running calculation says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ProgressKind(StrEnum):
    """At which point of its life a calculation is."""

    STARTED = "started"
    STEP = "step"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """One message of a calculation; jobs log it, and whoever shows it fills in the place in the plan.

    A job writes ``logging.getLogger("qdip_dft.progress").info("…", extra={"progress": event})``.

    Parameters
    ----------
    kind
        Started, one more step, finished or failed.
    label
        Which part of the study, such as ``interface PbS(111)//FAPbI3-delta(001)``.
    n_atoms
        Number of atoms.
    step
        Ionic steps made so far; 0 before the first one and for static calculations.
    max_steps
        Largest allowed number of steps; 0 for static calculations.
    max_force_ev_per_ang
        Largest force on a free atom in eV/Å; None before it is known.
    force_threshold_ev_per_ang
        The force below which the relaxation ends, in eV/Å; None for static calculations.
    energy_ev
        Energy of the cell in eV; None before it is known.
    elapsed_s
        Time since the calculation started, in s.
    step_word
        What is counted as a step: ``step``, or ``position`` in a registry scan.
    index, total
        Which calculation of how many, counted from 1; None: the listener counts.
    """

    kind: ProgressKind
    label: str
    n_atoms: int
    step: int = 0
    max_steps: int = 0
    max_force_ev_per_ang: float | None = None
    force_threshold_ev_per_ang: float | None = None
    energy_ev: float | None = None
    elapsed_s: float = 0.0
    step_word: str = "step"
    index: int | None = None
    total: int | None = None
