"""The one unit table: inside the package energies are in eV, lengths in Å, charges in e.

Values are CODATA 2018 as compiled in ASE's unit module.
"""

from __future__ import annotations

EV_PER_ANG2_IN_J_PER_M2 = 16.02176634
"""1 eV/Å² in J/m² (exact: e is a defined constant)."""

EV_PER_ANG3_IN_GPA = 160.2176634
"""1 eV/Å³ in GPa (exact)."""

HARTREE_IN_EV = 27.211386245988
"""1 Hartree in eV (CODATA 2018)."""

RYDBERG_IN_EV = HARTREE_IN_EV / 2.0
"""1 Rydberg in eV."""

BOHR_IN_ANG = 0.529177210903
"""1 Bohr in Å (CODATA 2018)."""

BOLTZMANN_EV_PER_K = 8.617333262e-5
"""Boltzmann's constant in eV/K (exact: k and e are defined constants)."""

THZ_IN_EV = 4.135667696e-3
"""Energy hν of 1 THz in eV (exact likewise)."""

KILOBAR_IN_EV_PER_ANG3 = 0.1 / EV_PER_ANG3_IN_GPA
"""1 kbar in eV/Å³."""

ANG_PER_NM = 10.0

SECONDS_PER_HOUR = 3600

BYTES_PER_GIB = 1024**3

MEV_PER_EV = 1000.0
"""1 eV in meV."""


def ev_per_ang2_to_j_per_m2(energy_ev_per_ang2: float) -> float:
    """Convert an energy per area from eV/Å² to J/m²."""
    return energy_ev_per_ang2 * EV_PER_ANG2_IN_J_PER_M2


def ev_per_ang2_to_mev_per_ang2(energy_ev_per_ang2: float) -> float:
    """Convert an energy per area from eV/Å² to meV/Å²."""
    return energy_ev_per_ang2 * MEV_PER_EV
