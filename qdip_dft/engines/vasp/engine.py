"""VASP: plane waves and PAW potentials, run through custodian.

Kresse and Furthmüller, Phys. Rev. B 1996, 54, 11169; Kresse and Joubert, Phys. Rev. B 1999, 59, 1758.

The command comes from atomate2's settings (``ATOMATE2_VASP_CMD``, or its configuration file), the potentials from
pymatgen's (`qdip_dft.engines.vasp.potentials`), inputs are written and outputs read by pymatgen.  Tags of parallel
running, such as ``KPAR``, come from ``ATOMATE2_VASP_INCAR_UPDATES``; a tag that changes an energy is refused there.

The version is part of the level of theory and must be known before anything runs, often on a machine where VASP does
not: ``QDIP_VASP_VERSION`` says it (``6.4.2``), else the program is started once in an empty folder and its banner is
read.  Every output must then name the same version.

VASP wants the atoms grouped by element: they are written in the order of their symbols, and the caller's order comes
back.  Energies are free energies (``e_fr_energy``), of which the forces are the slope.  D3(BJ) is added by the library
of all codes, never by VASP (``IVDW`` stays 0), so that it is the same number everywhere.

Spin-orbit coupling is self-consistent and needs the noncollinear program (``ATOMATE2_VASP_NCL_CMD``).  It may begin
with the density (``CHGCAR``, ``ICHARG = 1``) of ``vasp_std``, not with its wavefunctions, which have one component.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import JsonValue

from qdip_dft.engines.base import Feature
from qdip_dft.engines.code_run import CodeRun, Setting
from qdip_dft.engines.dft import ENERGY_CONVERGENCE_EV_PER_ATOM, DftEngine
from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.engines.handlers import Failure, HandledRun, Handler
from qdip_dft.engines.programs import find_command, require_known_version
from qdip_dft.engines.vasp.files import (
    FUNCTIONAL_TAGS,
    PHYSICS,
    SPIN_ORBIT_TAGS,
    dipole_correction,
    file_order,
    is_self_consistent,
    parallel_tags,
    read_evaluation,
    read_output,
    spinor_tags,
)
from qdip_dft.engines.vasp.potentials import (
    FAMILIES,
    choose_potentials,
    describe_potentials,
    hash_of_release,
    read_potential,
    release_folder,
)
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import Freedom, PseudopotentialSet
from qdip_dft.model.engine import EngineSpec, Restart
from qdip_dft.model.structure import Arrangement

if TYPE_CHECKING:
    from atomate2.settings import Atomate2Settings
    from pymatgen.io.vasp.outputs import Vasprun

KNOWN_MAJOR_VERSIONS = ("5", "6")

HOLDS_VECTORS = (6, 4, 0)
"""The first version whose relaxations heed LATTICE_CONSTRAINTS."""

VERSION_VARIABLE = "QDIP_VASP_VERSION"

INSTALL_LINE = "set ATOMATE2_VASP_CMD, such as `mpirun -n 8 vasp_std`; VASP is licensed software (vasp.at)"

SPINOR_INSTALL_LINE = "set ATOMATE2_VASP_NCL_CMD, such as `mpirun -n 8 vasp_ncl`, the program for spinors of every VASP"

UNCONVERGED = "did not become self-consistent"

HANDLERS = (
    Handler(
        symptom=UNCONVERGED,
        changes={"AMIX": 0.1, "BMIX": 0.01, "NELM": 300},
        words="self-consistency reached with mixing of 0.1 in up to 300 iterations",
    ),
    Handler(
        symptom=UNCONVERGED,
        changes={"ALGO": "All", "NELM": 500},
        words="self-consistency reached with a direct minimiser in up to 500 iterations",
    ),
)

OUTPUTS = ("CONTCAR", "OSZICAR", "OUTCAR", "STOPCAR", "vasp.out", "vasprun.xml")
"""Files of an earlier arrangement that must not be taken for those of the next."""

RESTART_FILES = ("WAVECAR", "CHGCAR", "CHG", "TAUCAR")


@dataclass(frozen=True)
class VaspEngine(DftEngine):
    """VASP's ``vasp_std``.

    Parameters
    ----------
    potentials
        Release of the PAW potentials, such as ``PBE_54``.
    """

    potentials: str = FAMILIES[0]

    name: ClassVar[str] = "vasp"
    code: ClassVar[str] = "VASP"
    functionals: ClassVar[frozenset[str]] = frozenset(FUNCTIONAL_TAGS)
    default_functional: ClassVar[str] = "PBE"
    features: ClassVar[frozenset[Feature]] = DftEngine.features | {
        Feature.DIPOLE,
        Feature.RESTART_DENSITY,
        Feature.RESTART_WAVEFUNCTIONS,
        Feature.SOC,
    }

    @classmethod
    def from_spec(cls, spec: EngineSpec) -> VaspEngine:
        """Return the engine that a study asks for; its `potential` is a release of the PAW potentials."""
        engine = super().from_spec(spec)
        potentials = spec.potential_name or FAMILIES[0]
        if potentials in FAMILIES and isinstance(engine, VaspEngine):
            return replace(engine, potentials=potentials)
        raise EngineError(
            f"engine 'vasp' has no potentials {potentials!r}",
            limit=f"it knows the releases {', '.join(FAMILIES)}",
            why="another release is another level of theory",
            remedy="leave `engine.potential` out or set it to one of them",
        )

    def code_version(self) -> str:
        """Return the version that is set, or that the program prints."""
        declared = os.environ.get(VERSION_VARIABLE)
        version = short_version(declared) if declared else _version_of(tuple(self.command()))
        return require_known_version(version, code=self.code, known=KNOWN_MAJOR_VERSIONS)

    def command(self) -> list[str]:
        """Return the command of the program that this engine needs, as words.

        Raises
        ------
        EngineError
            If there is no such program.
        """
        return configured_command(noncollinear=self.spin_orbit)

    def weights_hash(self) -> str:
        """Return the hash of the chosen potentials of the release."""
        return hash_of_release(release_folder(self.potentials))

    def theory_settings(self) -> dict[str, JsonValue]:
        """Return the tags of VASP that change an energy, and the release of the potentials."""
        tags = PHYSICS | FUNCTIONAL_TAGS[self.functional] | (SPIN_ORBIT_TAGS if self.spin_orbit else {})
        return {"potentials": self.potentials, **{f"vasp_{tag.lower()}": value for tag, value in tags.items()}}

    def require_freedom(self, freedom: Freedom) -> None:
        """Refuse besides a third vector relaxed by a VASP that holds no vectors (vasp.at/wiki/LATTICE_CONSTRAINTS)."""
        super().require_freedom(freedom)
        if freedom is not Freedom.OUT_OF_PLANE or not self.is_run_by_atomate2:
            return
        version = self.code_version()
        if tuple(int(number) for number in version.split(".")) < HOLDS_VECTORS:
            raise EngineError(
                f"VASP {version} cannot relax the third lattice vector alone",
                limit="LATTICE_CONSTRAINTS holds vectors in relaxations from VASP 6.4.0 on",
                why="the interface plane would relax, too, and the film would lose its strain",
                remedy="leave `runner: atomate2` out, for the relaxation of this package holds them in every version",
            )

    def describe_program(self) -> str:
        """Return the command of VASP and its version."""
        return f"{' '.join(self.command())}, version {self.code_version()}"

    def pseudopotentials(self, elements: Iterable[str]) -> PseudopotentialSet:
        """Return title and hash of the POTCAR of each element."""
        return describe_potentials(self.potentials, elements)

    def seconds_per_force_call(self, n_atoms: int) -> float:
        """Return the rough time of one self-consistent density on two cores, in s."""
        return 10.0 + 0.2 * n_atoms**2

    def start(self, setting: Setting) -> CodeRun:
        """Return VASP in its folder."""
        return VaspRun(setting, self)

    def draft(self, setting: Setting) -> CodeRun:
        """Return VASP without its potentials: their names stand in ``POTCAR.spec``."""
        return VaspDraft(setting, self)


def settings_of_machine() -> Atomate2Settings:
    """Return atomate2's settings, read from the environment and its configuration file."""
    from atomate2.settings import Atomate2Settings

    return Atomate2Settings()


