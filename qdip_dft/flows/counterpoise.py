r"""Counterpoise: how much of binding is basis functions that dot and film borrow from each other.

Where basis functions sit on atoms and are finite in number, each part of an interface describes its electrons with
those of the other as well; apart it cannot.  Binding is too strong by the basis-set superposition error.  With each
part P as it lies in the relaxed interface, in the cell, k-points and electrostatics of the interface,

.. math:: \delta_P = E_P(\text{own functions}) - E_P(\text{own and those of the other part}) \ge 0,

variational, hence of one sign; :math:`\delta_\text{dot} + \delta_\text{film}` is added to the energy of binding.
Boys and Bernardi, Mol. Phys. 1970, 19, 553.

For σ = surface + binding that is too much: the energy of the film slab cancels in the sum, and the functions that the
film borrows from the dot replace those that its atoms have around them in the bulk.
"""

from __future__ import annotations

from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import FRAGMENTS, Part, StudySteps
from qdip_dft.model.stabilization import CandidateResult
from qdip_dft.model.term_names import TOTAL_FIELD

GHOSTED = {Part.DOT_ALONE: Part.DOT_WITH_GHOSTS, Part.FILM_ALONE: Part.FILM_WITH_GHOSTS}
"""Each part of an interface with its own functions, and the same with those of the other as well."""

ROUNDING_EV = 1e-3
"""So far may a part lie higher with more functions: what self-consistency leaves of cells of a hundred atoms."""


def correct_binding(result: CandidateResult, steps: StudySteps, resolution: Resolution) -> CandidateResult:
    """Return a film with its binding weakened by what the two parts borrow, or the reason why that is not known.

    Parameters
    ----------
    result
        The film with the energies of the study.
    steps, resolution
        The steps of its counterpoise, and what was calculated.
    """
    ids = {part: steps.static_of(part, result.candidate.id) for part in sorted(FRAGMENTS)}
    energies_ev = {part: resolution.energy_ev(step) for part, step in ids.items()}
    known_ev = {part: energy_ev for part, energy_ev in energies_ev.items() if energy_ev is not None}
    failed = next((step for part, step in ids.items() if part not in known_ev), None)
    if failed is not None:
        return _leave_out(result, f"no counterpoise because {resolution.explain_failure(failed)}")
    borrowed_ev = {alone: known_ev[alone] - known_ev[ghosted] for alone, ghosted in GHOSTED.items()}
    for part, gain_ev in borrowed_ev.items():
        if gain_ev < -ROUNDING_EV:
            return _leave_out(
                result,
                f"no counterpoise: {part} lies {-gain_ev:.3f} eV below itself with more functions, so that one of the"
                " two densities is not the ground state",
            )
    weakened = sum(borrowed_ev.values()) / result.n_formula_units
    terms = {name: getattr(result, name) for name in ("binding_ev_per_fu", TOTAL_FIELD)}
    moved = {name: value + weakened for name, value in terms.items() if value is not None}
    return result.model_copy(update=moved)


def _leave_out(result: CandidateResult, why: str) -> CandidateResult:
    return result.model_copy(update={"missing": (*result.missing, why)})
