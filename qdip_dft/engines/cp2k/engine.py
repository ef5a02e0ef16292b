r"""CP2K: Gaussian basis sets, pseudopotentials and a plane-wave grid for the density, run as ``cp2k``.

Kühne et al., J. Chem. Phys. 2020, 152, 194103.

The command comes from ``ATOMATE2_CP2K_CMD`` (atomate2's setting), else ``cp2k`` on PATH; pseudopotentials and basis
sets from ``CP2K_DATA_DIR``, else the folder that CP2K was built with.  Inputs and outputs are those classes of
pymatgen on which atomate2's makers rest.

At Γ alone the density is found by orbital transformation (VandeVondele and Hutter, J. Chem. Phys. 2003, 118, 4365),
which minimises the energy directly and scales better than diagonalisation.  It knows full bands only.  The gap is
therefore read afterwards: where it is much wider than the smearing (`LEAST_GAP`) no electron is excited and both ways
lead to the same energy; else the calculation is repeated by diagonalisation, which also serves meshes of k-points.
Inputs for a person to run are diagonalised, because nobody would look at the gap and repeat them.

Three things differ from the plane-wave codes, and all stand in the level of theory.

* CP2K occupies bands by Fermi and Dirac only.  Its temperature is chosen so that the occupation falls off over the
  same energy as the Gaussian one of width σ of the other codes, :math:`\pi k T / \sqrt 3 = \sigma / \sqrt 2`.  Both
  give the same energy as long as the gap is wider than the smearing.
* The basis set is finite and moves with the atoms.  Two slabs that touch borrow each other's functions: binding is too
  strong by the basis-set superposition error, which shrinks from ``fast`` (DZVP, short range) to ``balanced`` (TZV2P).
  Sites without an atom show how strong: ``GHOST`` kinds with the functions of the atom, or with none.
* ``cutoff_ev`` is that of the grid for the density, not of the orbitals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, pi, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import JsonValue

from qdip_dft.engines.base import Feature
from qdip_dft.engines.code_run import CodeRun, Setting, Vacuum
from qdip_dft.engines.cp2k.data import (
    BASIS_FILES,
    INSTALL_LINE,
    POTENTIAL_FILE,
    PROGRAM_NAMES,
    Kind,
    data_folder,
    describe_kinds,
    find_kind,
    hash_of_family,
    version_of,
)
from qdip_dft.engines.cp2k.input import Content, assemble_input, k_points, subsystem
from qdip_dft.engines.cp2k.output import read_evaluation
from qdip_dft.engines.dft import DftEngine
from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.engines.handlers import Failure, HandledRun, Handler
from qdip_dft.engines.programs import find_command, find_program, run_command
from qdip_dft.model.calculation import PseudopotentialSet
from qdip_dft.model.structure import Arrangement
from qdip_dft.units import BOLTZMANN_EV_PER_K, RYDBERG_IN_EV

if TYPE_CHECKING:
    from pymatgen.io.cp2k.inputs import Cp2kInput

DENSITY_THRESHOLD = 1e-7
"""A density is self-consistent when no element of its matrix changes by more."""

LEAST_GAP = 12.0
"""Narrowest gap, in widths of the smearing, for which bands may be taken as full.

Half of it is 15 kT of the electronic temperature: 2e-7 of the electrons at the edges are excited, worth less than
1e-6 eV.
"""

GRADIENT_THRESHOLD = 3e-7
"""An orbital transformation has converged when no element of the gradient is larger."""

NO_FULL_BANDS = "orbital transformation found no minimum, or a gap too narrow for full bands"
"""What is said of an orbital transformation that does not count."""

SPARE_BANDS = 0.2
"""Empty bands for the smearing, in parts of the occupied ones."""

PROJECT = "qdip"

BETA = {False: 0.5, True: 0.01}
"""Kerker's damping in 1/bohr, without a vacuum (CP2K's default) and with one.

