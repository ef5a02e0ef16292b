"""The surface energy of a slab in contact with reservoirs, for the rows of validation that are no study."""

from __future__ import annotations

from collections.abc import Mapping

from qdip_dft.units import MEV_PER_EV


def grand_potential_mev_per_ang2(
    energy_ev: float,
    *,
    excess: Mapping[str, float],
    potentials_ev: Mapping[str, float],
    area_ang2: float,
    n_faces: int = 2,
) -> float:
    """Return the surface energy γ = (E − Σ Δn_i μ_i) / (n A) of a slab in meV/Å².

    Parameters
    ----------
    energy_ev
        Energy of the slab in eV, counted from its whole formula units of the bulk (or from the same references as the
        potentials, when the excess counts all particles).
    excess
        Particles Δn_i beyond the bulk, by name.
    potentials_ev
        Chemical potentials μ_i in eV per particle, with the same zero as the energy.
    area_ang2
        Area of one face in Å².
    n_faces
        Faces that share the energy.
    """
    reservoirs_ev = sum(count * potentials_ev[name] for name, count in excess.items())
    return MEV_PER_EV * (energy_ev - reservoirs_ev) / (n_faces * area_ang2)
