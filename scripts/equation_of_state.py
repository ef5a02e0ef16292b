r"""Energy against volume: the third-order Birch-Murnaghan equation of state.

.. math:: E(V) = E_0 + \frac{9 V_0 B_0}{16} \left\{ (x - 1)^3 B_0' + (x - 1)^2 (6 - 4 x) \right\},
          \quad x = (V_0 / V)^{2/3}

F. Birch, Phys. Rev. 1947, 71, 809.  The fit is pymatgen's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qdip_dft.errors import EngineError
from qdip_dft.units import EV_PER_ANG3_IN_GPA

FEWEST_POINTS = 5
"""Four parameters and one point that can contradict them."""


@dataclass(frozen=True, slots=True)
class EquationOfState:
    """The four parameters of the fit; energy and volume are those of the cell, or per formula unit, as given.

    Parameters
    ----------
    energy_ev
        Energy E₀ at the minimum in eV.
    volume_ang3
        Volume V₀ there in Å³.
    bulk_modulus_gpa
        Bulk modulus B₀ at zero pressure in GPa.
    bulk_modulus_derivative
        Its derivative B₀′ by the pressure.
    """

    energy_ev: float
    volume_ang3: float
    bulk_modulus_gpa: float
    bulk_modulus_derivative: float


def fit_birch_murnaghan(volumes_ang3: Sequence[float], energies_ev: Sequence[float]) -> EquationOfState:
    """Return the equation of state through some points.

    Parameters
    ----------
    volumes_ang3, energies_ev
        The points, at least five, on both sides of the minimum.

    Raises
    ------
    EngineError
        If there are too few points, or all of them lie on one side of the minimum.
    """
    from pymatgen.analysis.eos import EOS, EOSError

    if len(volumes_ang3) < FEWEST_POINTS:
        raise _unfit(f"{len(volumes_ang3)} volumes were given", f"at least {FEWEST_POINTS} are needed")
    try:
        fit = EOS("birch_murnaghan").fit(list(volumes_ang3), list(energies_ev))
    except EOSError as failure:
        raise _unfit(f"the fit failed ({failure})", "the minimum must lie between the volumes") from failure
    if not min(volumes_ang3) < fit.v0 < max(volumes_ang3):
        raise _unfit(f"the fitted minimum is at {fit.v0:.1f} Å³", "it must lie between the volumes")
    return EquationOfState(
        energy_ev=float(fit.e0),
        volume_ang3=float(fit.v0),
        bulk_modulus_gpa=float(fit.b0) * EV_PER_ANG3_IN_GPA,
        bulk_modulus_derivative=float(fit.b1),
    )


def _unfit(what: str, limit: str) -> EngineError:
    return EngineError(
        f"no equation of state: {what}",
        limit=limit,
        why="volume and bulk modulus would be extrapolated",
        remedy="calculate more volumes, on both sides of the minimum",
    )
