r"""What all density-functional codes share: settings, k-points, vacuum, dispersion, and a run that survives a kill.

A code is used as a potential: it is asked for energy, forces and stress of one arrangement after the other, and the
relaxation of `qdip_dft.engines.relaxation.descent` moves the atoms, the same for every code.  So `cell` and
`out_of_plane` mean the same everywhere, and a relaxation ends at the same thresholds.

Every energy goes to a file of the run's folder as soon as it is known.  The relaxation is deterministic: a run that
was killed starts again, finds the energies of its first life and goes on at the arrangement where it stopped.

The mesh of k-points has :math:`n_i = \lceil |b_i| / \Delta k \rceil` points along the reciprocal vector b_i (with 2π),
centred on Γ.  It is counted in the starting cell and kept during a relaxation, so that the energy stays a smooth
function of the cell; the static calculation that follows counts anew.

D3(BJ) is added by the same library in every engine, so that it is the same number in every code.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import ClassVar

from pydantic import JsonValue

from qdip_dft.engines.base import RELAXATIONS, Engine, Feature, OnStep, run_elsewhere
from qdip_dft.engines.code_run import CodeRun, RecordedRun, Setting, count_k_points, find_vacuum
from qdip_dft.engines.dispersion import evaluate_d3, find_d3
from qdip_dft.engines.evaluation import Evaluation, evaluate_apart, require_finite, result_of
from qdip_dft.engines.preset import RELAXATION_SETTINGS, load_preset, override_preset, relaxation_settings_of
from qdip_dft.engines.relaxation.descent import OPTIMISER_ON_A_GRID, relax_structure
from qdip_dft.engines.relaxation.recorded import scratch_folder
from qdip_dft.engines.restart import FEATURES_OF_RESTART, Shelf
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import EngineResult, Freedom, Level, LevelOfTheory
from qdip_dft.model.engine import EngineSpec, Restart, Runner
from qdip_dft.model.structure import Arrangement, StructureRecord

DFT_SETTINGS = RELAXATION_SETTINGS | {"k_spacing_per_ang", "smearing_width_ev", "cutoff_ev", "restart"}
"""The settings that a study may give to every code."""

GRID_NOISE_EV_PER_ATOM = 1e-3
"""Energies rise and fall by this when atoms move against the grid and the number of plane waves jumps with the cell."""

ENERGY_CONVERGENCE_EV_PER_ATOM = 1e-8
"""A density is self-consistent when the energy is known to this."""


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
    runner
        Who starts the code and relaxes; not part of the level of theory, for it changes no energy.
    """

    functional: str
    dispersion: str
    k_spacing_per_ang: float
    smearing_width_ev: float
    cutoff_ev: float
    restart: str
    spin_orbit: bool = field(default=False, kw_only=True)
    runner: str = field(default=Runner.QDIP.value, kw_only=True)

    code: ClassVar[str]
    """The code's name in papers."""
    functionals: ClassVar[frozenset[str]]
    """Functionals for which the engine has pseudopotentials."""
    default_functional: ClassVar[str]
    extra_settings: ClassVar[frozenset[str]] = frozenset()
    """Settings of a preset that mean something to this code alone; its fields carry their names."""
    features: ClassVar[frozenset[Feature]] = RELAXATIONS | {Feature.D3BJ}

    @classmethod
    def from_spec(cls, spec: EngineSpec) -> DftEngine:
        """Return the engine that a study asks for, or say which part is missing."""
        settings = {name: {cls.name: v} if name == "cutoff_ev" else v for name, v in spec.settings.items()}
        preset = override_preset(load_preset(spec.preset), settings, allowed=DFT_SETTINGS | cls.extra_settings)
        functional = spec.functional or cls.default_functional
        if functional not in cls.functionals:
            raise _unknown_functional(cls.name, functional, cls.functionals)
        return cls(
            relaxation=relaxation_settings_of(preset, optimiser=cls.optimiser_of(spec.runner)),
            functional=functional,
            dispersion=(spec.dispersion or preset.dispersion).value,
            k_spacing_per_ang=preset.k_spacing_per_ang,
            smearing_width_ev=preset.smearing_width_ev,
            cutoff_ev=preset.cutoff_ev[cls.name],
            restart=cls.usable_restart(preset.restart).value,
            spin_orbit=spec.spin_orbit,
            runner=spec.runner.value,
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

    @classmethod
    def optimiser_of(cls, runner: Runner) -> str:
        """What relaxes: the algorithm decides in which minimum a relaxation ends, and so belongs to its key."""
        return OPTIMISER_ON_A_GRID if runner is Runner.QDIP else f"{cls.code}'s own, started by {runner.value}"

    def for_relaxations(self) -> DftEngine:
        """Return the engine without spin-orbit coupling."""
        return replace(self, spin_orbit=False) if self.spin_orbit else self

    @property
    def is_run_by_atomate2(self) -> bool:
        """Whether a study leaves the calculations of this engine to atomate2."""
        return self.runner == Runner.ATOMATE2.value

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
        correction = find_d3(self.dispersion, self.functional)
        settings |= {} if correction is None else correction.as_settings()
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
        self.require_sites(structure)
        return Setting(
            folder=folder,
            k_mesh=count_k_points(structure, self.k_spacing_per_ang),
            vacuum=find_vacuum(structure),
            has_fixed_cell=freedom in (Freedom.NONE, Freedom.POSITIONS),
            restart=Restart(self.restart),
            is_kept_alive=freedom is Freedom.POSITIONS,
        )

    def add_dispersion(self, arrangement: Arrangement, evaluation: Evaluation) -> Evaluation:
        """Return what a code says with the dispersion of the study added."""
        correction = find_d3(self.dispersion, self.functional)
        return evaluation if correction is None else evaluation + evaluate_d3(arrangement, correction)

    def static(self, structure: StructureRecord) -> EngineResult:
        """Return energy, forces and stress of a structure as it stands."""
        start_s = perf_counter()
        with self._open(structure, Freedom.NONE) as run:
            evaluation = require_finite(evaluate_apart(run, structure.arrangement), structure.arrangement)
            run.finish()
        return run.note(result_of(structure, evaluation, is_converged=True, n_steps=0, start_s=start_s))

    def relax(self, structure: StructureRecord, freedom: Freedom, *, on_step: OnStep | None = None) -> EngineResult:
        """Return the relaxed structure with its energy."""
        self.require_freedom(freedom)
        with self._open(structure, freedom) as run:
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
        if self.is_run_by_atomate2:
            raise run_elsewhere(self)
        setting = self.setting_of(structure, freedom, scratch_folder(self, structure, freedom))
        setting.folder.mkdir(parents=True, exist_ok=True)
        recorded = RecordedRun(self.start(setting), setting, self.add_dispersion, self._shelf, self._scalar_shelf)
        recorded.take_restart_files(structure.arrangement)
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
    run.write_inputs(structure.arrangement, {})
    return run


def _unknown_functional(engine: str, functional: str, known: Iterable[str]) -> EngineError:
    return EngineError(
        f"engine {engine!r} has no functional {functional!r}",
        limit=f"it has {', '.join(sorted(known))}",
        why="pseudopotentials belong to one functional; others would give a number that nobody can repeat",
        remedy="set `engine.functional` to one of them, or choose another engine",
    )
