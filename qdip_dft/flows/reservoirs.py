"""The reservoirs of a study: what the excess of a non-stoichiometric film is worth at both ends of its window."""

from __future__ import annotations

from dataclasses import dataclass

from qdip_dft.analysis.stability import balance_decomposition
from qdip_dft.analysis.surfaces import bound_potentials
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import Part, StudySteps
from qdip_dft.model.interface import Candidate
from qdip_dft.model.stabilization import ChemicalPotentials


@dataclass(frozen=True, slots=True)
class Reservoirs:
    """Where a study's films take their excess from.

    Parameters
    ----------
    potentials
        Chemical potentials at both bounds; None if no film has an excess or a bulk is missing.
    missing
        Why they are missing.
    """

    potentials: ChemicalPotentials | None = None
    missing: tuple[str, ...] = ()

    def excess_ev(self, candidate: Candidate) -> tuple[float | None, float | None]:
        """Return Σ Δn μ of a film at the AX-rich and at the BX2-rich bound, in eV; zero without an excess."""
        if not candidate.excess:
            return 0.0, 0.0
        if self.potentials is None:
            return None, None
        ax_rich, bx2_rich = (
            sum(count * bound[name] for name, count in candidate.excess.items())
            for bound in (self.potentials.ax_rich_ev, self.potentials.bx2_rich_ev)
        )
        return ax_rich, bx2_rich


def survey_reservoirs(steps: StudySteps, resolution: Resolution) -> Reservoirs:
    """Return the chemical potentials of a study from its bulks: AX, BX2 and the most stable phase of the host."""
    if not steps.reservoirs:
        return Reservoirs()
    ax, bx2 = steps.reservoirs
    phases = tuple(dict.fromkeys(candidate.phase for candidate in steps.candidates if not candidate.apart))
    energies = {name: _bulk_ev_per_fu(steps, resolution, name) for name in (ax, bx2, *phases)}
    lacking = [steps.static_of(Part.BULK, name) for name, energy in energies.items() if energy is None]
    if lacking:
        reasons = map(resolution.explain_failure, lacking)
        return Reservoirs(missing=tuple(f"chemical potentials missing because {reason}" for reason in reasons))
    known = {name: energy for name, energy in energies.items() if energy is not None}
    host = steps.crystals[phases[0]].composition_per_fu
    amounts = balance_decomposition(host, {name: steps.crystals[name].composition_per_fu for name in (ax, bx2)})
    lowest = min(known[phase] for phase in phases)
    potentials = bound_potentials(host_ev_per_fu=lowest, amounts=amounts, bulk_ev_per_fu=known, ax=ax, bx2=bx2)
    return Reservoirs(potentials=potentials)


def _bulk_ev_per_fu(steps: StudySteps, resolution: Resolution, name: str) -> float | None:
    energy_ev = resolution.energy_ev(steps.static_of(Part.BULK, name))
    return None if energy_ev is None else energy_ev / steps.crystals[name].formula_units
