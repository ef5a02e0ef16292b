"""How large a difference between two phases must be to count: a few numbers, without loading any record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

COVERAGE_FACTOR: Final = 2.0
"""Expanded over standard uncertainty: about 95 % for a normal distribution."""

RESOLUTION_EV_PER_FU: Final = {"test": 0.001, "screening": 0.03, "dft//mlip": 0.03, "dft": 0.01}
"""Smallest difference between two phases that a `Level` can tell from zero, in eV per formula unit.

Screening: the default potential with D3(BJ) puts γ-CsPbI3 0.157 eV/f.u. above δ, PBE-D3(BJ) 0.123 to 0.130: it misses
the same difference by about 0.03.  DFT: energies converged to 1 meV per atom leave 5 meV on each of two formula units
of five atoms.  DFT energies at the geometries of a potential: 0.02 more, for the lattices and atoms that it misplaces
(thin films of CsPbI3: pressures of 0.5 GPa and forces of 0.4 eV/Å, each worth about 10 meV).  Test: above rounding; the
numbers mean nothing.
"""


def find_limit_ev_per_fu(level: str, uncertainty_ev_per_fu: float | None = None) -> float:
    """Return how large a difference must be to be decided: above the level's resolution and twice the uncertainty."""
    return max(RESOLUTION_EV_PER_FU[level], COVERAGE_FACTOR * (uncertainty_ev_per_fu or 0.0))


def do_models_disagree(total_ev_per_fu: float, models_ev_per_fu: Sequence[float]) -> bool:
    """Return whether another model favours the other phase."""
    return any(other * total_ev_per_fu < 0 for other in models_ev_per_fu)
