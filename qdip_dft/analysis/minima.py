"""Whether a phase is a minimum: what it gains where its octahedra may tilt.

A film relaxes in a cell that allows tilts, and so does its strained bulk.  If the phase is a saddle point, both leave
it, each for a valley of its own, and what is gained there is booked as strain, surface and binding.  The tilt gain

    g = E(bulk)/Z − E(bulk, relaxed from displaced atoms in a cell that allows tilts)/Z_tilting     (eV/f.u., ≥ 0)

is zero for a minimum; it is negative by what two relaxations to one threshold differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from qdip_dft.model.stabilization import CandidateResult, Check
from qdip_dft.units import MEV_PER_EV

MINIMUM_CHECK: Final = "minimum"
"""Name of the check."""

LARGEST_TILT_GAIN_EV_PER_FU: Final = 0.005
"""A phase that gains more is no minimum; relaxations to the loosest preset agree to 1 meV/f.u."""


def check_minimum(tilt_gain_ev_per_fu: float, *, crystal: str) -> Check:
    """Whether a bulk is a minimum.

    Parameters
    ----------
    tilt_gain_ev_per_fu
        What it gains where its octahedra may tilt, in eV per formula unit.
    crystal
        What people call it.
    """
    is_minimum = tilt_gain_ev_per_fu <= LARGEST_TILT_GAIN_EV_PER_FU
    gain = f"tilt gain {MEV_PER_EV * tilt_gain_ev_per_fu:+.1f} meV/f.u."
    return Check(
        name=MINIMUM_CHECK,
        is_passed=is_minimum,
        is_decisive=False,
        finding=f"{crystal}, {gain}" if is_minimum else f"{crystal}, a saddle point, {gain}",
    )


def skip_minimum_check(reason: str) -> Check:
    """That nobody looked whether the bulks are minima, and why."""
    return Check(name=MINIMUM_CHECK, is_passed=True, is_decisive=False, finding=f"not checked: {reason}")


def list_saddles(films: Iterable[CandidateResult]) -> tuple[str, ...]:
    """What the failed checks of films say, each once: the bulks that are no minima, with their tilt gain."""
    checks = (check for film in films for check in film.checks if check.name == MINIMUM_CHECK)
    failed = (check.finding for check in checks if not check.is_passed)
    return tuple(dict.fromkeys(failed))
