r"""The D3 dispersion corrections, from the authors' reference library (simple-dftd3).

With Becke-Johnson damping

.. math:: E = -\sum_{A<B} \left[ s_6 \frac{C_6}{r^6 + f^6} + s_8 \frac{C_8}{r^8 + f^8} \right],
          \quad f = a_1 \sqrt{C_8/C_6} + a_2

Two-body terms only, as VASP (``IVDW = 12``), CP2K and Quantum ESPRESSO use it by default; ``d3bj-atm`` adds the
three-body term of Axilrod, Teller and Muto.  Grimme, Ehrlich, Goerigk, J. Comput. Chem. 2011, 32, 1456; zero damping:
Grimme, Antony, Ehrlich, Krieg, J. Chem. Phys. 2010, 132, 154104.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import JsonValue

from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.errors import EngineError
from qdip_dft.model.engine import Dispersion
from qdip_dft.model.structure import Arrangement
from qdip_dft.units import BOHR_IN_ANG, HARTREE_IN_EV


@dataclass(frozen=True, slots=True)
class D3Parameters:
    """Damping parameters of a functional and the real-space cutoffs of the lattice sums, in bohr.

    Zero damping has the one parameter ``rs6`` instead of a1 and a2; s9 = 1 adds the three-body term.
    """

    s6: float
    s8: float
    a1: float = 0.0
    a2_bohr: float = 0.0
    rs6: float | None = None
    s9: float = 0.0
    pair_cutoff_bohr: float = 60.0
    coordination_cutoff_bohr: float = 40.0

    def as_settings(self) -> dict[str, JsonValue]:
        """Return what enters the level of theory."""
        own = {"d3_a1": self.a1, "d3_a2_bohr": self.a2_bohr} if self.rs6 is None else {"d3_rs6": self.rs6}
        return {
            "d3_s6": self.s6,
            "d3_s8": self.s8,
            "d3_s9": self.s9,
            **own,
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

D3ZERO_OF_FUNCTIONAL = {"PBE": D3Parameters(s6=1.0, s8=0.722, rs6=1.217)}
"""The same for zero damping: table 2 of J. Chem. Phys. 2010, 132, 154104."""


def find_d3(dispersion: str, functional: str) -> D3Parameters | None:
    """Return the parameters of a correction for a functional; None for no correction.

    Raises
    ------
    EngineError
        If none are known.
    """
    if dispersion == Dispersion.NONE:
        return None
    known = D3ZERO_OF_FUNCTIONAL if dispersion == Dispersion.D3ZERO else D3BJ_OF_FUNCTIONAL
    if functional not in known:
        raise EngineError(
            f"there are no parameters of {dispersion} for {functional!r}",
            limit=f"they are known for {', '.join(known)}",
            why="a correction for another functional would count the attraction twice, or half",
            remedy="set `dispersion: none`, or a functional of these",
        )
    return replace(known[functional], s9=1.0) if dispersion == Dispersion.D3BJ_ATM else known[functional]


def list_other_flavours(dispersion: str, functional: str) -> tuple[D3Parameters, ...]:
    """Return the parameters of the other corrections of a functional; none for a correction that is not of these."""
    flavours = [flavour.value for flavour in Dispersion if flavour is not Dispersion.NONE]
    if dispersion not in flavours or functional not in D3BJ_OF_FUNCTIONAL:
        return ()
    others = [flavour for flavour in flavours if flavour != dispersion]
    if functional not in D3ZERO_OF_FUNCTIONAL:
        others.remove(Dispersion.D3ZERO.value)
    found = (find_d3(flavour, functional) for flavour in others)
    return tuple(parameters for parameters in found if parameters is not None)


def evaluate_d3(arrangement: Arrangement, parameters: D3Parameters) -> Evaluation:
    """Return the dispersion energy of a periodic structure with its forces, none without an atom, and stress."""
    answer = _ask_library(arrangement.only_atoms(), parameters, has_forces=True)
    forces_ev_per_ang = np.zeros((arrangement.n_atoms, 3))
    forces_ev_per_ang[arrangement.is_atom] = -answer["gradient"] * (HARTREE_IN_EV / BOHR_IN_ANG)
    return Evaluation(
        energy_ev=float(answer["energy"]) * HARTREE_IN_EV,
        forces_ev_per_ang=forces_ev_per_ang,
        stress_ev_per_ang3=answer["virial"] * (HARTREE_IN_EV / arrangement.volume_ang3),
    )


def find_d3_energy_ev(arrangement: Arrangement, parameters: D3Parameters) -> float:
    """Return the dispersion energy alone, which takes a fraction of the time."""
    return float(_ask_library(arrangement, parameters, has_forces=False)["energy"]) * HARTREE_IN_EV


def _ask_library(arrangement: Arrangement, parameters: D3Parameters, *, has_forces: bool) -> Any:
    from dftd3.interface import DispersionModel, RationalDampingParam, ZeroDampingParam

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
    s6, s8, s9 = parameters.s6, parameters.s8, parameters.s9
    damping = (
        RationalDampingParam(s6=s6, s8=s8, s9=s9, a1=parameters.a1, a2=parameters.a2_bohr)
        if parameters.rs6 is None
        else ZeroDampingParam(s6=s6, s8=s8, s9=s9, rs6=parameters.rs6)
    )
    return model.get_dispersion(damping, grad=has_forces)
