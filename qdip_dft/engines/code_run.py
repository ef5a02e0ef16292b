"""One run of a code: what it is asked with, its energies one after the other, and how they survive a kill."""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.engines.relaxation.recorded import RecordedPotential
from qdip_dft.engines.restart import Shelf
from qdip_dft.model.calculation import EngineResult
from qdip_dft.model.engine import Restart
from qdip_dft.model.structure import Arrangement, StructureRecord

LEAST_VACUUM_ANG = 6.0
"""A gap along the third vector without atoms that makes a structure a slab; crystals have none."""


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
    is_kept_alive
        Whether one start of the code serves all steps: the atoms of a relaxation move in a cell that stays.
    """

    folder: Path
    k_mesh: tuple[int, int, int]
    vacuum: Vacuum | None
    has_fixed_cell: bool
    restart: Restart = Restart.NONE
    is_kept_alive: bool = False


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

    def close(self) -> None:
        """End a program that is kept alive between steps; it leaves its restart files."""

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
        Its folder holds ``evaluations.jsonl``; a line cut short or changed is evaluated again.
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

    def __enter__(self) -> Self:
        """Begin; the program ends with the block, however that ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the program if it is still kept alive."""
        self.run.close()

    def finish(self) -> None:
        """Leave what the next calculation may reuse; delete the rest of what only a restart needs."""
        self.run.close()
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
