"""How the preference changes with the thickness of the film.

A film of n formula units per area of interface costs e_strained + σ/n per formula unit: the bulk of the strained film
plus what its faces cost per area, σ = N (surface + binding) / A, shared among its formula units.  For two phases

    ΔE(n) = Δe_strained + Δσ / n,   zero at n = −Δσ / Δe_strained

is a straight line in 1/n, whose zero is the critical thickness: on one side the interfaces decide, on the other the
bulk.  One thickness per phase gives the line, but neither its error nor a proof that σ no longer depends on n.
"""

from __future__ import annotations

from dataclasses import dataclass

from qdip_dft.analysis.coverage import Side, find_own_coverage, split_line
from qdip_dft.model.stabilization import CandidateResult


@dataclass(frozen=True, slots=True)
class ThicknessLine:
    """Black − competitor against the thickness, from one thickness of each.

    Parameters
    ----------
    strained_ev_per_fu
        Δe_strained: bulk and strain of the film, black − competitor, in eV per formula unit; the limit of a thick film.
    interface_ev_per_ang2
        Δσ, black − competitor, in eV/Å², with what the strain of the dot costs per area.
    computed_per_ang2
        Formula units per Å² of interface in each film that was computed, the black one first.
    """

    strained_ev_per_fu: float
    interface_ev_per_ang2: float
    computed_per_ang2: tuple[float, ...]

    def difference_ev_per_fu(self, n_per_ang2: float) -> float:
        """Return ΔE for two films of n formula units per Å² of interface; negative: the black phase is favoured."""
        return self.strained_ev_per_fu + self.interface_ev_per_ang2 / n_per_ang2

    @property
    def critical_per_ang2(self) -> float | None:
        """Return the formula units per Å² at which the preference changes; None if one phase wins at any thickness."""
        if self.strained_ev_per_fu * self.interface_ev_per_ang2 >= 0:
            return None
        return -self.interface_ev_per_ang2 / self.strained_ev_per_fu

    @property
    def is_black_when_thin(self) -> bool:
        """Return whether the interfaces favour the black phase."""
        return self.interface_ev_per_ang2 < 0


def find_thickness_line(black: CandidateResult, competitor: Side) -> ThicknessLine | None:
    """Return the line through two results; None where a term is missing.

    Decomposition products are bulk: their Δσ is zero at any thickness.
    """
    first, second = split_line(black), split_line(competitor)
    if first is None or second is None:
        return None
    own = (find_own_coverage(side) for side in (black, competitor))
    return ThicknessLine(
        strained_ev_per_fu=first[0] - second[0],
        interface_ev_per_ang2=first[1] - second[1],
        computed_per_ang2=tuple(n for n in own if n is not None),
    )
