"""Layered partners: Ruddlesden-Popper hosts with long spacer cations, and ordered molecular salts.

A (PEA)₂Cs(n−1)PbₙBr(3n+1) host is n sheets of corner-sharing PbBr6 octahedra between two layers of phenethylammonium.
Here the sheets are straight, with the Pb–Br distance of the cubic perovskite.  Above each hollow of a sheet stands one
PEA with its ammonium group between the apical bromides; the PEA below the sheet is its image under a twofold axis in
the middle of the sheet, so that the dipoles of the two cancel.  The next sheet is shifted by half a square diagonal, as
in Ruddlesden and Popper, Acta Cryst. 11, 54 (1958), which gives a cell of one formula unit.  Only the molecule and the
octahedra are known; place and orientation of the PEA are chosen at random and the spacing of the sheets is the least
that leaves room for them, so these crystals are starting points and not refinements.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from crystal_builders.molecules import OrganicCation, build_phenethylammonium
from qdip_dft.errors import StructureError
from qdip_dft.model.elements import MIN_HYDROGEN_HALIDE_ANG
from qdip_dft.model.snapping import first_least

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pymatgen.core import Structure

    Array = NDArray[np.float64]

INTERMOLECULAR_LIMITS_ANG = {
    ("H", "H"): 2.05,
    ("C", "H"): 2.55,
    ("H", "N"): 2.5,
    ("C", "C"): 3.3,
    ("C", "N"): 3.2,
    ("N", "N"): 3.5,
}
"""Shortest contacts of atoms of two molecules: about 0.87 of the sums of the van der Waals radii."""

HALIDE_LIMITS_ANG = {"H": MIN_HYDROGEN_HALIDE_ANG, "C": 3.45, "N": 3.2}
"""Shortest contacts of a molecule's atoms with bromide."""

N_SPACER_PLACEMENTS = 20_000
"""Random placements of a spacer cation that are compared."""

_TWOFOLD_AXIS = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True, slots=True)
class LayeredCell:
    """The inorganic part of a layered host.

    Parameters
    ----------
    n_sheets
        Octahedra across one slab, n of (PEA)₂Cs(n−1)PbₙBr(3n+1).
    bond_ang
        Pb–Br distance in Å.
    gap_ang
        Distance in Å from the outermost Pb plane of one slab to the first of the next.
    """

    n_sheets: int
    bond_ang: float
    gap_ang: float

    @property
    def edge_ang(self) -> float:
        """Edge of the square sheet in Å."""
        return 2.0 * self.bond_ang

    @property
    def lattice_ang(self) -> Array:
        """Lattice, rows in Å; the third vector carries the shift of the next slab."""
        edge, period = self.edge_ang, (self.n_sheets - 1) * self.edge_ang + self.gap_ang
        return np.array([[edge, 0.0, 0.0], [0.0, edge, 0.0], [edge / 2.0, edge / 2.0, period]])

    @property
    def ions(self) -> tuple[tuple[str, tuple[float, float, float]], ...]:
        """Label and Cartesian position in Å of every inorganic ion, the slab centred on z = 0."""
        edge, bond = self.edge_ang, self.bond_ang
        bottom = -0.5 * (self.n_sheets - 1) * edge
        leads = [bottom + i * edge for i in range(self.n_sheets)]
        ions = [("Cs", (bond, bond, z + bond)) for z in leads[:-1]]
        ions += [("Pb", (0.0, 0.0, z)) for z in leads]
        ions += [("Br", place) for z in leads for place in ((bond, 0.0, z), (0.0, bond, z))]
        ions += [("Br", (0.0, 0.0, z - bond)) for z in leads] + [("Br", (0.0, 0.0, leads[-1] + bond))]
        return tuple(ions)


