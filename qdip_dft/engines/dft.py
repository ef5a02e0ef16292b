r"""What all density-functional codes share: settings, k-points, vacuum, dispersion, and a run that survives a kill.

A code is used as a potential: it is asked for energy, forces and stress of one arrangement after the other, and the
relaxation of `qdip_dft.engines.relaxation` moves the atoms, the same for every code.  So `cell` and `out_of_plane`
mean the same everywhere, and a relaxation ends at the same thresholds.

Every energy goes to a file of the run's folder as soon as it is known.  The relaxation is deterministic: a run that
was killed starts again, finds the energies of its first life and goes on at the arrangement where it stopped.

The mesh of k-points has :math:`n_i = \lceil |b_i| / \Delta k \rceil` points along the reciprocal vector b_i (with 2π),
centred on Γ.  It is counted in the starting cell and kept during a relaxation, so that the energy stays a smooth
function of the cell; the static calculation that follows counts anew.

D3(BJ) is added by the same library in every engine, so that it is the same number in every code.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import numpy as np
from pydantic import JsonValue

from qdip_dft.engines.base import Engine, Feature, OnStep
from qdip_dft.engines.dispersion import D3BJ_OF_FUNCTIONAL, evaluate_d3
from qdip_dft.engines.potential import (
    Arrangement,
    Evaluation,
    arrangement_of,
    evaluate_apart,
    require_finite,
    result_of,
)
from qdip_dft.engines.preset import RELAXATION_SETTINGS, load_preset, override_preset, relaxation_settings_of
from qdip_dft.engines.recorded import RecordedPotential, scratch_folder
from qdip_dft.engines.relaxation import OPTIMISER_ON_A_GRID, relax_structure
from qdip_dft.engines.restart import FEATURES_OF_RESTART, Shelf
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import EngineResult, Freedom, Level, LevelOfTheory
from qdip_dft.model.engine import Dispersion, EngineSpec, Restart
from qdip_dft.model.structure import StructureRecord

DFT_SETTINGS = RELAXATION_SETTINGS | {"k_spacing_per_ang", "smearing_width_ev", "cutoff_ev", "restart"}
"""The settings that a study may give to every code."""

LEAST_VACUUM_ANG = 6.0
"""A gap along the third vector without atoms that makes a structure a slab; crystals have none."""

GRID_NOISE_EV_PER_ATOM = 1e-3
"""Energies rise and fall by this when atoms move against the grid and the number of plane waves jumps with the cell."""

ENERGY_CONVERGENCE_EV_PER_ATOM = 1e-8
"""A density is self-consistent when the energy is known to this."""


@dataclass(frozen=True, slots=True)
class Vacuum:
    """The empty part of a slab's cell, in fractions of the third vector; the end may lie beyond 1."""

    start: float
    end: float

    @property
    def centre(self) -> float:
        """Return its middle, in [0, 1)."""
        return (0.5 * (self.start + self.end)) % 1.0


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and how a code evaluates the arrangements of one calculation.

    Parameters
    ----------
    folder
        Where it runs.
    k_mesh
        Points along the three reciprocal vectors, centred on Γ.
    vacuum
        The empty part of a slab; None for a crystal.
    has_fixed_cell
        Whether the cell stays, so that an earlier density fits.
    restart
        What may be reused of an earlier calculation.
    """

    folder: Path
    k_mesh: tuple[int, int, int]
    vacuum: Vacuum | None
    has_fixed_cell: bool
    restart: Restart = Restart.NONE


@dataclass(frozen=True)
class DftEngine(Engine):
    """A density-functional code behind the common contract.

    Parameters
    ----------
    relaxation
        When a relaxation is done.
    functional
        Exchange-correlation functional: ``PBE`` or ``PBEsol``.
    dispersion
        The correction on top.
    k_spacing_per_ang
        Largest distance between k-points in Å⁻¹, with 2π.
    smearing_width_ev
        Width of the Gaussian occupation in eV.
    cutoff_ev
        Kinetic-energy cutoff of the plane waves in eV.
    restart
        What may be reused of an earlier calculation; not part of the level of theory.
    spin_orbit
        Whether spin-orbit coupling is part of the energy.
    """

    functional: str
    dispersion: str
    k_spacing_per_ang: float
    smearing_width_ev: float
    cutoff_ev: float
    restart: str
    spin_orbit: bool = field(default=False, kw_only=True)

    code: ClassVar[str]
    """The code's name in papers."""
    functionals: ClassVar[frozenset[str]]
    """Functionals for which the engine has pseudopotentials."""
    default_functional: ClassVar[str]
    extra_settings: ClassVar[frozenset[str]] = frozenset()
    """Settings of a preset that mean something to this code alone; its fields carry their names."""
    features: ClassVar[frozenset[Feature]] = frozenset(
        {
            Feature.RELAX_POSITIONS,
            Feature.RELAX_OUT_OF_PLANE,
            Feature.RELAX_CELL,
            Feature.STRESS,
            Feature.D3BJ,
            Feature.SELF_STOP,
        }
    )

    @classmethod
    def from_spec(cls, spec: EngineSpec) -> DftEngine:
        """Return the engine that a study asks for, or say which part is missing."""
        settings = {name: {cls.name: v} if name == "cutoff_ev" else v for name, v in spec.settings.items()}
        preset = override_preset(load_preset(spec.preset), settings, allowed=DFT_SETTINGS | cls.extra_settings)
        functional = spec.functional or cls.default_functional
        if functional not in cls.functionals:
            raise _unknown_functional(cls.name, functional, cls.functionals)
        return cls(
            relaxation=relaxation_settings_of(preset, optimiser=OPTIMISER_ON_A_GRID),
            functional=functional,
            dispersion=(spec.dispersion or preset.dispersion).value,
            k_spacing_per_ang=preset.k_spacing_per_ang,
            smearing_width_ev=preset.smearing_width_ev,
            cutoff_ev=preset.cutoff_ev[cls.name],
            restart=cls.usable_restart(preset.restart).value,
            spin_orbit=spec.spin_orbit,
            **{name: getattr(preset, name) for name in sorted(cls.extra_settings)},
        )

    @classmethod
    def usable_restart(cls, restart: Restart) -> Restart:
        """Return what a study wants to be reused, or refuse what the code cannot reuse."""
        feature = FEATURES_OF_RESTART[restart]
        if feature is None or feature in cls.features:
            return restart
        raise EngineError(
            f"engine {cls.name!r} cannot restart from {restart.value}",
            limit=f"it can {', '.join(sorted(each.value for each in cls.features if 'restart' in each.value))}",
            why="every calculation would start anew although the study says otherwise",
            remedy="write `restart: full` (whatever the code can reuse) or `restart: none`",
        )

    def for_relaxations(self) -> DftEngine:
        """Return the engine without spin-orbit coupling."""
        return replace(self, spin_orbit=False) if self.spin_orbit else self

    @abstractmethod
    def code_version(self) -> str:
        """Return the version of the installed code."""

    def describe_program(self) -> str:
        """Return how the code is started, and its version."""
        return f"{self.code} {self.code_version()}"

    @abstractmethod
    def weights_hash(self) -> str:
        """Return the SHA-256 of the pseudopotential family."""

    @abstractmethod
    def start(self, setting: Setting) -> CodeRun:
        """Return the code, ready to evaluate one arrangement after the other."""

    def draft(self, setting: Setting) -> CodeRun:
        """Return the code, able to write its inputs also where its program or its potentials are not."""
        return self.start(setting)

    def write_inputs(self, structure: StructureRecord, freedom: Freedom, folder: Path) -> CodeRun:
        """Write the inputs of the first evaluation of a calculation; starts nothing.

        Parameters
        ----------
        structure, freedom
            What is to be calculated.
        folder
            Where the files go.
        """
        return _write_first(self.start(self.setting_of(structure, freedom, folder)), structure)

    def write_draft(self, structure: StructureRecord, freedom: Freedom, folder: Path) -> CodeRun:
        """Write the same where the program or its potentials are not, naming the potentials as far as is known."""
        return _write_first(self.draft(self.setting_of(structure, freedom, folder)), structure)

    def theory(self) -> LevelOfTheory:
        """Return the level of theory; asks the code for its version and reads the pseudopotentials once."""
        return self.theory_at_version(self.code_version())

    def theory_at_version(self, code_version: str) -> LevelOfTheory:
        """Return the level of theory with some version of the code."""
        settings: dict[str, JsonValue] = {
            "cutoff_ev": self.cutoff_ev,
            "k_spacing_per_ang": self.k_spacing_per_ang,
            "smearing": "gaussian",
            "smearing_width_ev": self.smearing_width_ev,
            "energy_convergence_ev_per_atom": ENERGY_CONVERGENCE_EV_PER_ATOM,
            "slab_dipole_correction": True,
        }
        settings |= self.theory_settings()
        if self.spin_orbit:  # nothing without it, as in calculations that knew of none
            settings["spin_orbit"] = True
        if self.dispersion == Dispersion.D3BJ.value:
            settings |= D3BJ_OF_FUNCTIONAL[self.functional].as_settings()
        return LevelOfTheory(
            level=Level.DFT,
            engine=self.name,
            code=self.code,
            code_version=code_version,
            functional=self.functional,
            dispersion=self.dispersion,
            weights_hash=self.weights_hash(),
            settings=settings,
        )

    def theory_settings(self) -> dict[str, JsonValue]:
        """Return what this code does otherwise than the others, where it changes an energy."""
        return {}

    def setting_of(self, structure: StructureRecord, freedom: Freedom, folder: Path) -> Setting:
        """Return mesh and vacuum of a calculation in a folder."""
        return Setting(
            folder=folder,
            k_mesh=count_k_points(structure, self.k_spacing_per_ang),
            vacuum=find_vacuum(structure),
            has_fixed_cell=freedom in (Freedom.NONE, Freedom.POSITIONS),
            restart=Restart(self.restart),
        )

    def add_dispersion(self, arrangement: Arrangement, evaluation: Evaluation) -> Evaluation:
        """Return what a code says with the dispersion of the study added."""
        if self.dispersion != Dispersion.D3BJ.value:
            return evaluation
        return evaluation + evaluate_d3(arrangement, D3BJ_OF_FUNCTIONAL[self.functional])

    def static(self, structure: StructureRecord) -> EngineResult:
        """Return energy, forces and stress of a structure as it stands."""
        start_s = perf_counter()
        run = self._open(structure, Freedom.NONE)
        evaluation = require_finite(evaluate_apart(run, arrangement_of(structure)))
        run.finish()
        return run.note(result_of(structure, evaluation, is_converged=True, n_steps=0, start_s=start_s))

    def relax(self, structure: StructureRecord, freedom: Freedom, *, on_step: OnStep | None = None) -> EngineResult:
        """Return the relaxed structure with its energy."""
        self.require_freedom(freedom)
        run = self._open(structure, freedom)
        result = relax_structure(
            structure,
            freedom,
            potential=run,
            settings=self.relaxation,
            on_step=on_step,
            noise_ev_per_atom=GRID_NOISE_EV_PER_ATOM,
        )
        run.finish()
        return run.note(result)

    def _open(self, structure: StructureRecord, freedom: Freedom) -> RecordedRun:
        setting = self.setting_of(structure, freedom, scratch_folder(self, structure, freedom))
        setting.folder.mkdir(parents=True, exist_ok=True)
        recorded = RecordedRun(self.start(setting), setting, self.add_dispersion, self._shelf, self._scalar_shelf)
        recorded.take_restart_files(arrangement_of(structure))
        return recorded

    def _shelf(self, setting: Setting, arrangement: Arrangement) -> Shelf:
        return Shelf.of(setting.folder.parent, self.theory(), arrangement, setting.k_mesh)

    def _scalar_shelf(self, setting: Setting, arrangement: Arrangement) -> Shelf | None:
        """Return where a density without spin-orbit coupling may lie that one with it may begin with."""
        if not self.spin_orbit or setting.restart not in (Restart.DENSITY, Restart.FULL):
            return None
        theory = self.for_relaxations().theory_at_version(self.code_version())
        return Shelf.of(setting.folder.parent, theory, arrangement, setting.k_mesh)


