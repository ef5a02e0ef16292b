r"""Phonons by finite displacements (phonopy) and the harmonic free energy that follows from them.

.. math:: F(T) = E + \frac{1}{N_q} \sum_{q\nu} \left[ \tfrac12 \hbar\omega + k T \ln(1 - e^{-\hbar\omega / k T}) \right]

A mode with an imaginary frequency has no harmonic free energy.  Such modes are counted and described, and the free
energy is then missing; phonopy's own sum would leave them out in silence.

A. Togo, J. Phys. Soc. Jpn. 2023, 92, 012001.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdip_dft.errors import EngineError
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.temperature import HarmonicFreeEnergy, ImaginaryModes
from qdip_dft.runtime.installation import install_hint
from qdip_dft.units import BOLTZMANN_EV_PER_K, MEV_PER_EV, THZ_IN_EV

Phonopy = Any
"""Phonopy's object; the package is optional."""

FloatArray = NDArray[np.float64]

DISPLACEMENT_ANG = 0.02
"""Small against the amplitudes of the modes, large against the rounding of single-precision forces."""

SYMMETRY_TOLERANCE_ANG = 0.01
"""Relaxed atoms this near to a symmetric place are symmetric."""

FIRST_MESH_ANG, FINEST_MESH_ANG = 40.0, 160.0
"""The q-points are spaced by 2π over this length."""

MESH_TOLERANCE_EV_PER_FU = 1e-4
"""The mesh is fine enough when doubling it changes the free energy at 300 K by less."""


@dataclass(frozen=True)
class DisplacedCrystal:
    """A relaxed crystal, its supercell and the displacements that its symmetry asks for.

    Parameters
    ----------
    structure
        Relaxed cell.
    formula_units
        Formula units in it.
    min_length_ang
        Least distance of a displaced atom from its images: the supercell is this thick in every direction.
    """

    structure: StructureRecord
    formula_units: int
    min_length_ang: float

    @property
    def supercell_size(self) -> tuple[int, int, int]:
        """Return how often each lattice vector is repeated."""
        inverse = np.linalg.inv(np.array(self.structure.lattice_ang))
        thickness_ang = 1 / np.linalg.norm(inverse, axis=0)
        x, y, z = np.maximum(1, np.ceil(self.min_length_ang / thickness_ang - 1e-6)).astype(int).tolist()
        return x, y, z

    @cached_property
    def _phonopy(self) -> Phonopy:
        return self._displace()

    def _displace(self) -> Phonopy:
        phonopy, atoms_class = _import_phonopy()
        atoms = atoms_class(
            symbols=list(self.structure.species),
            cell=self.structure.lattice_ang,
            scaled_positions=self.structure.frac_coords,
        )
        with warnings.catch_warnings():
            # Its length decides how often a vector is repeated: a supercell may have fewer symmetries than its crystal.
            warnings.filterwarnings("ignore", message=".*Point group symmetries", category=UserWarning)
            made = phonopy(
                atoms,
                supercell_matrix=np.diag(self.supercell_size),
                primitive_matrix="P",
                symprec=SYMMETRY_TOLERANCE_ANG,
            )
        made.generate_displacements(distance=DISPLACEMENT_ANG)
        return made

    @property
    def space_group(self) -> str:
        """Return the space group of the relaxed cell."""
        return str(self._phonopy.symmetry.dataset.international)

    @cached_property
    def supercells(self) -> tuple[StructureRecord, ...]:
        """Return the supercell at rest, then the displaced ones."""
        displaced = self._phonopy.supercells_with_displacements or []
        return tuple(_record(atoms) for atoms in (self._phonopy.supercell, *displaced))

    def harmonic(self, forces_ev_per_ang: Sequence[Sequence[Sequence[float]]]) -> HarmonicCrystal:
        """Return the crystal's modes, given the forces in every supercell, at rest first.

        The forces that the relaxation left are taken off; the force constants obey the acoustic sum rule.
        """
        made = self._with_forces(forces_ev_per_ang)
        return HarmonicCrystal(made, atoms_per_fu=self.structure.n_atoms / self.formula_units)

    def _with_forces(self, forces_ev_per_ang: Sequence[Sequence[Sequence[float]]]) -> Phonopy:
        forces = np.array(forces_ev_per_ang)
        made = self._displace()
        made.forces = forces[1:] - forces[0]
        made.produce_force_constants()
        made.symmetrize_force_constants()
        return made