def build_layered_host(cell: LayeredCell, *, seed: int) -> Structure:
    """Build (PEA)₂Cs(n−1)PbₙBr(3n+1) with whole cations: first the ions, then the PEA above and below the slab.

    Parameters
    ----------
    cell
        The inorganic slab and the room between two of them.
    seed
        Seed of the placements of the PEA.

    Raises
    ------
    StructureError
        If no placement keeps the contacts, for instance because the gap is too narrow.
    """
    from pymatgen.core import Lattice, Structure

    spacer = build_phenethylammonium()
    above = place_spacer(cell, spacer, seed=seed)
    species = [label for label, _ in cell.ions] + 2 * list(spacer.symbols)
    positions = np.vstack([[position for _, position in cell.ions], above, above @ _TWOFOLD_AXIS])
    return Structure(Lattice(cell.lattice_ang), species, positions, coords_are_cartesian=True)


def place_spacer(cell: LayeredCell, spacer: OrganicCation, *, seed: int) -> Array:
    """Return the positions in Å of the spacer above the slab, shape (n_atoms, 3).

    Of random orientations and places of the ammonium group near the hollow, those that keep every contact are left;
    the one whose ammonium hydrogens are nearest to bromide is taken.

    Raises
    ------
    StructureError
        If none is left.
    """
    placements = _draw_placements(cell, spacer, seed)
    placements = _keep_clear_of_bromides(cell, spacer, placements)
    placements = _keep_clear_of_images(cell, spacer, placements)
    placements = _keep_clear_of_next_slab(cell, spacer, placements)
    if len(placements) == 0:
        raise StructureError(
            f"none of {N_SPACER_PLACEMENTS} placements of {spacer.name} fits into a gap of {cell.gap_ang:g} Å",
            limit="H···H at least 2.05 Å and H···Br at least 2.5 Å",
            why="closer atoms would tear the molecules apart in the first relaxation step",
            remedy="widen the gap or take another seed",
        )
    chosen: Array = placements[first_least(_hydrogen_bond_sums(cell, spacer, placements))]
    return chosen


def _draw_placements(cell: LayeredCell, spacer: OrganicCation, seed: int) -> Array:
    """Return random placements above the hollow, the tail of the molecule pointing away from the slab."""
    from scipy.spatial.transform import Rotation

    generator = np.random.default_rng(seed)
    rotations = Rotation.from_quat(generator.normal(size=(N_SPACER_PLACEMENTS, 4))).as_matrix()
    offsets = generator.uniform([-0.6, -0.6, -0.3], [0.6, 0.6, 0.9], size=(N_SPACER_PLACEMENTS, 3))
    nitrogen = spacer.symbols.index("N")
    top = 0.5 * (cell.n_sheets - 1) * cell.edge_ang + cell.bond_ang
    hollow = np.array([cell.bond_ang, cell.bond_ang, top])
    molecules = np.einsum("rij,aj->rai", rotations, spacer.positions_ang - spacer.positions_ang[nitrogen])
    points_up = molecules[:, :, 2].max(axis=1) > 0.8 * np.linalg.norm(molecules[0], axis=1).max()
    placed: Array = (molecules + (offsets + hollow)[:, None])[points_up]
    return placed


def _bromides(cell: LayeredCell) -> Array:
    """Return the bromides around the hollow and those at the foot of the next slab."""
    slab = np.array([position for label, position in cell.ions if label == "Br"])
    shifts = [np.array([i, j, 0]) @ cell.lattice_ang for i, j in product(range(-1, 3), repeat=2)]
    above = [np.array([i, j, 1]) @ cell.lattice_ang for i, j in product(range(-2, 3), repeat=2)]
    return np.vstack([slab + shift for shift in (*shifts, *above)])


def _keep_clear_of_bromides(cell: LayeredCell, spacer: OrganicCation, placements: Array) -> Array:
    limits = np.array([HALIDE_LIMITS_ANG[symbol] for symbol in spacer.symbols])
    for bromide in _bromides(cell):
        is_clear = (np.linalg.norm(placements - bromide, axis=2) >= limits).all(axis=1)
        placements = placements[is_clear]
    return placements