def _write_first(run: CodeRun, structure: StructureRecord) -> CodeRun:
    run.setting.folder.mkdir(parents=True, exist_ok=True)
    run.write_inputs(arrangement_of(structure), {})
    return run


def _unknown_functional(engine: str, functional: str, known: Iterable[str]) -> EngineError:
    return EngineError(
        f"engine {engine!r} has no functional {functional!r}",
        limit=f"it has {', '.join(sorted(known))}",
        why="pseudopotentials belong to one functional; others would give a number that nobody can repeat",
        remedy="set `engine.functional` to one of them, or choose another engine",
    )


def count_k_points(structure: StructureRecord, spacing_per_ang: float) -> tuple[int, int, int]:
    """Return the points along the reciprocal vectors for a largest distance in Å⁻¹; one across a slab's vacuum."""
    reciprocal = 2.0 * np.pi * np.linalg.inv(np.array(structure.lattice_ang)).T
    n_x, n_y, n_z = (max(1, ceil(float(np.linalg.norm(b)) / spacing_per_ang - 1e-9)) for b in reciprocal)
    return (n_x, n_y, 1 if find_vacuum(structure) is not None else n_z)


def find_vacuum(structure: StructureRecord) -> Vacuum | None:
    """Return the widest empty part along the third vector, or None if it is too thin for a slab."""
    lattice_ang = np.array(structure.lattice_ang)
    height_ang = abs(np.linalg.det(lattice_ang)) / np.linalg.norm(np.cross(lattice_ang[0], lattice_ang[1]))
    heights = np.sort(np.array(structure.frac_coords)[:, 2] % 1.0)
    gaps = np.append(heights[1:], heights[0] + 1.0) - heights
    widest = int(np.argmax(gaps))
    if gaps[widest] * height_ang < LEAST_VACUUM_ANG:
        return None
    return Vacuum(start=float(heights[widest]), end=float(heights[widest] + gaps[widest]))


