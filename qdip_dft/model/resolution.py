"""When a difference between two phases is decided: one rule, a few numbers, without loading any record."""

from __future__ import annotations

from math import hypot
from typing import Final

COVERAGE_FACTOR: Final = 2.0
"""Expanded over standard uncertainty: about 95 % for a normal distribution."""

ROUNDING_EV_PER_FU: Final = 0.001
"""Last printed digit: what is smaller decides nothing, whatever its error."""

MODEL_ERROR_EV_PER_FU: Final = {"test": 0.0, "screening": 0.08, "dft//mlip": 0.03, "dft": 0.02}
"""Standard uncertainty of strain + surface + binding, black − competitor at n*, by `Level`, until it is measured.

Screening: for the two films of PbS(100)//CsPbI3 the default potential and CHGNet differ by 0.065 eV/f.u. in strain and
interfaces (docs/critical-sizes.md), and universal potentials soften surfaces and strains alike, which their spread does
not show (B. Deng et al., npj Comput. Mater. 2025, doi 10.1038/s41524-024-01500-6).  Measured so far once, by CP2K on
those two films: 0.15, of which 0.14 are 3.5 meV/Å² at the low n* of two layers (docs/validation.md).  DFT: energies
converged to 1 meV per atom leave 5 meV on each formula unit, and functionals differ by 13 meV in γ − δ of CsPbI3
(PBE-D3(BJ) 138, r2SCAN+rVV10 125).  DFT at geometries of a potential: 0.02 more, in quadrature, for the lattices and
atoms that it misplaces (films of CsPbI3: pressures of 0.5 GPa and forces of 0.4 eV/Å, each worth about 10 meV).  Test:
the numbers mean nothing.
"""

BULK_ERROR_EV_PER_FU: Final = {"test": 0.0, "screening": 0.06, "dft//mlip": 0.03, "dft": 0.02}
"""Standard uncertainty of the difference of two bulk energies from the engine, where no reference stands for it.

Screening: root mean square of six differences of polymorphs against DFT (docs/validation.md: γ, β, α − δ of CsPbI3 with
the default potential +19, +72, +111 meV/f.u., γ, α − δ with CHGNet −40, +48, tilted FAPbI3 − δ −15).  DFT: as above.
"""


def default_model_error_ev_per_fu(level: str) -> float:
    """Standard uncertainty that the model of a level leaves, where neither reference nor calibration says better."""
    return hypot(MODEL_ERROR_EV_PER_FU[level], BULK_ERROR_EV_PER_FU[level])


def find_limit_ev_per_fu(
    level: str, *, numerical_ev_per_fu: float | None = None, model_ev_per_fu: float | None = None
) -> float:
    """How large |black − competitor| must be to be decided: more than 2 √(u_numerical² + u_model²).

    Parameters
    ----------
    level
        A value of `Level`.
    numerical_ev_per_fu
        Standard uncertainty u_numerical; None: not known, and not counted.
    model_ev_per_fu
        Standard uncertainty u_model; None: the default of the level.
    """
    model = default_model_error_ev_per_fu(level) if model_ev_per_fu is None else model_ev_per_fu
    return max(ROUNDING_EV_PER_FU, COVERAGE_FACTOR * hypot(numerical_ev_per_fu or 0.0, model))