Kerker (Phys. Rev. B 1981, 23, 3082) holds long waves of the change of the density back.  In space, it adds a tail that
falls off as exp(−βr), 1 Å at 0.5 bohr⁻¹: a density in the middle of a vacuum where none can be, larger than the 1e-5
electrons per bohr³ above which CP2K's dipole correction aborts.  A slab of 88 atoms of PbS with 15 Å of vacuum did so
in the sixth step; with 0.01 it converges in 18.
"""

NUMERICS: dict[str, Any] = {
    "method": "BROYDEN_MIXING",
    "alpha": 0.3,
    "nbroyden": 8,
    "max_scf": 60,
    "eps_default": 1e-10,
}
"""What a handler may change; the ground state does not depend on it."""

HANDLERS = (
    Handler(
        symptom=r"READ RESTART|kpoint_io\.F|qs_mo_io\.F|[Ee]nd of file",
        changes={"restart": False},
        words="a broken restart file was left out",
    ),
    # Too many overlaps of diffuse functions are neglected.  CHOLESKY INVERSE fails alike; with OFF CP2K goes on with
    # the same broken matrix, to an energy that was 15 eV off.
    Handler(
        symptom=r"(?i)cholesky|matrix is not positive definite|potrf",
        changes={"eps_default": 1e-14},
        words="overlaps of basis functions neglected below 1e-14 instead of 1e-10",
    ),
    Handler(
        symptom=NO_FULL_BANDS,
        changes={"orbital_transformation": False, "restart": False},
        words="self-consistency reached by diagonalisation instead of orbital transformation",
    ),
    Handler(
        symptom="SCF run NOT converged",
        changes={"alpha": 0.1, "nbroyden": 12, "max_scf": 200, "restart": False},
        words="self-consistency reached with mixing of 0.1 in up to 200 iterations",
    ),
    Handler(
        symptom="SCF run NOT converged",
        changes={"method": "PULAY_MIXING", "alpha": 0.05, "max_scf": 400},
        words="self-consistency reached with Pulay mixing of 0.05 in up to 400 iterations",
    ),
)


@dataclass(frozen=True)
class Cp2kEngine(DftEngine):
    """CP2K's Quickstep: orbital transformation at Γ, diagonalisation on meshes of k-points.

    Parameters
    ----------
    relative_cutoff_ev
        Cutoff of the grid that carries a Gaussian, relative to its exponent, in eV.
    basis_set
        Family of the basis sets, such as ``TZV2P-MOLOPT-PBE-GTH``.
    """

    relative_cutoff_ev: float
    basis_set: str

    name: ClassVar[str] = "cp2k"
    code: ClassVar[str] = "CP2K"
    functionals: ClassVar[frozenset[str]] = frozenset({"PBE"})
    default_functional: ClassVar[str] = "PBE"
    extra_settings: ClassVar[frozenset[str]] = frozenset({"relative_cutoff_ev", "basis_set"})
    features = DftEngine.features | {Feature.DIPOLE, Feature.RESTART_DENSITY, Feature.GHOST_FUNCTIONS}

    def code_version(self) -> str:
        """Return the version that ``cp2k --version`` prints."""
        return version_of(find_program(configured_command(), names=PROGRAM_NAMES))

    def weights_hash(self) -> str:
        """Return the hash of the pseudopotentials and basis sets of the family."""
        return hash_of_family(data_folder(find_program(configured_command(), names=PROGRAM_NAMES)), self.basis_set)

    def describe_program(self) -> str:
        """Return the command of CP2K and its version."""
        return f"{' '.join(configured_command())}, version {self.code_version()}"

    def pseudopotentials(self, elements: Iterable[str]) -> PseudopotentialSet:
        """Return pseudopotential and basis set of each element; they are published with the code."""
        program = find_program(configured_command(), names=PROGRAM_NAMES)
        found = describe_kinds(data_folder(program), elements, family=self.basis_set)
        return found.model_copy(update={"version": self.code_version()})

    def theory_settings(self) -> dict[str, JsonValue]:
        """Return what CP2K does otherwise than plane-wave codes."""
        return {
            "smearing": "fermi-dirac",
            "electronic_temperature_k": self.electronic_temperature_k,
            "relative_cutoff_ev": self.relative_cutoff_ev,
            "basis_set": self.basis_set,
            "energy_convergence_ev_per_atom": None,
            "density_convergence": DENSITY_THRESHOLD,
            # Relaxations under a potential that jumps elsewhere ended at other places; the energy is the same.
            "slab_dipole_correction": "middle of the vacuum",
        }

    @property
    def electronic_temperature_k(self) -> float:
        """Return the temperature whose occupation falls off as the Gaussian one does."""
        return round(sqrt(1.5) / pi * self.smearing_width_ev / BOLTZMANN_EV_PER_K, 6)

    def seconds_per_force_call(self, n_atoms: int) -> float:
        """Return the rough time of one self-consistent density on two cores, in s."""
        return 10.0 + 0.15 * n_atoms**2

    def start(self, setting: Setting) -> CodeRun:
        """Return CP2K in its folder."""
        command = configured_command()
        return Cp2kRun(setting, self, data_folder(find_program(command, names=PROGRAM_NAMES)), command)


def configured_command() -> list[str]:
    """Return the command of CP2K as words; atomate2's setting is read without importing atomate2.

    Raises
    ------
    EngineError
        If there is no such program.
    """
    import os

    return find_command(os.environ.get("ATOMATE2_CP2K_CMD", "cp2k"), engine=Cp2kEngine.name, remedy=INSTALL_LINE)


@dataclass
class Cp2kRun(HandledRun):
    """CP2K in one folder.

    Parameters
    ----------
    engine
        The settings.
    data
        The folder with pseudopotentials and basis sets.
    command
        The command as words.
    is_gapped
        False once a gap was too narrow for full bands.
    """

    engine: Cp2kEngine
    data: Path
    command: list[str]
    is_gapped: bool = field(default=True, kw_only=True)

    restart_files: ClassVar[tuple[str, ...]] = (f"{PROJECT}-RESTART.wfn", f"{PROJECT}-RESTART.kp")
    code: ClassVar[str] = "CP2K"
    handlers: ClassVar[tuple[Handler, ...]] = HANDLERS

    @property
    def by_hand(self) -> str:
        """Return what a person types."""
        return "cp2k -i cp2k.inp -o cp2k.out"

    def attempt(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> Evaluation | Failure:
        """Return what CP2K says, run once."""
        numerics = {"orbital_transformation": self.is_gapped, **numerics}
        folder = self.setting.folder
        output = folder / "cp2k.out"
        self.write_inputs(arrangement, numerics)
        output.unlink(missing_ok=True)
        words = [*self.command, "-i", "cp2k.inp", "-o", output.name]
        code = run_command(words, folder=folder, stdin=None, stdout=folder / "run.out")
        text = output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""
        self.n_iterations += len(re.findall(r"^ +\d+ +(?:\S+/Diag|OT )", text, flags=re.MULTILINE))
        self.has_restart = self.setting.has_fixed_cell and code == 0
        if "exceeded requested execution time" in text:
            raise self.out_of_time()
        is_complete = code == 0 and "PROGRAM ENDED AT" in text
        is_transformed = self._transforms_orbitals(arrangement, numerics)
        if is_complete and "SCF run converged" in text and (not is_transformed or self._has_full_bands(text)):
            return read_evaluation(output, arrangement, has_stress=self.setting.vacuum is None)
        if is_transformed and ("SCF run converged" in text or "SCF run NOT converged" in text):
            self.is_gapped = False
            return Failure(said=NO_FULL_BANDS, summary=NO_FULL_BANDS, output=output)
        return Failure(said=text, summary=_summary(text, code), output=output)

    def _transforms_orbitals(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> bool:
        """Return whether the density is found by orbital transformation: at Γ, with bands that can all be full."""
        is_asked = bool(numerics.get("orbital_transformation"))
        return is_asked and self.setting.k_mesh == (1, 1, 1) and self._count_electrons(arrangement) % 2 == 0

    def _has_full_bands(self, text: str) -> bool:
        found = re.findall(r"HOMO - LUMO gap \[eV\] : +(\S+)", text)
        return bool(found) and float(found[-1]) > LEAST_GAP * self.engine.smearing_width_ev

    def _count_electrons(self, arrangement: Arrangement) -> int:
        kinds = self._kinds(arrangement)
        return sum(kinds[symbol].n_electrons for symbol in arrangement.only_atoms().species)

    def _kinds(self, arrangement: Arrangement) -> dict[str, Kind]:
        return {each: find_kind(self.data, each, family=self.engine.basis_set) for each in set(arrangement.species)}

    def write_inputs(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> None:
        """Write ``cp2k.inp``."""
        text = str(self.draft_input(arrangement, numerics))
        (self.setting.folder / "cp2k.inp").write_text(text, encoding="utf-8")

    def draft_input(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> Cp2kInput:
        """Return the input file, section by section."""
        return assemble_input(
            {
                "GLOBAL": {
                    "PROJECT": PROJECT,
                    "RUN_TYPE": "ENERGY_FORCE",
                    "PRINT_LEVEL": "MEDIUM",
                    "PREFERRED_DIAG_LIBRARY": "SL",
                    **({} if self.usable_s is None else {"WALLTIME": int(self.usable_s)}),
                },
                "FORCE_EVAL": {
                    "METHOD": "QS",
                    # The stress of the dipole correction is missing in CP2K.
                    "STRESS_TENSOR": "ANALYTICAL" if self.setting.vacuum is None else "NONE",
                    "DFT": self._electrons(arrangement, numerics),
                    "SUBSYS": subsystem(arrangement, self._kinds(arrangement)),
                    "PRINT": {"FORCES": {"NDIGITS": 12}, "STRESS_TENSOR": {}},
                },
            }
        )

    def _electrons(self, arrangement: Arrangement, changed: Mapping[str, Any]) -> Content:
        numerics = {**NUMERICS, "beta": BETA[self.setting.vacuum is not None], **changed}
        is_transformed = self._transforms_orbitals(arrangement, numerics)
        content: Content = {
            "": [("BASIS_SET_FILE_NAME", self.data / name) for name in BASIS_FILES],
            "POTENTIAL_FILE_NAME": self.data / POTENTIAL_FILE,
            "QS": {"EPS_DEFAULT": numerics["eps_default"], "EXTRAPOLATION": "USE_GUESS"},
            "MGRID": {
                "CUTOFF": f"{self.engine.cutoff_ev / RYDBERG_IN_EV:.10g}",
                "REL_CUTOFF": f"{self.engine.relative_cutoff_ev / RYDBERG_IN_EV:.10g}",
            },
            "XC": {f"XC_FUNCTIONAL {self.engine.functional}": {}},
            "SCF": {
                "SCF_GUESS": "RESTART" if self.is_restarted and numerics.get("restart", True) else "ATOMIC",
                **(_ORBITAL_TRANSFORMATION if is_transformed else self._diagonalisation(arrangement, numerics)),
                "PRINT": {"RESTART": {"BACKUP_COPIES": 0, "EACH": {"QS_SCF": 1}}},
            },
            **({"PRINT": _PRINT_GAP} if is_transformed else {}),
        }
        if self.setting.vacuum is not None:
            content |= _dipole_correction(self.setting.vacuum, arrangement)
        if self.setting.k_mesh != (1, 1, 1):
            content["KPOINTS"] = k_points(self.setting.k_mesh)
        return content

    def _diagonalisation(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> Content:
        return {
            "EPS_SCF": DENSITY_THRESHOLD,
            "MAX_SCF": numerics["max_scf"],
            "CHOLESKY": "REDUCE",
            "ADDED_MOS": max(4, ceil(SPARE_BANDS * self._count_electrons(arrangement) / 2)),
            "DIAGONALIZATION": {},
            "MIXING": {name.upper(): numerics[name] for name in ("method", "alpha", "beta", "nbroyden")},
            "SMEAR": {"METHOD": "FERMI_DIRAC", "ELECTRONIC_TEMPERATURE": self.engine.electronic_temperature_k},
        }


_ORBITAL_TRANSFORMATION: Final[Content] = {
    "EPS_SCF": GRADIENT_THRESHOLD,
    "MAX_SCF": 12,
    "OT": {"MINIMIZER": "DIIS", "PRECONDITIONER": "FULL_ALL", "ENERGY_GAP": 0.05},
    "OUTER_SCF": {"EPS_SCF": GRADIENT_THRESHOLD, "MAX_SCF": 16},
}
"""Up to 16 times 12 steps, each 12 with a new preconditioner; its energy gap is in hartree.

