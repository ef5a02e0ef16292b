"""One fully specified interface, in whole numbers only, so that every engine computes the same candidates."""

from __future__ import annotations

from pydantic import Field

from qdip_dft.model.base import Record
from qdip_dft.model.orientation import AS_CUT, FilmTurn, IntegerMatrix2
from qdip_dft.model.slab import DotCut
from qdip_dft.model.study import Environment, PhaseRole


class InterfaceLabel(Record):
    """What people call an interface; nothing is looked up by it.

    Parameters
    ----------
    dot, dot_plane, film, film_plane
        Names of the two crystals and the planes that face each other.
    termination, registry
        What tells it apart from others of the same planes, such as ``PbI2|PbI2`` and ``registry 2``; empty where
        nothing has to.
    apart
        What lies off the dot besides, such as ``MAI``; empty: nothing.
    """

    dot: str
    dot_plane: str
    film: str
    film_plane: str
    termination: str = ""
    registry: str = ""
    apart: str = ""

    @property
    def facet(self) -> str:
        """The dot's side, such as ``PbS(111)``."""
        return f"{self.dot}({self.dot_plane})"

    @property
    def film_side(self) -> str:
        """The film's side, such as ``FAPbI3-alpha(100) PbI2|PbI2 registry 2``."""
        film = " ".join(filter(None, (f"{self.film}({self.film_plane})", self.termination, self.registry)))
        return f"{film} + {self.apart}" if self.apart else film

    @property
    def interface(self) -> InterfaceLabel:
        """The label without the registry: candidates that differ in their registry alone share it."""
        return self.model_copy(update={"registry": ""})

    def __str__(self) -> str:
        return f"{self.facet}//{self.film_side}"


class _Titled(Record):
    """A record with a title for people, stored as text as well, so that it can be read without this package."""

    title: InterfaceLabel
    label: str = Field(default_factory=lambda given: str(given.get("title", "")))


class Candidate(_Titled):
    """One film plane, termination, common cell and registry on one dot facet.

    Everything geometric follows from these choices and the relaxed bulks: the cell was searched on the catalogue's
    lattices, its strains are recomputed with the relaxed ones.

    Parameters
    ----------
    id
        What it is known by within its study: a digest of the choices that make it, unchanged where it is laid,
        thickened or otherwise varied.
    title, label
        For people, such as ``PbS(111)//FAPbI3-alpha(100)``; unique within a study.
    dot, dot_plane, passivation, dot_cut
        Dot material, facet, passivating anion and how its slab is cut.
    phase, role, film_plane, n_film_planes
        Host phase, its role, film plane and number of its lattice planes.
    cut
        For each ion of the film's oriented cell, the lattice plane that it is counted to: the termination.
    termination
        The termination in words: bottom (towards the dot) and top chemical layer.
    closing
        For each ion of the film's oriented cell, its images beyond whole lattice planes; empty: none.
    film_matrix, dot_matrix
        Rows: the common cell in 1 × 1 surface cells of film and dot.
    search_strains
        Principal strains of the film on the catalogue's lattices (fraction).
    search_area_ang2
        Area of the common cell on the catalogue's lattices in Å².
    strain_partition
        Share of the mismatch that the dot takes.
    shift
        In-plane displacement of the film in units of its 1 × 1 cell.
    n_formula_units
        Host formula units N in the film; of a non-stoichiometric one the whole formula units that it holds, on top of
        which it has the excess.
    excess
        Formula units beyond them of the compounds of ``film.reservoirs``, by name; empty for a stoichiometric film.
    turn, gap_offset_ang
        Orientation of the film on the interface cell, and its height above contact of the ions' radii in Å.
    registry_scan, place
        Id of the registry scan that decides on turn, shift and gap, and the rank of the registry that is taken from it,
        counted from 1; None and 0: as given.
    notes
        What was decided on the way, such as the broken bond valence.
    environment
        What surrounds the film: the dot on both sides, or vacuum on one.
    outer_shift, outer_gap_offset_ang
        Of an embedded film: displacement of the next dot against the film as both are built, in units of the film's
        1 × 1 cell, and its height above contact in Å.  None: the dot repeats along the normal.
    apart
        Of a film of a decomposition product, of which each formula unit stands for one of the host: the other products,
        which lie off the dot as bulk solids; empty: the film is the host.
    n_added_dot_planes, n_added_film_planes
        Lattice planes of dot and film, among those counted, that were added on the faces away from the interface to see
        whether the result depends on the thickness.
    """

    id: str
    dot: str
    dot_plane: str
    passivation: str | None
    dot_cut: DotCut
    phase: str
    role: PhaseRole
    film_plane: str
    n_film_planes: int
    cut: tuple[int, ...]
    termination: str
    film_matrix: IntegerMatrix2
    dot_matrix: IntegerMatrix2
    search_strains: tuple[float, float]
    search_area_ang2: float
    strain_partition: float
    shift: tuple[float, float]
    n_formula_units: int
    turn: FilmTurn = AS_CUT
    gap_offset_ang: float = 0.0
    registry_scan: str | None = None
    place: int = 0
    notes: tuple[str, ...] = ()
    closing: tuple[int, ...] = ()
    excess: dict[str, int] = {}
    n_added_dot_planes: int = 0
    n_added_film_planes: int = 0
    environment: Environment = Environment.CAPPED
    outer_shift: tuple[float, float] | None = None
    outer_gap_offset_ang: float = 0.0
    apart: tuple[str, ...] = ()

    @property
    def n_dot_faces(self) -> int:
        """Faces of the dot that touch the film: the area of contact is so many times that of the interface cell."""
        return 2 if self.environment is Environment.EMBEDDED else 1

    @property
    def faces(self) -> tuple[str, str]:
        """The film's chemical layers towards the dot and away from it, as built: a film may lie upside down."""
        bottom, _, top = self.termination.partition("|")
        return (top, bottom) if self.turn.is_flipped else (bottom, top)


class DroppedCandidate(_Titled):
    """A candidate of a phase that was not built, and why."""

    phase: str
    reason: str