class CodeRun:
    """A started code: one evaluation after the other, and what had to be corrected on the way."""

    setting: Setting
    corrections: list[str]
    n_iterations: int = 0
    """Steps to self-consistency so far."""
    has_restart: bool = False
    """Whether files of an earlier calculation lie in the folder."""
    restart_files: ClassVar[tuple[str, ...]] = ()
    """Patterns of the files that a later calculation may reuse, relative to the folder."""
    density_files: ClassVar[tuple[str, ...]] = ()
    """Patterns of those that one with spin-orbit coupling may take from one without."""

    @property
    @abstractmethod
    def by_hand(self) -> str:
        """Return what a person types in the folder with the inputs."""

    @abstractmethod
    def write_inputs(self, arrangement: Arrangement, numerics: Mapping[str, Any]) -> None:
        """Write every input file of an evaluation; what `evaluate` runs is written by this.

        Parameters
        ----------
        arrangement
            The atoms.
        numerics
            Numerical settings of a further attempt; empty for the first.
        """

    @abstractmethod
    def evaluate(self, arrangement: Arrangement) -> Evaluation:
        """Return what the code says about an arrangement, without dispersion."""

    def clean(self) -> None:
        """Delete restart files, which are large; inputs and outputs stay."""
        for pattern in self.restart_files:
            for path in self.setting.folder.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@dataclass