def configured_command(*, noncollinear: bool) -> list[str]:
    """Return the command of VASP as words.

    Parameters
    ----------
    noncollinear
        Whether the program for spinors is meant.

    Raises
    ------
    EngineError
        If there is no such program.
    """
    settings = settings_of_machine()
    command = settings.VASP_NCL_CMD if noncollinear else settings.VASP_CMD
    remedy = SPINOR_INSTALL_LINE if noncollinear else INSTALL_LINE
    return find_command(os.path.expandvars(command), engine=VaspEngine.name, remedy=remedy)


def short_version(text: str) -> str:
    """Return the three numbers of a version: builds and patches of one release are one code."""
    found = re.search(r"\d+\.\d+\.\d+", text)
    if found:
        return found.group()
    raise EngineError(
        f"{text!r} is no version of VASP",
        limit="a version has three numbers, such as 6.4.2",
        why="energies of different versions must not meet in one difference",
        remedy=f"correct {VERSION_VARIABLE}",
    )


@cache
def _version_of(command: tuple[str, ...]) -> str:
    """Return the version in the banner that VASP prints before it misses its inputs."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "INCAR").write_text("SYSTEM = version\n", encoding="utf-8")
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=False)
        except subprocess.TimeoutExpired as error:
            raise _no_version(command) from error
    found = re.search(rb"vasp\.(\d+\.\d+\.\d+)", done.stdout)
    if found:
        return found.group(1).decode()
    raise _no_version(command)


def _no_version(command: tuple[str, ...]) -> EngineError:
    return EngineError(
        f"`{' '.join(command)}` prints no version of VASP",
        limit="the version is part of every calculation's key, and must be known before anything runs",
        why="energies of different versions must not meet in one difference",
        remedy=f"set {VERSION_VARIABLE}, such as 6.4.2, where plans are made; outputs are checked against it",
    )


@dataclass
class VaspRun(HandledRun):
    """VASP in one folder.

    Parameters
    ----------
    engine
        The settings.
    """

    engine: VaspEngine

    code: ClassVar[str] = "VASP"
    handlers: ClassVar[Sequence[Handler]] = HANDLERS
    restart_files: ClassVar[tuple[str, ...]] = ("WAVECAR", "CHGCAR")
    density_files: ClassVar[tuple[str, ...]] = ("CHGCAR",)

    @property
    def by_hand(self) -> str:
        """Return what a person types, with the program for spinors where they are needed."""
        return f"{'vasp_ncl' if self.engine.spin_orbit else 'vasp_std'} > vasp.out"

    def start_tags(self) -> dict[str, int]:
        """Return where a density begins: what an earlier arrangement, or a run that had to stop, left, if it fits."""
        has = {name: self.setting.has_fixed_cell and _holds(self.setting.folder / name) for name in self.restart_files}
        restart = self.setting.restart
        takes_wavefunctions = has["WAVECAR"] and restart is not Restart.DENSITY
        takes_density = has["CHGCAR"] and restart in (Restart.DENSITY, Restart.FULL)
        return {"ISTART": int(takes_wavefunctions), "ICHARG": 1 if takes_density else 2 * (not takes_wavefunctions)}

    def attempt(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> Evaluation | Failure:
        """Return what VASP says, run once, or more often if custodian mends an error."""
        self.write_inputs(arrangement, numerics)
        output = self._run()
        self.n_iterations += len(output.ionic_steps[-1]["electronic_steps"])
        if is_self_consistent(output):
            return read_evaluation(output, arrangement, is_slab=self.setting.vacuum is not None)
        self.clean()
        said = f"the density {UNCONVERGED}"
        return Failure(said=said, summary=said, output=self.setting.folder / "OUTCAR")

    def clean(self) -> None:
        """Delete densities and wavefunctions."""
        for name in RESTART_FILES:
            (self.setting.folder / name).unlink(missing_ok=True)

    def write_inputs(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> None:
        """Write INCAR, KPOINTS, POSCAR and POTCAR."""
        from pymatgen.core import Structure
        from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar

        folder = self.setting.folder
        order = file_order(arrangement.species)
        species = [arrangement.species[i] for i in order]
        positions = arrangement.positions_ang[order]
        structure = Structure(arrangement.lattice_ang, species, positions, coords_are_cartesian=True)
        Incar(self.tags(arrangement, numerics)).write_file(folder / "INCAR")
        Kpoints.gamma_automatic(self.setting.k_mesh).write_file(folder / "KPOINTS")
        Poscar(structure).write_file(folder / "POSCAR", significant_figures=16)
        self.write_potentials(list(dict.fromkeys(species)))

    def tags(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> dict[str, Any]:
        """Return the INCAR of an arrangement."""
        engine = self.engine
        return {
            **PHYSICS,
            **FUNCTIONAL_TAGS[engine.functional],
            **(spinor_tags(arrangement.n_atoms) if engine.spin_orbit else {}),
            "ENCUT": engine.cutoff_ev,
            "SIGMA": engine.smearing_width_ev,
            "EDIFF": ENERGY_CONVERGENCE_EV_PER_ATOM * arrangement.n_atoms,
            **({} if self.setting.vacuum is None else dipole_correction(self.setting.vacuum)),
            "ALGO": "All" if "METAGGA" in FUNCTIONAL_TAGS[engine.functional] else "Normal",
            "NELM": 200,
            "NSW": 0,
            "IBRION": -1,
            "ISIF": 2,
            **self.start_tags(),
            "LWAVE": True,
            "LCHARG": True,
            "LORBIT": 0,
            **parallel_tags(settings_of_machine().VASP_INCAR_UPDATES),
            **numerics,
        }

    def write_potentials(self, elements: Sequence[str]) -> None:
        """Write the POTCAR of some elements."""
        release = release_folder(self.engine.potentials)
        text = "".join(read_potential(release, symbol) for symbol in choose_potentials(elements))
        (self.setting.folder / "POTCAR").write_text(text, encoding="utf-8")

    def _run(self) -> Vasprun:
        from qdip_dft.engines.vasp.custodian import run_guarded

        folder = self.setting.folder
        for name in OUTPUTS:
            (folder / name).unlink(missing_ok=True)
        self.corrections += run_guarded(
            self.engine.command(), folder, max_errors=settings_of_machine().VASP_CUSTODIAN_MAX_ERRORS
        )
        output = read_output(folder / "vasprun.xml")
        _require_version(short_version(output.vasp_version), self.engine.code_version())
        return output


def _holds(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


class VaspDraft(VaspRun):
    """Inputs of VASP for somebody who has its potentials elsewhere."""

    def write_potentials(self, elements: Sequence[str]) -> None:
        """Write the names of the potentials, as pymatgen's ``potcar_spec`` does."""
        text = "\n".join(choose_potentials(elements))
        (self.setting.folder / "POTCAR.spec").write_text(f"{text}\n", encoding="utf-8")


def _require_version(found: str, declared: str) -> None:
    if found != declared:
        raise EngineError(
            f"VASP {found} answered, {declared} was declared",
            limit="one version in all calculations of a study",
            why="energies of different versions must not meet in one difference",
            remedy=f"set {VERSION_VARIABLE}={found}, or load the module of the other version",
        )
