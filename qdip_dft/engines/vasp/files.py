"""The files of VASP: tags of the INCAR, order of the atoms, and what a vasprun.xml says."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qdip_dft.engines.code_run import Vacuum
from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.errors import EngineError
from qdip_dft.model.structure import Arrangement
from qdip_dft.units import KILOBAR_IN_EV_PER_ANG3

if TYPE_CHECKING:
    from pymatgen.io.vasp.outputs import Vasprun

PHYSICS: dict[str, Any] = {
    "PREC": "Accurate",
    "LREAL": False,
    "LASPH": True,
    "ADDGRID": False,
    "ISPIN": 1,
    "ISMEAR": 0,
    "LMAXMIX": 4,
}
"""Tags that change an energy and are the same in every calculation: no magnetism, Gaussian occupation, projectors in
reciprocal space, aspherical terms inside the spheres."""

FUNCTIONAL_TAGS: dict[str, dict[str, Any]] = {
    "PBE": {"GGA": "PE"},
    "PBEsol": {"GGA": "PS"},
    "r2SCAN": {"METAGGA": "R2SCAN"},
}
"""How a functional is asked for; r2SCAN (Furness et al., J. Phys. Chem. Lett. 2020, 11, 8208) uses PBE potentials."""

SPIN_ORBIT_TAGS: dict[str, Any] = {"LSORBIT": True, "SAXIS": [0, 0, 1], "GGA_COMPAT": False, "ISYM": -1}
"""Self-consistent spin-orbit coupling (Steiner et al., Phys. Rev. B 2016, 93, 224425) of spinors without magnetisation.

VASP looks for symmetry in atoms and starting moments, and averages the density with what it finds: without any
(``ISYM = -1``) the energy belongs to the Hamiltonian alone, and the mesh of k-points is the whole one.  With
``GGA_COMPAT`` VASP's gradient corrections break the symmetry of the lattice, which noncollinear runs should not have.
"""

DEFAULT_EDIFF_EV = 1e-4

PRINTED_EV = 2e-8
"""Two energies and EDIFF, each rounded to 1e-8 eV, may exceed each other by this."""

PARALLEL_TAGS = frozenset({"KPAR", "LPLANE", "LSCALAPACK", "NCORE", "NPAR", "NSIM"})
"""What a machine may set on its own: the same energy, sooner."""


def file_order(species: Sequence[str]) -> list[int]:
    """Return the sites in the order of the POSCAR: grouped by element, the caller's order within an element."""
    return sorted(range(len(species)), key=lambda site: species[site])


def spinor_tags(n_atoms: int) -> dict[str, Any]:
    """Return the tags of a calculation with spin-orbit coupling, whose start has no moment in any direction.

    Without ``MAGMOM`` VASP would give every atom one of a Bohr magneton along each axis.
    """
    return {**SPIN_ORBIT_TAGS, "MAGMOM": [[0, 0, 0]] * n_atoms}


def dipole_correction(vacuum: Vacuum) -> dict[str, Any]:
    """Return the tags of a dipole layer in the middle of the vacuum.

    ``DIPOL`` is the centre of the slab; the potential falls back half a cell away from it.
    Neugebauer and Scheffler, Phys. Rev. B 1992, 46, 16067.
    """
    return {"IDIPOL": 3, "LDIPOL": True, "DIPOL": [0.5, 0.5, round((vacuum.centre + 0.5) % 1.0, 6)]}