That of atomic densities is a poor one: 96 atoms of FAPbI3 had not converged after 25 steps with it, but 8 steps later.
"""

_PRINT_GAP: Final[Content] = {"MO_CUBES": {"WRITE_CUBE": "F", "NHOMO": 1, "NLUMO": 1}}


def _dipole_correction(vacuum: Vacuum, arrangement: Arrangement) -> Content:
    """Return the keywords of a potential that jumps in the middle of the vacuum.

    Bengtsson, Phys. Rev. B 1999, 59, 12301.  Left to itself CP2K lets the potential jump where the density is
    smallest: in empty space rounding chooses another place in every step.  The orbital energies of the last step then
    belong to another constant than the potential that the forces are taken from, and these miss hundredths of an eV/Å,
    with opposite signs on the two atoms of a bond.  The energy does not depend on the place.
    """
    height_ang = vacuum.centre * arrangement.lattice_ang[2, 2]
    return {"SURFACE_DIPOLE_CORRECTION": "T", "SURF_DIP_DIR": "Z", "SURF_DIP_POS": f"{height_ang:.6f}"}


def _summary(text: str, code: int) -> str:
    """Return the boxed message of an abort, or the last words."""
    boxed = re.findall(r"^ \* +(?:___ *)?(.*?) *\*$", text, flags=re.MULTILINE)
    said = " ".join(" ".join(boxed).split()) if boxed else " ".join(text.split()[-30:])
    return f"exit code {code}: {said}"
