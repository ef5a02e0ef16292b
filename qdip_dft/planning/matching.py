"""Which facet of a dot fits which plane of a host: the common cells of two planes, and all pairs of planes ranked."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from qdip_dft.library.collections import load_catalogue
from qdip_dft.library.crystals import load_crystal_record
from qdip_dft.model.miller import write_plane

if TYPE_CHECKING:
    from qdip_dft.builders.faces import OrientedFace
    from qdip_dft.builders.matching import CellMatch, PlaneMatch
    from qdip_dft.builders.planes import CrystalLattice

MAX_AREA_ANG2 = 400.0
"""Largest area of a common cell in Å², unless another is asked for."""

MAX_STRAIN = 0.05
"""Largest principal strain, as a fraction, unless another is asked for."""


@dataclass(frozen=True, slots=True)
class RankedPair:
    """A facet, a plane of a phase, and the best of their common cells.

    Parameters
    ----------
    facet, phase, plane
        Such as ``111``, ``CsPbI3-gamma`` and ``1-10``.
    area_ang2, n_film, n_dot
        Area of the cell in Å² and how many surface cells of film and dot it holds.
    principal_strains
        Of the film, as fractions; negative: compressed.
    n_cells
        Common cells of the pair within the limits.
    """

    facet: str
    phase: str
    plane: str
    area_ang2: float
    n_film: int
    n_dot: int
    principal_strains: tuple[float, float]
    n_cells: int

    @property
    def rank(self) -> tuple[int, float]:
        """Whole percent of strain, rounded up, then the area: a smaller cell is worth no further percent."""
        return ceil(100 * max(map(abs, self.principal_strains)) - 1e-9), self.area_ang2


def match(
    dot: str, dot_plane: str, phase: str, film_plane: str, *,
    max_area_ang2: float = MAX_AREA_ANG2, max_strain: float = MAX_STRAIN,
) -> tuple[CellMatch, ...]:  # fmt: skip
    """Return the common cells of a facet of a dot and a plane of a film, the smallest first.

    The strains are those of the film on the unstrained dot: ``film_matrix @ film_2d``, turned and strained, becomes
    ``dot_matrix @ dot_2d``.  Which cell is the physical one is a choice: the least strained one is the largest.

    Parameters
    ----------
    dot, phase
        Catalogue id or structure file.
    dot_plane, film_plane
        Miller indices of the conventional cells, such as ``111`` or ``1-10``.
    max_area_ang2
        Largest area of the cell in Å².
    max_strain
        Largest principal strain, as a fraction.

    Raises
    ------
    MatchError
        If there is no common cell within the limits; it names the nearest.

    Examples
    --------
    >>> cells = match("PbS", "100", "CsPbI3-alpha", "100", max_area_ang2=250)
    >>> [(cell.n_film, cell.n_dot, round(cell.area_ang2, 1)) for cell in cells if cell.is_pareto][-1]
    (4, 9, 158.3)

    As a table of pandas: ``pandas.DataFrame(list(cells))``.
    """
    return match_faces(
        load_face(phase, film_plane), load_face(dot, dot_plane), max_area_ang2=max_area_ang2, max_strain=max_strain
    )


def match_faces(
    film: OrientedFace, dot: OrientedFace, *, max_area_ang2: float, max_strain: float
) -> tuple[CellMatch, ...]:
    """Return the common cells of two faces; see `match`."""
    from qdip_dft.builders.matching import require_matches
    from qdip_dft.builders.orientation import in_plane_vectors

    film_2d, dot_2d = in_plane_vectors(film.oriented), in_plane_vectors(dot.oriented)
    return require_matches(film_2d, dot_2d, max_area_ang2=max_area_ang2, max_strain=max_strain)


def load_face(crystal: str, plane: str) -> OrientedFace:
    """Return a crystal, by catalogue id or structure file, with a plane of its conventional cell on top."""
    from qdip_dft.builders.faces import orient_face

    return orient_face(load_crystal_record(crystal), plane)


def rank_planes(
    dot: str, host: str, *, max_index: int = 1, max_area_ang2: float = MAX_AREA_ANG2, max_strain: float = MAX_STRAIN
) -> tuple[RankedPair, ...]:
    """Return every facet, phase and plane with a common cell, by whole percent of the largest strain, then by area.

    Lattices alone are compared: equal planes may end in different atoms.

    Parameters
    ----------
    dot
        Catalogue id or structure file of the dot.
    host
        A host of the library, all of whose phases are scanned, or one phase: catalogue id or structure file.
    max_index
        Largest absolute Miller index.
    max_area_ang2, max_strain
        Limits of the common cell, in Å² and as a fraction.

    Examples
    --------
    >>> best = rank_planes("PbS", "CsPbI3-alpha", max_area_ang2=250)[0]
    >>> best.facet, best.plane, best.n_film, best.n_dot
    ('100', '100', 4, 9)
    """
    from qdip_dft.builders.matching import scan_planes

    dot_lattice = _load_lattice(dot)
    pairs = [
        _rank(phase, match)
        for phase in list_phases(host)
        for match in scan_planes(
            _load_lattice(phase), dot_lattice, max_index=max_index, max_area_ang2=max_area_ang2, max_strain=max_strain
        )
    ]
    return tuple(sorted(pairs, key=lambda pair: pair.rank))


def list_phases(host: str) -> tuple[str, ...]:
    """Return the phases of a host in the library; a phase or a file stands for itself."""
    if Path(host).is_file():
        return (host,)
    phases = tuple(entry.id for entry in load_catalogue().phases if entry.material == host)
    return phases or (host,)


def _load_lattice(name: str) -> CrystalLattice:
    from qdip_dft.builders.ions import find_ions
    from qdip_dft.builders.orientation import find_lattice

    crystal = load_crystal_record(name)
    return find_lattice(find_ions(crystal.structure, crystal.formal_charges))


def _rank(phase: str, match: PlaneMatch) -> RankedPair:
    pairs = [_describe(phase, match, cell) for cell in match.cells]
    return min(pairs, key=lambda pair: pair.rank)


def _describe(phase: str, match: PlaneMatch, cell: CellMatch) -> RankedPair:
    return RankedPair(
        facet=write_plane(match.dot_hkl),
        phase=phase,
        plane=write_plane(match.film_hkl),
        area_ang2=cell.area_ang2,
        n_film=cell.n_film,
        n_dot=cell.n_dot,
        principal_strains=cell.principal_strains,
        n_cells=len(match.cells),
    )
