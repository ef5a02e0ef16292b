"""Strain of every metal-halide octahedron, against its distance from the dot.

The six halide positions r_k of a reference octahedron, counted from their centroid, are carried onto those of the
strained one, v_k, by the linear map that fits best, F = (Σ v_k ⊗ r_k)(Σ r_k ⊗ r_k)⁻¹.  Its polar decomposition
F = R U splits off the tilt R; the stretch U gives the volume strain det U − 1 and, with e = U − 1 and its deviator e',
the von Mises strain √(⅔ e':e').  Tilts therefore cost nothing, and the off-centring of the metal is told apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from qdip_dft.analysis.phases import BRIDGING_HALIDES, METALS, find_halide_bonds
from qdip_dft.errors import StructureError
from qdip_dft.model.structure import StructureRecord

Array = NDArray[np.float64]

N_CORNERS = 6


@dataclass(frozen=True, slots=True)
class OctahedronStrain:
    """The strain of one octahedron.

    Parameters
    ----------
    site
        Site of its metal.
    volume_strain
        det U − 1 (fraction), positive when expanded.
    von_mises_strain
        √(⅔ e':e') (fraction): how far its shape is from that of the reference.
    principal_strains
        Eigenvalues of U − 1, ascending (fraction).
    off_centre_ang
        Distance of the metal from the centroid of its halides, in Å.
    distance_to_surface_ang
        From the metal to the nearest ion of the dot, in Å.
    distance_to_centre_ang
        From the metal to the centroid of the dot, in Å.
    """

    site: int
    volume_strain: float
    von_mises_strain: float
    principal_strains: tuple[float, float, float]
    off_centre_ang: float
    distance_to_surface_ang: float
    distance_to_centre_ang: float


@dataclass(frozen=True, slots=True)
class StrainShell:
    """Octahedra of about the same distance from the dot's surface.

    Parameters
    ----------
    distance_ang
        Mean distance of their metals from the surface, in Å.
    n_octahedra
        How many they are.
    mean_volume_strain, mean_von_mises_strain
        Their means (fraction).
    """

    distance_ang: float
    n_octahedra: int
    mean_volume_strain: float
    mean_von_mises_strain: float


def map_strain(
    structure: StructureRecord,
    *,
    reference: StructureRecord,
    dot_sites: Iterable[int],
    reference_sites: Sequence[int | None] | None = None,
) -> tuple[OctahedronStrain, ...]:
    """Return the strain of every complete octahedron outside the dot, nearest to its surface first.

    Octahedra with fewer than six halides, at the wall of the cavity, have no such strain and are left out.

    Parameters
    ----------
    structure
        Dot and host, relaxed or not.
    reference
        The unstrained host; every kind of its octahedra may serve.
    dot_sites
        Sites of the dot with its passivation.
    reference_sites
        For each site of the structure, that of the reference it came from, or None.  Without it each octahedron is
        compared with the reference octahedron it resembles most, a lower bound of its strain.

    Raises
    ------
    StructureError
        If the reference has no octahedra, or the dot has no sites.
    """
    dot = sorted(set(dot_sites))
    _require_sites(dot, structure.n_atoms)
    ideal = _find_octahedra(reference)
    found = {metal: corners for metal, corners in _find_octahedra(structure).items() if metal not in set(dot)}
    _require_octahedra(ideal)
    surface, centre = _measure_distances(structure, dot, list(found))
    strains = []
    for index, (metal, corners) in enumerate(found.items()):
        origin = None if reference_sites is None else reference_sites[metal]
        shapes = list(ideal.values()) if origin is None else [ideal[origin]]
        stretches = min((_fit_stretch(shape, corners) for shape in shapes), key=_measure_change)
        strains.append(
            OctahedronStrain(
                site=metal,
                volume_strain=float(np.prod(stretches) - 1),
                von_mises_strain=_von_mises(stretches - 1),
                principal_strains=(float(stretches[0] - 1), float(stretches[1] - 1), float(stretches[2] - 1)),
                off_centre_ang=float(np.linalg.norm(corners.mean(axis=0))),
                distance_to_surface_ang=float(surface[index]),
                distance_to_centre_ang=float(centre[index]),
            )
        )
    return tuple(sorted(strains, key=lambda strain: (strain.distance_to_surface_ang, strain.site)))


def find_strain_range_ang(strains: Sequence[OctahedronStrain], *, width_ang: float = 3.0) -> float | None:
    """Range of the strain: thickness of the shell around the dot that holds its energy at the density of contact.

    With w = Σ ε², the square of an octahedron's principal strains less its mean in the outermost shell, the shell holds
    Σ w / w(contact) octahedra.  None where the strain does not fall off, or no octahedron has a strain.

    Parameters
    ----------
    strains
        The octahedra, nearest to the surface of the dot first.
    width_ang
        Width of the shells that stand for contact and for the far host, in Å.
    """
    if not strains:
        return None
    distances = np.array([strain.distance_to_surface_ang for strain in strains])
    squares = np.array([sum(part**2 for part in strain.principal_strains) for strain in strains])
    far = squares[distances >= distances[-1] - width_ang].mean()
    contact = squares[distances <= distances[0] + width_ang].mean()
    if contact <= far:
        return None
    n_equivalent = float((squares - far).sum() / (contact - far))
    places = np.concatenate([[0.0], distances])
    return float(np.interp(n_equivalent, np.arange(len(places)), places))


def average_in_shells(strains: Iterable[OctahedronStrain], *, width_ang: float = 3.0) -> tuple[StrainShell, ...]:
    """Return means over shells of equal width around the dot; empty shells are left out.

    Parameters
    ----------
    strains
        The octahedra.
    width_ang
        Width of a shell in Å.
    """
    shells: dict[int, list[OctahedronStrain]] = defaultdict(list)
    for strain in strains:
        shells[int(strain.distance_to_surface_ang // width_ang)].append(strain)
    return tuple(
        StrainShell(
            distance_ang=float(np.mean([strain.distance_to_surface_ang for strain in shells[shell]])),
            n_octahedra=len(shells[shell]),
            mean_volume_strain=float(np.mean([strain.volume_strain for strain in shells[shell]])),
            mean_von_mises_strain=float(np.mean([strain.von_mises_strain for strain in shells[shell]])),
        )
        for shell in sorted(shells)
    )


def _require_sites(dot: Sequence[int], n_atoms: int) -> None:
    if dot and dot[0] >= 0 and dot[-1] < n_atoms:
        return
    raise StructureError(
        f"dot sites {dot[:1]} to {dot[-1:]} of a structure of {n_atoms} atoms",
        limit="the dot must have at least one site, each of the structure",
        why="a strain map needs the distance from the dot",
        remedy="give the sites of the dot and its passivation",
    )


def _require_octahedra(ideal: dict[int, Array]) -> None:
    if ideal:
        return
    raise StructureError(
        "the reference has no metal with six halides",
        limit=f"octahedra of {', '.join(sorted(METALS))} with {', '.join(sorted(BRIDGING_HALIDES))} are mapped",
        why="there is no unstrained octahedron to compare with",
        remedy="give the bulk of the host as the reference",
    )


def _find_octahedra(structure: StructureRecord) -> dict[int, Array]:
    """Return for each metal with six halides the vectors to them, shape (6, 3) in Å; of more, the six nearest."""
    found: dict[int, list[tuple[float, Array]]] = defaultdict(list)
    bonds = find_halide_bonds(structure)
    for metal, distance, vector in zip(bonds.first, bonds.distances_ang, bonds.vectors_ang, strict=True):
        found[int(metal)].append((float(distance), vector))
    return {
        metal: np.array([vector for _, vector in sorted(corners, key=lambda corner: corner[0])[:N_CORNERS]])
        for metal, corners in sorted(found.items())
        if len(corners) >= N_CORNERS
    }


def _fit_stretch(reference: Array, corners: Array) -> Array:
    """Return the eigenvalues of U, ascending, of the best fit over all ways to turn one octahedron into the other."""
    ideal, found = _order_corners(reference - reference.mean(axis=0)), _order_corners(corners - corners.mean(axis=0))
    fits = found[_list_turns()].transpose(0, 2, 1) @ ideal @ np.linalg.inv(ideal.T @ ideal)
    stretches = np.linalg.svd(fits, compute_uv=False)[:, ::-1]
    changes = np.where(np.linalg.det(fits) > 0, np.sum((stretches - 1) ** 2, axis=1), np.inf)
    return np.asarray(stretches[int(np.argmin(changes))])


def _order_corners(corners: Array) -> Array:
    """Return the corners as three opposite pairs (x, −x, y, −y, z, −z) of a right-handed octahedron."""
    directions = corners / np.linalg.norm(corners, axis=1)[:, None]
    cosines = directions @ directions.T
    left, order = list(range(N_CORNERS)), []
    while left:
        first, second = min(((i, j) for i in left for j in left if i < j), key=lambda pair: cosines[pair])
        order += [first, second]
        left = [corner for corner in left if corner not in (first, second)]
    x, y, z = (directions[order[2 * k]] - directions[order[2 * k + 1]] for k in range(3))
    if np.linalg.det([x, y, z]) < 0:
        order[4], order[5] = order[5], order[4]
    return np.asarray(corners[order])


@cache
def _list_turns() -> NDArray[np.int_]:
    """Return the 24 permutations of (x, −x, y, −y, z, −z) that are proper rotations of an octahedron."""
    axes = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)])
    turns = []
    for permutation in permutations(range(N_CORNERS)):
        turned = axes[list(permutation)]
        if np.array_equal(turned[1::2], -turned[::2]) and np.linalg.det(turned[::2]) > 0:
            turns.append(permutation)
    return np.array(turns)


def _measure_change(stretches: Array) -> float:
    return float(np.sum((stretches - 1) ** 2))


def _von_mises(strains: Array) -> float:
    deviator = strains - strains.mean()
    return float(np.sqrt(2 / 3 * np.sum(deviator**2)))


def _measure_distances(structure: StructureRecord, dot: Sequence[int], metals: Sequence[int]) -> tuple[Array, Array]:
    """Return the distance of each metal to the nearest dot site and to the dot's centroid, over periodic images."""
    from pymatgen.core import Lattice

    if not metals:
        return np.empty(0), np.empty(0)
    lattice, coordinates = Lattice(structure.lattice_ang), np.array(structure.frac_coords)
    centroid = coordinates[list(dot)].mean(axis=0)
    surface = np.full(len(metals), np.inf)
    for start in range(0, len(dot), 500):
        block = coordinates[list(dot[start : start + 500])]
        surface = np.minimum(surface, lattice.get_all_distances(coordinates[list(metals)], block).min(axis=1))
    return surface, lattice.get_all_distances(coordinates[list(metals)], centroid[None, :])[:, 0]