class RecordedRun:
    """A code whose evaluations are kept in a file of its folder.

    Parameters
    ----------
    run
        The code.
    setting
        Its folder holds ``evaluations.jsonl``; a line cut short by a kill is evaluated again.
    add_dispersion
        From the code's evaluation to the complete one.
    shelf_of
        Where the restart files of an arrangement are kept.
    scalar_shelf_of
        Where those of the same without spin-orbit coupling are, of which the density may be taken; None: nowhere.
    """

    run: CodeRun
    setting: Setting
    add_dispersion: Callable[[Arrangement, Evaluation], Evaluation]
    shelf_of: Callable[[Setting, Arrangement], Shelf]
    scalar_shelf_of: Callable[[Setting, Arrangement], Shelf | None]
    recorded: RecordedPotential = field(init=False)
    last: Arrangement | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.recorded = RecordedPotential(self._evaluate, self.setting.folder)

    def _evaluate(self, arrangement: Arrangement) -> Evaluation:
        self.last = arrangement
        return self.run.evaluate(arrangement)

    def __call__(self, arrangement: Arrangement) -> Evaluation:
        """Return the evaluation, from the file if this arrangement was met before."""
        return self.add_dispersion(arrangement, self.recorded(arrangement))

    def take_restart_files(self, arrangement: Arrangement) -> None:
        """Let the code begin with what an earlier calculation left."""
        if self.setting.restart is Restart.NONE or not self.setting.has_fixed_cell:
            return
        run, folder = self.run, self.setting.folder
        run.has_restart = self.shelf_of(self.setting, arrangement).take(folder, run.restart_files)
        scalar = None if run.has_restart else self.scalar_shelf_of(self.setting, arrangement)
        if scalar is not None:
            run.has_restart = scalar.copy(folder, run.density_files)

    def finish(self) -> None:
        """Leave what the next calculation may reuse; delete the rest of what only a restart needs."""
        if self.setting.restart is not Restart.NONE and self.last is not None:
            self.shelf_of(self.setting, self.last).keep(self.setting.folder, self.run.restart_files)
        self.run.clean()

    def note(self, result: EngineResult) -> EngineResult:
        """Return the result with what happened on the way to it."""
        notes = {
            "corrections": tuple(self.run.corrections),
            "restart": self.setting.restart.value,
            "n_scf_steps": self.run.n_iterations,
        }
        return result.model_copy(update=notes)


