r"""The D3(BJ) dispersion correction, from the authors' reference library (simple-dftd3).

.. math:: E = -\sum_{A<B} \left[ s_6 \frac{C_6}{r^6 + f^6} + s_8 \frac{C_8}{r^8 + f^8} \right],
          \quad f = a_1 \sqrt{C_8/C_6} + a_2

Two-body terms only, as VASP (``IVDW = 12``), CP2K and Quantum ESPRESSO use it by default; the three-body
Axilrod-Teller-Muto term is left out.  Grimme, Ehrlich, Goerigk, J. Comput. Chem. 2011, 32, 1456.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.model.structure import Arrangement
from qdip_dft.units import BOHR_IN_ANG, HARTREE_IN_EV


@dataclass(frozen=True, slots=True)
class D3Parameters:
    """Damping parameters of a functional and the real-space cutoffs of the lattice sums, in bohr."""

    s6: float
    s8: float
    a1: float
    a2_bohr: float
    pair_cutoff_bohr: float = 60.0
    coordination_cutoff_bohr: float = 40.0

    def as_settings(self) -> dict[str, JsonValue]:
        """Return what enters the level of theory."""
        return {
            "d3_s6": self.s6,
            "d3_s8": self.s8,
            "d3_s9": 0.0,
            "d3_a1": self.a1,
            "d3_a2_bohr": self.a2_bohr,
            "d3_pair_cutoff_bohr": self.pair_cutoff_bohr,
            "d3_coordination_cutoff_bohr": self.coordination_cutoff_bohr,
        }


PBE_D3BJ = D3Parameters(s6=1.0, s8=0.7875, a1=0.4289, a2_bohr=4.4407)
"""PBE: table 2 of J. Comput. Chem. 2011, 32, 1456."""

PBESOL_D3BJ = D3Parameters(s6=1.0, s8=2.9491, a1=0.4466, a2_bohr=6.1742)
"""PBEsol: Goerigk and Grimme, Phys. Chem. Chem. Phys. 2011, 13, 6670."""

R2SCAN_D3BJ = D3Parameters(s6=1.0, s8=0.78981345, a1=0.49484001, a2_bohr=5.73083694)
"""r2SCAN: Ehlert et al., J. Chem. Phys. 2021, 154, 061101."""

D3BJ_OF_FUNCTIONAL = {"PBE": PBE_D3BJ, "PBEsol": PBESOL_D3BJ, "r2SCAN": R2SCAN_D3BJ}
"""Damping parameters by functional."""


def evaluate_d3(arrangement: Arrangement, parameters: D3Parameters) -> Evaluation:
    """Return the dispersion energy of a periodic structure with its forces and stress."""
    from dftd3.interface import DispersionModel, RationalDampingParam

    model = DispersionModel(
        arrangement.numbers,
        arrangement.positions_ang / BOHR_IN_ANG,
        arrangement.lattice_ang / BOHR_IN_ANG,
        np.ones(3, dtype=bool),
    )
    model.set_realspace_cutoff(
        disp2=parameters.pair_cutoff_bohr,
        disp3=parameters.coordination_cutoff_bohr,
        cn=parameters.coordination_cutoff_bohr,
    )
    damping = RationalDampingParam(s6=parameters.s6, s8=parameters.s8, s9=0.0, a1=parameters.a1, a2=parameters.a2_bohr)
    answer = model.get_dispersion(damping, grad=True)
    return Evaluation(
        energy_ev=float(answer["energy"]) * HARTREE_IN_EV,
        forces_ev_per_ang=-answer["gradient"] * (HARTREE_IN_EV / BOHR_IN_ANG),
        stress_ev_per_ang3=answer["virial"] * (HARTREE_IN_EV / arrangement.volume_ang3),
    )