def parallel_tags(updates: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tags that a machine adds to every INCAR.

    Raises
    ------
    EngineError
        If one of them would change what is calculated.
    """
    for tag in updates:
        if tag not in PARALLEL_TAGS:
            raise EngineError(
                f"ATOMATE2_VASP_INCAR_UPDATES sets {tag}",
                limit=f"a machine may set {', '.join(sorted(PARALLEL_TAGS))}",
                why="the same study would give another energy on another machine",
                remedy="take it out; what a study may set stands in docs/study-file.md",
            )
    return dict(updates)


def read_output(path: Path) -> Vasprun:
    """Return a vasprun.xml, converged or not, without densities of states and eigenvalues.

    Raises
    ------
    EngineError
        If there is none, or it is cut short.
    """
    from pymatgen.io.vasp.outputs import UnconvergedVASPWarning, Vasprun

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnconvergedVASPWarning)  # said by the record
        try:
            return Vasprun(path, parse_dos=False, parse_eigen=False, parse_potcar_file=False)
        except Exception as error:  # the readers of pymatgen and ASE raise of every kind on a damaged file
            raise _incomplete(path) from error


def _incomplete(path: Path) -> EngineError:
    output = path.with_name("vasp.out")
    said = output.read_text(encoding="utf-8", errors="replace").split()[-40:] if output.exists() else []
    return EngineError(
        f"VASP left no complete {path.name}: {' '.join(said)[-300:]}",
        limit="a run must end with a complete vasprun.xml",
        why="a run that was cut short has no energy",
        remedy=f"read {output} and {path.with_name('OUTCAR')}, and run again",
    )


def read_evaluation(output: Vasprun, arrangement: Arrangement, *, is_slab: bool) -> Evaluation:
    """Return the last energy, forces and stress of an output, in the caller's order.

    Parameters
    ----------
    output
        What VASP wrote.
    arrangement
        What was asked.
    is_slab
        Whether a dipole layer lies in the cell, for which VASP's stress is not complete.

    Raises
    ------
    EngineError
        If the output belongs to other atoms.
    """
    order = file_order(arrangement.species)
    _require_same_atoms(output, arrangement, order)
    in_files = evaluation_of_step(output.ionic_steps[-1], is_slab=is_slab)
    forces = np.empty((arrangement.n_atoms, 3))
    forces[order] = in_files.forces_ev_per_ang
    return replace(in_files, forces_ev_per_ang=forces)


def evaluation_of_step(step: Mapping[str, Any], *, is_slab: bool) -> Evaluation:
    """Return energy, forces and stress of one step, in the order of the files.

    Parameters
    ----------
    step
        An ionic step as pymatgen reads it.
    is_slab
        As in `read_evaluation`.
    """
    # VASP counts pressure on the cell as positive.
    has_stress = not is_slab and step.get("stress") is not None
    return Evaluation(
        energy_ev=float(step["e_fr_energy"]),
        forces_ev_per_ang=np.array(step["forces"], dtype=np.float64),
        stress_ev_per_ang3=-np.array(step["stress"], dtype=np.float64) * KILOBAR_IN_EV_PER_ANG3 if has_stress else None,
    )


def last_change_ev(step: Mapping[str, Any]) -> float:
    """By how much the energy changed in the last electronic step, in eV.

    The last one is that whose energy is reported: linear response goes on with electronic steps of its own.  Where none
    has it, for pressure times volume and dispersion are added at the end, it is the last of all.  Infinite where there
    is one step only: nothing shows then that the energy does not change any more.

    Parameters
    ----------
    step
        An ionic step as pymatgen reads it.
    """
    energies_ev = np.array([each.get("e_fr_energy", np.nan) for each in step["electronic_steps"]], dtype=np.float64)
    reported = np.flatnonzero(np.abs(energies_ev - float(step["e_fr_energy"])) <= PRINTED_EV)
    last = int(reported[-1]) if len(reported) else len(energies_ev) - 1
    if last < 1:
        return float("inf")
    change_ev = abs(float(energies_ev[last] - energies_ev[last - 1]))
    return change_ev if np.isfinite(change_ev) else float("inf")


def criterion_of(output: Vasprun) -> float:
    """EDIFF in eV as VASP printed it, with eight digits: a stricter one reads as zero."""
    value = output.parameters.get("EDIFF", output.incar.get("EDIFF"))
    return DEFAULT_EDIFF_EV if value is None else float(value)


def is_self_consistent(output: Vasprun) -> bool:
    """Whether the energy of the last ionic step had stopped changing, whatever ended the run."""
    return last_change_ev(output.ionic_steps[-1]) <= criterion_of(output) + PRINTED_EV


def _require_same_atoms(output: Vasprun, arrangement: Arrangement, order: list[int]) -> None:
    found = output.ionic_steps[-1]["structure"]
    asked = arrangement.positions_ang[order] @ np.linalg.inv(arrangement.lattice_ang)
    is_same = (
        [site.specie.symbol for site in found] == [arrangement.species[i] for i in order]
        and np.allclose(found.lattice.matrix, arrangement.lattice_ang, atol=1e-5)
        and np.abs((found.frac_coords - asked + 0.5) % 1.0 - 0.5).max() < 1e-5
    )
    if not is_same:
        raise EngineError(
            f"{output.filename} holds other atoms than were asked for",
            limit="the sites must keep their order and their places",
            why="forces would belong to other atoms",
            remedy="delete the folder and run again",
        )
