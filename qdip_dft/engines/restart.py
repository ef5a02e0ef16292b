"""Densities and wavefunctions that one calculation leaves for the next.

The static calculation that follows a relaxation, and neighbouring gaps and lateral positions of an interface, have the
same cell, the same atoms in the same order and the same level of theory: what the last of them left starts the next
closer to its ground state.  A calculation with spin-orbit coupling that finds nothing of its own takes the density, but
never the wavefunctions, of one without.  Files are kept in the scratch folder, the newest only.  A code that finds them
unusable leaves them out and says so.  The ground state does not depend on where its search starts: energies agree to
1e-5 eV.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qdip_dft.engines.base import Feature
from qdip_dft.model.calculation import LevelOfTheory
from qdip_dft.model.engine import Restart
from qdip_dft.model.structure import Arrangement

MOST_SHELVES = 4
"""Wavefunctions are large: only the newest are kept."""

FEATURES_OF_RESTART: dict[Restart, Feature | None] = {
    Restart.NONE: None,
    Restart.DENSITY: Feature.RESTART_DENSITY,
    Restart.WAVEFUNCTIONS: Feature.RESTART_WAVEFUNCTIONS,
    Restart.FULL: None,
}
"""The feature that a code needs; ``full`` takes whatever the code can reuse."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where the restart files of one cell, its atoms and its level of theory lie.

    Parameters
    ----------
    folder
        The place; it need not exist.
    """

    folder: Path

    @classmethod
    def of(cls, scratch: Path, theory: LevelOfTheory, arrangement: Arrangement, k_mesh: tuple[int, int, int]) -> Shelf:
        """Return the shelf of an arrangement; the places of its atoms do not matter."""
        digest = hashlib.sha256(theory.model_dump_json().encode())
        digest.update(" ".join([*arrangement.kinds, *map(str, k_mesh)]).encode())
        digest.update((np.round(arrangement.lattice_ang, 6) + 0.0).tobytes())
        return cls(scratch / "restart" / f"{theory.engine}-{digest.hexdigest()[:20]}")

    def take(self, folder: Path, names: Sequence[str]) -> bool:
        """Return whether files that match the names lie in a run's folder, copied from here if it has none."""
        if not _matching(folder, names) and self.folder.is_dir():
            for path in self.folder.iterdir():
                copy = shutil.copytree if path.is_dir() else shutil.copy2
                copy(path, folder / path.name)
        return bool(_matching(folder, names))

    def copy(self, folder: Path, names: Sequence[str]) -> bool:
        """Return whether files that match the names were copied from here to the same places in a run's folder."""
        found = _matching(self.folder, names)
        for path in found:
            target = folder / path.relative_to(self.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        return bool(found)

    def keep(self, folder: Path, names: Sequence[str]) -> None:
        """Move the files of a finished run here, and forget the oldest shelves."""
        found = _matching(folder, names)
        if not found:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for path in found:
            shutil.move(path, self.folder / path.name)
        shelves = sorted(self.folder.parent.iterdir(), key=lambda each: each.stat().st_mtime)
        for old in shelves[:-MOST_SHELVES]:
            shutil.rmtree(old, ignore_errors=True)


def _matching(folder: Path, names: Sequence[str]) -> list[Path]:
    return [path for name in names for path in sorted(folder.glob(name))]
