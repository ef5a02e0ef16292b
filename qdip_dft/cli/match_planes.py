"""`qdip match DOT HOST --planes N`: which facet of the dot fits which plane of which phase."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from qdip_dft.cli.output import write_json, write_line, write_table
from qdip_dft.model.miller import write_plane

if TYPE_CHECKING:
    from qdip_dft.builders.matching import CellMatch, PlaneMatch
    from qdip_dft.builders.planes import CrystalLattice


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


def rank_planes(
    dot: str, host: str, *, max_index: int, max_area_ang2: float, max_strain: float, limit: int, as_json: bool
) -> None:
    """Print all pairs of planes that have a common cell, the least strained first."""
    pairs = scan_phases(dot, host, max_index=max_index, max_area_ang2=max_area_ang2, max_strain=max_strain)
    shown = pairs[: limit or None]
    if as_json:
        limits = {"max_index": max_index, "max_area_ang2": max_area_ang2, "max_strain": max_strain}
        found = [asdict(pair) for pair in shown]
        write_json({"dot": dot, "host": host, **limits, "n_pairs": len(pairs), "pairs": found})
        return
    if not pairs:
        write_line("No pair has a common cell: raise --max-area or --max-strain.")
        return
    headings = ("dot facet", "film", "strain 1 (%)", "strain 2 (%)", "area (Å²)", "film:dot", "cells")
    rows = [
        (f"{dot}({pair.facet})", f"{pair.phase}({pair.plane})", *(f"{100 * s:+.2f}" for s in pair.principal_strains),
         f"{pair.area_ang2:.1f}", f"{pair.n_film}:{pair.n_dot}", str(pair.n_cells))
        for pair in shown
    ]  # fmt: skip
    caption = "ranked by whole percent of the largest strain, then by area"
    write_table(headings, rows, numbers=headings[2:], caption=f"{len(shown)} of {len(pairs)} pairs, {caption}")


def scan_phases(
    dot: str, host: str, *, max_index: int, max_area_ang2: float, max_strain: float
) -> tuple[RankedPair, ...]:
    """Return every facet, phase and plane with a common cell, ranked.

    Parameters
    ----------
    dot
        Catalogue id or structure file of the dot.
    host
        A host of the library, all of whose phases are scanned, or one phase: catalogue id or structure file.
    max_index
        Largest absolute Miller index.
    max_area_ang2, max_strain
        Limits of the common cell.
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
    from qdip_dft.library import load_catalogue

    if Path(host).is_file():
        return (host,)
    phases = tuple(entry.id for entry in load_catalogue().phases if entry.material == host)
    return phases or (host,)


def _load_lattice(name: str) -> CrystalLattice:
    from qdip_dft.builders.ions import find_ions
    from qdip_dft.builders.orientation import find_lattice
    from qdip_dft.library import load_crystal_record

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