@dataclass(frozen=True)
class HarmonicCrystal:
    """A crystal with force constants.

    Parameters
    ----------
    phonons
        Phonopy's object.
    atoms_per_fu
        Atoms in a formula unit.
    """

    phonons: Phonopy
    atoms_per_fu: float

    @cached_property
    def modes(self) -> Modes:
        """Return the modes on a mesh of q-points that is fine enough."""
        length_ang, coarse = FIRST_MESH_ANG, self._modes_on(FIRST_MESH_ANG)
        while coarse.is_stable and length_ang < FINEST_MESH_ANG:
            length_ang *= 2
            fine = self._modes_on(length_ang)
            change = abs(fine.free_energy_ev(300.0) - coarse.free_energy_ev(300.0)) * self.atoms_per_fu
            coarse = fine
            if fine.is_stable and change < MESH_TOLERANCE_EV_PER_FU:
                break
        return coarse

    def _modes_on(self, length_ang: float) -> Modes:
        reciprocal = np.linalg.norm(np.linalg.inv(self.phonons.primitive.cell), axis=0)
        # Even numbers of points, shifted by half a step, leave out the centre of the zone with its three zeros.
        numbers = 2 * np.maximum(1, np.round(length_ang * reciprocal / 2).astype(int))
        self.phonons.run_mesh(numbers.tolist(), is_gamma_center=False)
        mesh = self.phonons.mesh
        return Modes(
            np.array(mesh.frequencies), np.array(mesh.weights), np.array(mesh.qpoints), tuple(numbers.tolist())
        )

    @cached_property
    def commensurate_modes(self) -> Modes:
        """Return the modes at the q-points that fit into the supercell: there the forces are not interpolated."""
        from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

        points = get_commensurate_points(np.diag(np.diag(self.phonons.supercell_matrix)))
        self.phonons.run_qpoints(points)
        frequencies = np.array(self.phonons.qpoints.frequencies)
        at_centre = int(np.argmin(np.abs(points).sum(axis=1)))
        lowest = np.argsort(np.abs(frequencies[at_centre]))[:3]
        frequencies[at_centre, lowest] = np.inf  # the three translations
        return Modes(frequencies, np.ones(len(points)), points, ())

    def find_imaginary(self) -> ImaginaryModes | None:
        """Return how many modes are imaginary, the largest of them and where it is; None if there is none."""
        exact, mesh = self.commensurate_modes, self.modes
        if exact.is_stable and mesh.is_stable:
            return None
        worst = min((exact, mesh), key=lambda modes: modes.frequencies_thz.min())
        point, _ = np.unravel_index(np.argmin(worst.frequencies_thz), worst.frequencies_thz.shape)
        x, y, z = worst.q_points[point].round(4).tolist()
        return ImaginaryModes(
            n_commensurate=int((exact.frequencies_thz < 0).sum()),
            n_commensurate_modes=exact.frequencies_thz.size - 3,
            fraction_of_mesh=mesh.imaginary_fraction,
            largest_thz=-float(worst.frequencies_thz.min()),
            q_point=(x, y, z),
            is_commensurate=worst is exact,
        )

    def describe(self, temperatures_k: Sequence[float]) -> HarmonicFreeEnergy:
        """Return the vibrational free energy per formula unit at some temperatures, or why there is none."""
        imaginary = self.find_imaginary()
        curve = [None if imaginary else self.atoms_per_fu * self.modes.free_energy_ev(t) for t in temperatures_k]
        return HarmonicFreeEnergy(
            mesh=self.modes.mesh,
            highest_thz=float(self.modes.frequencies_thz.max()),
            imaginary=imaginary,
            zero_point_ev_per_fu=None if imaginary else self.atoms_per_fu * self.modes.free_energy_ev(0.0),
            vibrational_ev_per_fu=tuple(curve),
            missing=None if imaginary is None else explain_imaginary(imaginary),
        )


@dataclass(frozen=True, slots=True)
class Modes:
    """Frequencies at q-points.

    Parameters
    ----------
    frequencies_thz
        Frequencies in THz, negative where imaginary, shape (q-points, branches).
    weights
        Weight of each q-point.
    q_points
        Their coordinates in reciprocal lattice vectors.
    mesh
        Points along each of these vectors.
    """

    frequencies_thz: FloatArray
    weights: NDArray[Any]
    q_points: FloatArray
    mesh: tuple[int, ...]

    @property
    def is_stable(self) -> bool:
        """Return whether no frequency is imaginary."""
        return bool((self.frequencies_thz > 0).all())

    @property
    def imaginary_fraction(self) -> float:
        """Return the share of imaginary modes."""
        return float(np.average((self.frequencies_thz <= 0).mean(axis=1), weights=self.weights))

    def free_energy_ev(self, temperature_k: float) -> float:
        """Return the quantum free energy per atom in eV; at 0 K the zero-point energy.  NaN with imaginary modes."""
        quanta = self.frequencies_thz * THZ_IN_EV
        energies = quanta / 2
        if temperature_k > 0:
            thermal = BOLTZMANN_EV_PER_K * temperature_k
            with np.errstate(invalid="ignore"):
                energies = energies + thermal * np.log(-np.expm1(-quanta / thermal))
        return self._per_atom(energies)

    def _per_atom(self, energies_ev: FloatArray) -> float:
        return 3 * float(np.average(energies_ev.mean(axis=1), weights=self.weights))


def explain_imaginary(imaginary: ImaginaryModes) -> str:
    """Return why a crystal has no harmonic free energy."""
    where = ", ".join(f"{x:g}" for x in imaginary.q_point)
    return (
        f"{imaginary.n_commensurate} of {imaginary.n_commensurate_modes} modes that fit the supercell and "
        f"{100 * imaginary.fraction_of_mesh:.1f} % of the mesh are imaginary, the largest with "
        f"{imaginary.largest_thz:.2f}i THz ({MEV_PER_EV * THZ_IN_EV * imaginary.largest_thz:.1f}i meV) at "
        f"q = ({where}): the structure is no minimum, and a harmonic free energy does not exist"
    )


def require_phonopy() -> None:
    """Refuse to begin without phonopy, before anything is calculated that only it can use.

    Raises
    ------
    EngineError
        If it is missing.
    """
    _import_phonopy()


def _import_phonopy() -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from phonopy import Phonopy
            from phonopy.structure.atoms import PhonopyAtoms
    except ImportError as error:
        raise EngineError(
            "phonons need the package 'phonopy'",
            limit="it is not installed",
            why="without it there are no vibrational free energies",
            remedy=f"install it with {install_hint('phonons')}",
        ) from error
    return Phonopy, PhonopyAtoms


def _record(atoms: Any) -> StructureRecord:
    return StructureRecord(
        lattice_ang=np.array(atoms.cell).tolist(),
        species=tuple(atoms.symbols),
        frac_coords=tuple(map(tuple, np.array(atoms.scaled_positions).tolist())),
    )
