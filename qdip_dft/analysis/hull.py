"""How far the strained host lies above the most stable way to be the same matter.

Every phase of the host and every set of compounds that makes it up has an energy per formula unit of the host; the
lowest of them is the hull at the host's composition.  (With compounds that make up the host in one way only, the convex
hull is this minimum.)  A film's bulk, strained onto the dot, lies above it by

    e_bulk + e_strain − e_hull,

which is what it would gain by relaxing into that state.  Only what the study computes can be on its hull.
"""

from __future__ import annotations

from collections.abc import Mapping

from qdip_dft.analysis.coverage import find_bulk
from qdip_dft.model.stabilization import CandidateResult, Hull
from qdip_dft.units import MEV_PER_EV


def find_hull(bulks_ev_per_fu: Mapping[str, float | None], *, n_atoms_per_fu: float) -> Hull | None:
    """Return the hull at the composition of the host; None where no energy is known.

    Parameters
    ----------
    bulks_ev_per_fu
        Energy of every phase and of every set of compounds, in eV per formula unit of the host; None: missing.
    n_atoms_per_fu
        Atoms in a formula unit of the host.
    """
    known = {name: energy for name, energy in bulks_ev_per_fu.items() if energy is not None}
    if not known:
        return None
    lowest = min(known, key=lambda name: known[name])
    return Hull(
        lowest=lowest,
        energy_ev_per_fu=known[lowest],
        n_atoms_per_fu=n_atoms_per_fu,
        above_ev_per_fu={name: energy - known[lowest] for name, energy in known.items()},
    )


def place_above_hull(result: CandidateResult, hull: Hull | None) -> CandidateResult:
    """Return a result with its strained bulk above the hull; unchanged where either is missing."""
    bulk_ev_per_fu = find_bulk(result)
    if hull is None or bulk_ev_per_fu is None or result.strain_ev_per_fu is None:
        return result
    above_ev_per_fu = bulk_ev_per_fu + result.strain_ev_per_fu - hull.energy_ev_per_fu
    return result.model_copy(
        update={
            "strained_above_hull_ev_per_fu": above_ev_per_fu,
            "strained_above_hull_mev_per_atom": MEV_PER_EV * above_ev_per_fu / hull.n_atoms_per_fu,
        }
    )
