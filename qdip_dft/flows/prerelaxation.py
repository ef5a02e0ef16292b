"""Whether a pre-relaxed structure is taken as the start of the relaxation proper.

A pre-relaxation must not decide the answer.  It is taken only if it is converged and left what the study asks about:
the molecules, the linkage of the octahedra, and ions that do not overlap.  Otherwise the relaxation starts from the
structure as built, and the result says why.
"""

from __future__ import annotations

from qdip_dft.analysis.checks import check_cations, check_distances, check_phase
from qdip_dft.analysis.phases import measure_connectivity
from qdip_dft.flows.steps import Part, Step, StudySteps
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.structure import StructureRecord


def find_objection(steps: StudySteps, step: Step, record: CalculationRecord, *, n_dot_atoms: int) -> str | None:
    """Return why a pre-relaxed structure is not taken, or None if it is.

    Parameters
    ----------
    steps
        The study.
    step
        The pre-relaxation.
    record
        Its calculation.
    n_dot_atoms
        Atoms of the dot, which come first in an interface; zero elsewhere.
    """
    if record.result is None:
        return f"it failed: {record.failure}"
    if not record.is_usable:
        return f"it did not converge in {record.result.n_steps} steps"
    after = record.result.structure
    checks = [check_cations(record.task.structure, after, part=step.part), check_distances(after, part=step.part)]
    phase = _find_phase(steps, step)
    if phase is not None:
        sites = frozenset(range(n_dot_atoms, after.n_atoms))
        checks.append(check_phase(after, expected=measure_connectivity(phase), sites=sites, part=step.part))
    return next((f"{check.name}: {check.finding}" for check in checks if not check.is_passed), None)


def _find_phase(steps: StudySteps, step: Step) -> StructureRecord | None:
    """Return the crystal as filed whose octahedra a step must keep; None for the dot, which has none."""
    if step.part in (Part.DOT_BULK, Part.DOT_SLAB):
        return None
    if step.part is Part.BULK:
        return steps.crystals[step.id.owner].structure
    return steps.crystals[steps.find_candidate(step.id.owner).phase].structure
