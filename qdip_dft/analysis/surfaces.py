"""Surface energies of films that are not stoichiometric: chemical potentials and their bounds.

A film holds N formula units of the host and Δn_i formula units of the compounds AX and BX2 that the host falls apart
into (host = a AX + b BX2).  Matter for the excess comes from reservoirs with the chemical potentials μ_i, in
equilibrium with the host:  a μ_AX + b μ_BX2 = e_bulk(host).  Neither compound may precipitate:  μ_AX ≤ e(AX) and
μ_BX2 ≤ e(BX2).  The two bounds are *AX-rich*, μ_AX = e(AX), and *BX2-rich*, μ_BX2 = e(BX2).  Between them lies the
window of width −ΔH = a e(AX) + b e(BX2) − e_bulk(host), which is empty for a host that is unstable against AX + BX2.
Reuter and Scheffler, Phys. Rev. B 65, 035406 (2001).
"""

from __future__ import annotations

from collections.abc import Mapping

from qdip_dft.analysis.checks import advise
from qdip_dft.model.stabilization import Check, ChemicalPotentials
from qdip_dft.units import MEV_PER_EV


def bound_potentials(
    *, host_ev_per_fu: float, amounts: Mapping[str, float], bulk_ev_per_fu: Mapping[str, float], ax: str, bx2: str
) -> ChemicalPotentials:
    """Return the chemical potentials of AX and BX2 at both ends of the host's stability.

    Parameters
    ----------
    host_ev_per_fu
        Bulk energy of the most stable polymorph of the host.
    amounts
        Formula units a and b of AX and BX2 per formula unit of the host.
    bulk_ev_per_fu
        Bulk energies of AX and BX2.
    ax, bx2
        Their names.
    """
    e_ax, e_bx2 = bulk_ev_per_fu[ax], bulk_ev_per_fu[bx2]
    a, b = amounts[ax], amounts[bx2]
    return ChemicalPotentials(
        ax=ax,
        bx2=bx2,
        host_ev_per_fu=host_ev_per_fu,
        window_ev=a * e_ax + b * e_bx2 - host_ev_per_fu,
        ax_rich_ev={ax: e_ax, bx2: (host_ev_per_fu - a * e_ax) / b},
        bx2_rich_ev={ax: (host_ev_per_fu - b * e_bx2) / a, bx2: e_bx2},
    )


def check_window(potentials: ChemicalPotentials) -> Check:
    """Return whether the host is stable against AX + BX2, so that the chemical potentials have a range at all."""
    is_open = potentials.window_ev >= 0
    distance = f"{abs(MEV_PER_EV * potentials.window_ev):.0f} meV per formula unit {'below' if is_open else 'above'}"
    finding = f"the host lies {distance} {potentials.ax} + {potentials.bx2}"
    advice = "no chemical potentials keep it stable, the bounds enclose where it falls apart"
    return advise("chemical potentials", finding, is_passed=is_open, advice=advice)
