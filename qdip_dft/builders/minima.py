"""A supercell in which a crystal may leave a saddle point: octahedra may tilt in and out of phase.

A static cubic perovskite is no minimum: its octahedra gain energy by tilting, alternately along two axes (M point of
the cubic Brillouin zone, in phase along the third) or along all three (R point).  A cell with one octahedron along an
axis forbids both.  Doubling each axis that is shorter than two octahedra allows them; cells that are tilted already,
and crystals without octahedra, are long enough or become so.  Glazer, Acta Cryst. B 28, 3384 (1972).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from qdip_dft.builders.films import displace_ions
from qdip_dft.builders.ions import IonicCrystal, repeat_crystal

TWO_OCTAHEDRA_ANG: Final = 7.5
"""An axis shorter than this holds one octahedron (5.5 to 6.5 Å) and is doubled; √2 octahedra are longer."""

DISPLACEMENT_ANG: Final = 0.2
"""Standard deviation of the displacements that take the crystal off a saddle point.  With 0.05 Å static alpha-FAPbI3
stays within the threshold of the forces; with 0.2 Å it becomes the tilted phase."""


def build_tilting_cell(crystal: IonicCrystal, *, seed: int) -> IonicCrystal:
    """The crystal in a cell that allows tilts in and out of phase, each ion a little displaced.

    Parameters
    ----------
    crystal
        The relaxed crystal.
    seed
        Seed of the displacements.
    """
    repeats = count_tilting_repeats(crystal)
    return displace_ions(repeat_crystal(crystal, np.diag(repeats)), deviation_ang=DISPLACEMENT_ANG, seed=seed)


def count_tilting_repeats(crystal: IonicCrystal) -> tuple[int, int, int]:
    """How often each axis is repeated."""
    a, b, c = (2 if length < TWO_OCTAHEDRA_ANG else 1 for length in np.linalg.norm(crystal.lattice_ang, axis=1))
    return a, b, c