def _keep_clear_of_images(cell: LayeredCell, spacer: OrganicCation, placements: Array) -> Array:
    """Return the placements that do not touch their own images beside them."""
    for i, j in ((1, 0), (0, 1), (1, 1), (1, -1)):
        shift = np.array([i, j, 0]) @ cell.lattice_ang
        placements = placements[_are_apart(spacer, placements, placements + shift)]
    return placements


def _keep_clear_of_next_slab(cell: LayeredCell, spacer: OrganicCation, placements: Array) -> Array:
    """Return the placements that do not touch the spacers below the next slab."""
    for i, j in product(range(-2, 3), repeat=2):
        shift = np.array([i, j, 1]) @ cell.lattice_ang
        placements = placements[_are_apart(spacer, placements, placements @ _TWOFOLD_AXIS + shift)]
    return placements


def _are_apart(spacer: OrganicCation, placements: Array, neighbours: Array) -> NDArray[np.bool_]:
    """Return for each placement whether all contacts with its neighbouring molecule are long enough."""
    limits = np.array(
        [[INTERMOLECULAR_LIMITS_ANG[min(a, b), max(a, b)] for b in spacer.symbols] for a in spacer.symbols]
    )
    distances = np.linalg.norm(placements[:, :, None] - neighbours[:, None], axis=3)
    is_apart: NDArray[np.bool_] = (distances >= limits).all(axis=(1, 2))
    return is_apart


def _hydrogen_bond_sums(cell: LayeredCell, spacer: OrganicCation, placements: Array) -> Array:
    """Return the sum of the distances from each ammonium hydrogen to its nearest bromide."""
    nitrogen = spacer.positions_ang[spacer.symbols.index("N")]
    near = np.linalg.norm(spacer.positions_ang - nitrogen, axis=1) < 1.2
    ammonium = [i for i, symbol in enumerate(spacer.symbols) if symbol == "H" and near[i]]
    distances = np.linalg.norm(placements[:, ammonium, None] - _bromides(cell), axis=3)
    sums: Array = distances.min(axis=2).sum(axis=1)
    return sums


def place_along(
    cage: Structure, cation: OrganicCation, *, centre_frac: Sequence[float], axis: Sequence[float], turn_deg: float
) -> Structure:
    """Put a cation at a centre with its C–N axis along a direction.

    Parameters
    ----------
    cage
        The framework, with the cations placed so far; a copy is returned.
    cation
        A molecule with N, such as MA or FA; of several the first N is meant.
    centre_frac
        Fractional coordinates of its centre of mass.
    axis
        Cartesian direction from the C that is bonded to N towards N.
    turn_deg
        Turn about this direction in degrees.
    """
    from scipy.spatial.transform import Rotation

    nitrogen = cation.positions_ang[cation.symbols.index("N")]
    carbons = cation.positions_ang[[symbol == "C" for symbol in cation.symbols]]
    bond = nitrogen - carbons[np.linalg.norm(carbons - nitrogen, axis=1).argmin()]
    target = np.array(axis, dtype=float) / np.linalg.norm(axis)
    rotation = _rotation_between(bond / np.linalg.norm(bond), target)
    turned = Rotation.from_rotvec(np.radians(turn_deg) * target).as_matrix() @ rotation
    filled = cage.copy()
    centre_ang = cage.lattice.get_cartesian_coords(centre_frac)
    for symbol, position in zip(cation.symbols, cation.positions_ang @ turned.T, strict=True):
        filled.append(symbol, centre_ang + position, coords_are_cartesian=True)
    return filled


def _rotation_between(start: Array, end: Array) -> Array:
    """Return a rotation that carries one unit vector to another."""
    from scipy.spatial.transform import Rotation

    normal = np.cross(start, end)
    sine, cosine = float(np.linalg.norm(normal)), float(start @ end)
    if sine < 1e-9:
        other = np.cross(start, np.eye(3)[np.abs(start).argmin()])
        return np.asarray(
            Rotation.from_rotvec((0.0 if cosine > 0 else np.pi) * other / np.linalg.norm(other)).as_matrix()
        )
    return np.asarray(Rotation.from_rotvec(np.arctan2(sine, cosine) * normal / sine).as_matrix())
