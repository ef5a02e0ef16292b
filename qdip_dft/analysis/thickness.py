"""How the preference changes with the thickness of the film.

A film of n formula units per area of interface costs e_strained + σ/n per formula unit: the bulk of the strained film
plus what its faces cost per area, σ = N (surface + binding) / A, shared among its formula units.  For two phases

    ΔE(n) = Δe_strained + Δσ / n,   n* = −Δσ / Δe_strained

is a straight line in 1/n, whose zero is the critical thickness: on one side the interfaces decide, on the other the
bulk.  One thickness per phase gives the line, but neither its error nor a proof that σ no longer depends on n.
"""

from __future__ import annotations

from dataclasses import dataclass

from qdip_dft.model.stabilization import CandidateResult, DecompositionResult


@dataclass(frozen=True, slots=True)
class ThicknessLine:
    """Black − competitor against the thickness, from one thickness of each.

    Parameters
    ----------
    strained_ev_per_fu
        Δe_strained: bulk and strain term, black − competitor, in eV per formula unit; the limit of a thick film.
    interface_ev_per_ang2
        Δσ, black − competitor, in eV/Å².
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


def find_thickness_line(
    black: CandidateResult, competitor: CandidateResult | DecompositionResult
) -> ThicknessLine | None:
    """Return the line through two results; None where a term is missing.

    Decomposition products are bulk: their Δσ is zero at any thickness.
    """
    strained = [_strained_ev_per_fu(side) for side in (black, competitor)]
    interface = [_interface_ev_per_ang2(side) for side in (black, competitor)]
    computed = [_density_per_ang2(side) for side in (black, competitor) if isinstance(side, CandidateResult)]
    if None in strained or None in interface or None in computed:
        return None
    return ThicknessLine(
        strained_ev_per_fu=_subtract(strained),
        interface_ev_per_ang2=_subtract(interface),
        computed_per_ang2=tuple(n for n in computed if n is not None),
    )


def _subtract(pair: list[float | None]) -> float:
    black, competitor = (value for value in pair if value is not None)
    return black - competitor


def _strained_ev_per_fu(side: CandidateResult | DecompositionResult) -> float | None:
    if side.bulk_ev_per_fu is None or side.strain_ev_per_fu is None:
        return None
    return side.bulk_ev_per_fu + side.strain_ev_per_fu


def _interface_ev_per_ang2(side: CandidateResult | DecompositionResult) -> float | None:
    if isinstance(side, DecompositionResult):
        return 0.0
    density = _density_per_ang2(side)
    if density is None or side.surface_ev_per_fu is None or side.binding_ev_per_fu is None:
        return None
    return density * (side.surface_ev_per_fu + side.binding_ev_per_fu)


def _density_per_ang2(side: CandidateResult) -> float | None:
    return None if side.area_ang2 is None else side.n_formula_units / side.area_ang2