def unusable_output(output: Path, reason: str) -> EngineError:
    """Return the error of an output that was not made by a run of the package and may not be taken for one."""
    return EngineError(
        f"{output} cannot be imported: {reason}",
        limit="an output must be complete, converged and of the version that the level of theory names",
        why="its energy would enter differences in which it does not belong",
        remedy="run the folder again with this code, or let qdip run do it",
    )


def require_same_atoms(species: Sequence[str], arrangement: Arrangement, output: Path) -> None:
    """Refuse an output whose atoms are not those that were asked for, in the same order.

    Raises
    ------
    EngineError
        If they are not.
    """
    if tuple(species) != arrangement.species:
        raise EngineError(
            f"{output} holds other atoms than were asked for",
            limit="the sites must keep their order",
            why="forces would belong to other atoms",
            remedy="delete the folder and run again",
        )


def find_command(command: str, *, engine: str, remedy: str) -> list[str]:
    """Return a command as words if its program exists.

    Parameters
    ----------
    command
        The command with its launcher, such as ``mpirun -n 8 pw.x``.
    engine
        The engine that needs it, for the message.
    remedy
        How to get it.

    Raises
    ------
    EngineError
        If a program of it is not found.
    """
    words = shlex.split(command)
    if words and shutil.which(words[0]) is not None:
        return words
    raise EngineError(
        f"engine {engine!r} finds no program {words[0] if words else command!r}",
        limit="it must be on PATH, or its full path must be configured",
        why="without the code there is no energy",
        remedy=remedy,
    )


def run_command(words: Sequence[str], *, folder: Path, stdin: Path | None, stdout: Path) -> int:
    """Run a code in its folder and return its exit code; the code ends when this process does, however it ends.

    Parameters
    ----------
    words
        The command.
    folder
        Where it runs.
    stdin, stdout
        Files for its input and its output.
    """
    process = start_command(words, folder=folder, stdin=stdin, stdout=stdout)
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def start_command(words: Sequence[str], *, folder: Path, stdin: Path | None, stdout: Path) -> subprocess.Popen[bytes]:
    """Start a code in its folder; it ends when this process does, and whoever started it waits for it.

    Parameters
    ----------
    words, folder, stdin, stdout
        As in `run_command`.
    """
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    with (stdin or Path(os.devnull)).open("rb") as source, stdout.open("wb") as sink:
        return subprocess.Popen(
            words, cwd=folder, stdin=source, stdout=sink, stderr=subprocess.STDOUT, env=environment,
            start_new_session=True, preexec_fn=_end_with_parent,  # noqa: PLW1509 (the hook only calls the kernel)
        )  # fmt: skip


def _end_with_parent() -> None:
    """Ask the kernel to end the code even when this process is killed: the next run uses the same folder."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
