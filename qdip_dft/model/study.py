"""What a user asks: one study file, validated before anything runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from qdip_dft.errors import SlabError
from qdip_dft.model.base import WrittenRecord, is_missing
from qdip_dft.model.engine import EngineSpec, PresetName
from qdip_dft.model.miller import write_plane
from qdip_dft.model.orientation import IntegerMatrix2
from qdip_dft.model.reference import BulkChoice
from qdip_dft.model.structure import FILM_PART, StructureRecord
from qdip_dft.model.study_versions import NEWEST_STUDY_VERSION


class PhaseRole(StrEnum):
    """The part that a phase plays in the comparison."""

    BLACK = "black"
    """The wanted perovskite phase."""
    COMPETITOR = "competitor"
    """What it is compared with: the yellow phase."""


class Completion(StrEnum):
    """How a film that ends with charged layers is made neutral; both faces change alike."""

    ADDED_HALIDE = "added-halide"
    """Halides on the sites where the crystal would continue."""
    A_VACANCY = "a-vacancy"
    """Vacancies of the monovalent cations nearest to the face."""


class Environment(StrEnum):
    """What surrounds a film."""

    EMBEDDED = "embedded"
    """The dot on both sides, repeated without vacuum: a host between quantum dots."""
    CAPPED = "capped"
    """The dot below, vacuum above: a core-shell object or a thin coating."""


class CellChoice(StrEnum):
    """Which cell of the Pareto front of area against strain is built."""

    SMALLEST = "smallest"
    """The smallest cell within the strain limit: cheapest."""
    LEAST_STRAINED = "least-strained"
    """The least strained cell within the area limit: closest to a semi-coherent interface."""


class OrientationPolicy(StrEnum):
    """Which film plane stands for a phase where several are computed."""

    LOWEST = "lowest"
    """The plane of lowest total."""
    PINNED = "pinned"
    """The first plane that is named, whatever the others give: the one that was seen in experiment."""


def _read_plane(value: Any) -> str:
    """Read a plane as text or list; a bare number is one only where all three digits are left of it."""
    is_plane = isinstance(value, (str, list, tuple, int)) and not isinstance(value, bool)
    if not is_plane or (isinstance(value, int) and not 100 <= value <= 999):
        raise ValueError(f'{value!r} is no plane: write it in quotes or as a list, such as ["001"] or [[0, 0, 1]]')
    try:
        return write_plane(str(value) if isinstance(value, int) else value)
    except SlabError as error:
        raise ValueError(f"{error.what}: {error.limit}; {error.remedy}") from error


Plane = Annotated[str, BeforeValidator(_read_plane)]
"""Miller indices of the conventional cell as text, such as ``111``, ``1-10`` or ``11,0,0``."""


Fraction = Annotated[float, Field(ge=-10, le=10)]
"""A displacement as a fraction of a cell; whole cells mean nothing."""


class DotSpec(WrittenRecord):
    """The quantum-dot material and its facets.

    Parameters
    ----------
    material
        Catalogue id or structure file.
    facets
        Planes of the dot that carry the film; each gives a result of its own.
    min_thickness_ang
        Least thickness of the dot slab in Å, passivating ions not counted.
    passivation
        Monovalent anion that neutralizes a polar, cation-terminated facet: a halide such as ``I``, or ``OH``; None:
        refuse polar facets.
    thicknesses
        How many thicknesses of the dot slab are computed under the two films that are compared; each further one has
        one lattice plane more.
    """

    material: str
    facets: tuple[Plane, ...] = Field(min_length=1)
    min_thickness_ang: float = Field(default=10.0, gt=0, le=200)
    passivation: str | None = None
    thicknesses: int = Field(default=1, ge=1, le=8)


class MoleculeSpec(WrittenRecord):
    """A molecular ion that the crystal library does not know.

    Parameters
    ----------
    file
        XYZ file of one whole molecule, hydrogens included; it is known by its atoms.
    charge
        Its formal charge in e; zero for a solvent molecule.
    """

    file: str
    charge: int = Field(ge=-4, le=4)


class GivenInterface(WrittenRecord):
    """An interface as somebody else joined it: where the film lies on the dot; or a film alone, as a slab.

    Parameters
    ----------
    structure
        Its atoms; the part of each is ``dot`` or ``film``.
    film_matrix, dot_matrix
        The common cell in 1 × 1 surface cells of film and dot; None: found from the lattice vectors.
    """

    @property
    def is_film_alone(self) -> bool:
        """Whether there is no dot: termination and thickness are given, cell and registry are searched."""
        return set(self.structure.parts) == {FILM_PART}

    structure: StructureRecord
    film_matrix: IntegerMatrix2 | None = None
    dot_matrix: IntegerMatrix2 | None = None


class PhaseSpec(WrittenRecord):
    """One phase of the host and the film planes to try.

    Parameters
    ----------
    phase
        Catalogue id or structure file.
    role
        Black phase or competitor.
    planes
        Film planes that may lie on the dot; the phase takes its lowest total, all candidates stay visible.
    termination
        Chemical layer of the film that touches the dot, such as ``PbI2`` or ``FAI``, for a stoichiometric film; or the
        layers of both faces, bottom first, such as ``PbI2|PbI2``; None: the stoichiometric film that breaks the least
        bond valence.
    completion
        How a film of charged layers, such as ``Pb|Pb`` of a (111) plane, is made neutral; None: it is refused.
    further_terminations
        Other terminations that are computed as well, written like ``termination``; each is a candidate of every plane.
    orientation
        Which plane stands for the phase: that of lowest total, or the first one, pinned; others stay in the ranking.
    interface
        An interface of this phase on the dot that decides about cell, termination, registry and gap, or a slab of it
        that decides about its termination; a study file names a file of pymatgen's `Interface` or `Slab`.  None: they
        are searched.
    """

    phase: str
    role: PhaseRole
    planes: tuple[Plane, ...] = Field(min_length=1)
    termination: str | None = None
    completion: Completion | None = None
    further_terminations: tuple[str, ...] = Field(default=(), max_length=10)
    orientation: OrientationPolicy = OrientationPolicy.LOWEST
    interface: GivenInterface | None = Field(default=None, exclude_if=is_missing)

    @model_validator(mode="after")
    def _completion_needs_a_pair(self) -> PhaseSpec:
        if self.completion is not None and "|" not in (self.termination or ""):
            raise ValueError('completion needs the layers of both faces as termination, such as "Pb|Pb"')
        return self

    @model_validator(mode="after")
    def _further_terminations_are_others(self) -> PhaseSpec:
        named = (self.termination, *self.further_terminations)
        if len(set(named)) < len(named) or (self.further_terminations and self.completion is not None):
            raise ValueError(
                "further_terminations must differ from each other and from termination, without completion"
            )
        return self


class ProductOnDot(WrittenRecord):
    """The product of a decomposition that stays on the dot as a film, such as the metal halide.

    Parameters
    ----------
    phase
        One of the products.
    planes
        Film planes that may lie on the dot; that of lowest energy counts, all stay visible.
    termination
        As for a phase of the host.
    """

    phase: str
    planes: tuple[Plane, ...] = Field(min_length=1)
    termination: str | None = None


class DecompositionSpec(WrittenRecord):
    """Compounds that the host may fall apart into.

    Parameters
    ----------
    products
        Catalogue ids or structure files, such as ``MAI`` and ``PbI2``; their amounts follow from the compositions.
    on_dot
        The product that covers the dot as the host did; the others are bulk solids away from it.  None: all are, and
        the answer is an upper bound of what the dot gains.
    """

    products: tuple[str, ...] = Field(min_length=1)
    on_dot: ProductOnDot | None = None

    @model_validator(mode="after")
    def _is_a_product(self) -> DecompositionSpec:
        if self.on_dot is not None and self.on_dot.phase not in self.products:
            raise ValueError(f"on_dot must be one of the products {', '.join(self.products)}")
        return self


class MatchingSpec(WrittenRecord):
    """Limits of the search for common cells.

    Parameters
    ----------
    max_area_ang2
        Largest area of the common cell in Å².
    max_strain
        Largest absolute principal strain (fraction).
    strain_partition
        0: the film takes all strain; 1: the dot; between: linear in the deformation.  ``auto``: the share of least
        elastic energy, from bulk moduli and thicknesses.
    choice
        Which cell of the Pareto front is built.
    """

    max_area_ang2: float = Field(default=250.0, gt=0, le=5000)
    max_strain: float = Field(default=0.05, gt=0, le=0.2)
    strain_partition: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = 0.0
    choice: CellChoice = CellChoice.SMALLEST


class ReservoirSpec(WrittenRecord):
    """The two compounds that supply what a non-stoichiometric film has too much of, as bulk solids.

    Parameters
    ----------
    ax
        Catalogue id or structure file of the monovalent cation's halide, such as ``CsI``.
    bx2
        That of the metal's halide, such as ``PbI2``; together they must make up the host.
    """

    ax: str
    bx2: str


class TurnChoice(StrEnum):
    """Which orientations of the film on its interface cell are compared."""

    NONE = "none"
    """As cut only."""
    HALF_TURNS = "half-turns"
    """Also turned by 180° and, unless the study names the termination that touches the dot, upside down."""


class RegistryScanSpec(WrittenRecord):
    """How registry, gap and orientation of a film are found before anything but the bulks is relaxed.

    Parameters
    ----------
    n_kept
        How many of the best registries become candidates.
    grid_spacing_ang
        Largest distance of neighbouring lateral positions in Å.
    turns
        Which orientations are tried.
    engine
        The engine of the scan; None: the study's own where that is a potential, otherwise ``mlip``.
    """

    n_kept: int = Field(default=1, ge=1, le=20)
    grid_spacing_ang: float = Field(default=1.0, ge=0.2, le=5)
    turns: TurnChoice = TurnChoice.HALF_TURNS
    engine: EngineSpec | None = None


class FilmSpec(WrittenRecord):
    """How every film is built.

    Parameters
    ----------
    min_thickness_ang
        Least thickness of the film in Å; whole formula units, at least one lattice plane.
    reference_periods
        Lattice planes of the strained-bulk reference along its normal: 1, or 2 to let the reference tilt out of phase.
    registries
        In-plane displacements of the film against the dot, as fractions of the 1 × 1 film cell; each is a candidate, as
        cut and at contact.  None: found by a registry scan wherever the registry matters.
    registry_scan
        How registry, gap and orientation are found.
    reservoirs
        Compounds whose chemical potentials the excess of a non-stoichiometric film is counted with; needed, and
        calculated, only for such films.
    thicknesses
        How many thicknesses of the two films that are compared are computed; each further one has one more reference
        cell (``reference_periods`` lattice planes).  From three on a line is fitted.
    """

    min_thickness_ang: float = Field(default=12.0, gt=0, le=200)
    reference_periods: int = Field(default=1, ge=1, le=4)
    registries: tuple[tuple[Fraction, Fraction], ...] | None = Field(default=None, min_length=1)
    registry_scan: RegistryScanSpec = RegistryScanSpec()
    reservoirs: ReservoirSpec | None = None
    thicknesses: int = Field(default=1, ge=1, le=8)

    @model_validator(mode="after")
    def _is_given_or_scanned(self) -> FilmSpec:
        if self.registries is not None and self.registry_scan != RegistryScanSpec():
            raise ValueError("give registries, or registry_scan to find them, not both")
        return self


class UncertaintySpec(WrittenRecord):
    """What is varied, one thing at a time, around the two films that are compared, to say how sure the answer is.

    Parameters
    ----------
    orientations
        Orientations of the organic cations per phase, the study's own among them; the others are drawn at random.
    terminations
        Terminations of each film, the study's own among them; the others are the stoichiometric ones that break the
        least bond valence.
    preset
        A finer preset: its difference is the error of k-points, cutoff and force threshold.
    models
        Other engines or potentials that compute the same two films.
    counterpoise
        Whether the basis functions that dot and film borrow from each other are counted; for engines whose functions
        sit on atoms.
    """

    orientations: int = Field(default=1, ge=1, le=20)
    terminations: int = Field(default=1, ge=1, le=6)
    preset: PresetName | None = None
    models: tuple[EngineSpec, ...] = Field(default=(), max_length=10)
    counterpoise: bool = Field(default=False, exclude_if=lambda is_asked: not is_asked)


class EnsembleSpec(WrittenRecord):
    """How the candidates of a phase are weighed against each other.

    Parameters
    ----------
    temperature_k
        Temperature of the Boltzmann weights in K.
    patch_area_ang2
        Area that grows as one film, with one plane, termination and registry, in Å².
    """

    temperature_k: float = Field(default=300.0, gt=0, le=2000)
    patch_area_ang2: float = Field(default=400.0, gt=0, le=1e6)


class DotCoverage(WrittenRecord):
    """The host per dot area of spherical dots that fill a share of the volume: n* = R (1 − x) / (3 x v).

    Parameters
    ----------
    dot_radius_ang
        Radius R in Å.
    loading
        Volume fraction x of the dots.
    """

    dot_radius_ang: float = Field(gt=0, le=1000)
    loading: float = Field(gt=0, lt=1)


THINNER_FILM: Final = "thinner-film"

Coverage = Literal["thinner-film"] | Annotated[float, Field(gt=0, le=10)] | DotCoverage
"""At which n* both sides are compared; see docs/decisions/0034."""


FormalCharge = Annotated[int, Field(ge=-8, le=8, strict=True)]
"""Formal charge of an ion in e."""


class StudySpec(WrittenRecord):
    """A study: which phase wins on this dot, by how much, and why.

    Two studies are equal if they ask the same; where their files lie does not count.  One of schema version 1 that says
    nothing else has films under vacuum, unchecked bulks, and need not compare.

    Parameters
    ----------
    name
        Short name, used for folders and as the id of the result: lower-case letters, digits, dots and dashes.
    variant
        What sets it apart from the study of the same name, such as ``testing`` where it was asked with another engine;
        part of the id of the result.
    question
        What the study answers, in words.
    dot, host, phases, matching, film, engine
        What is compared and how; ``host`` is the material that all phases must be.
    geometry
        Engine of every relaxation, where ``engine`` gives only the energies at the relaxed structures; None: the same.
    prerelaxation
        Engine that relaxes every structure first; the relaxation starts from there.  None: there is none.
    formal_charges
        Charges in e of elements or molecular ions by material or phase, where the common ones are not meant or not
        neutral, such as ``{InP.cif: {In: 3, P: -3}}``.
    molecules
        Molecular ions that the crystal library does not know.
    decomposition
        Competitor made of other compounds instead of, or besides, another phase.
    uncertainty
        What is varied to say how sure the answer is.
    ensemble
        How the candidates of a phase are weighed against each other.
    environment
        Whether the film lies between two dots or under vacuum.
    check_minima
        Whether every bulk is relaxed once more where its octahedra may tilt: a phase that gains is no minimum.
    terms_only
        Whether a study without any competitor may report the terms of its films, as for an inert matrix.
    coverage
        n*, the formula units of host per Å² of dot at which everything is compared: that of the thinner of the two
        films, a number, or what dots of a radius leave at a loading.
    strain_range_ang
        How far the strain of a dot reaches into the host in Å, from a strain map of an embedded dot; None: as isotropic
        elasticity gives it.
    bulk
        Whether the difference of the bulk energies is taken from references, where there are any, or from the engine.
    vacuum_ang
        Vacuum above each slab in Å.
    seed
        Seed of the small displacements that break the symmetry of the strained-bulk start.
    symmetry_breaking_ang
        Standard deviation of these displacements in Å; 0 switches them off.
    """

    schema_version: Literal[2] = NEWEST_STUDY_VERSION
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")
    variant: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9.-]{0,31})?$")
    question: str = ""
    dot: DotSpec
    host: str
    phases: tuple[PhaseSpec, ...] = Field(min_length=1)
    formal_charges: dict[str, dict[str, FormalCharge]] = Field(default_factory=dict)
    molecules: tuple[MoleculeSpec, ...] = Field(default=(), max_length=20)
    decomposition: DecompositionSpec | None = None
    matching: MatchingSpec = MatchingSpec()
    film: FilmSpec = FilmSpec()
    uncertainty: UncertaintySpec = UncertaintySpec()
    ensemble: EnsembleSpec = EnsembleSpec()
    environment: Environment = Environment.EMBEDDED
    check_minima: bool = True
    terms_only: bool = False
    coverage: Coverage = THINNER_FILM
    strain_range_ang: float | None = Field(default=None, gt=0, le=1000, exclude_if=is_missing)
    bulk: BulkChoice = BulkChoice.ANCHORED
    vacuum_ang: float = Field(default=15.0, ge=8, le=100)
    engine: EngineSpec = Field(default_factory=lambda: EngineSpec(name="mlip"))
    geometry: EngineSpec | None = None
    prerelaxation: EngineSpec | None = None
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    symmetry_breaking_ang: float = Field(default=0.02, ge=0, le=0.2)
    _folder: Path = PrivateAttr(default_factory=Path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StudySpec) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def folder(self) -> Path:
        """Where the paths of its files start from: the folder of its own file, else the working directory."""
        return self._folder

    def place_in(self, folder: Path) -> StudySpec:
        """The same study with paths that start from a folder."""
        placed = self.model_copy()
        placed._folder = folder  # noqa: SLF001 (its own)
        return placed

    @model_validator(mode="after")
    def _phases_are_distinct(self) -> StudySpec:
        if PhaseRole.BLACK not in {phase.role for phase in self.phases}:
            raise ValueError("phases must name at least one black phase")
        names = [phase.phase for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError("each phase may be named once; give all its planes there")
        return self

    @model_validator(mode="after")
    def _charges_are_those_of_its_crystals(self) -> StudySpec:
        foreign = [name for name in self.formal_charges if name not in self.crystals]
        if foreign:
            raise ValueError(
                f"formal_charges names {foreign[0]}, which the study does not; it names {', '.join(self.crystals)}"
            )
        return self

    @model_validator(mode="after")
    def _relaxes_once_per_engine(self) -> StudySpec:
        relaxing = self.geometry or self.engine.model_copy(update={"spin_orbit": False})
        if self.prerelaxation is not None and self.prerelaxation == relaxing:
            raise ValueError("prerelaxation names the engine that relaxes anyway; leave it out")
        return self

    @model_validator(mode="after")
    def _relaxes_without_spin_orbit(self) -> StudySpec:
        if any(spec is not None and spec.spin_orbit for spec in (self.geometry, self.prerelaxation)):
            raise ValueError("relaxations are done without spin-orbit coupling; set spin_orbit in engine alone")
        return self

    @property
    def crystals(self) -> tuple[str, ...]:
        """Every material and phase that the study names, the dot first, then the phases of the host."""
        products = () if self.decomposition is None else self.decomposition.products
        reservoirs = () if self.film.reservoirs is None else (self.film.reservoirs.ax, self.film.reservoirs.bx2)
        return tuple(
            dict.fromkeys((self.dot.material, *(phase.phase for phase in self.phases), *products, *reservoirs))
        )

    @property
    def id(self) -> str:
        """Return the name and, where there is one, the variant, such as ``pbs-fapbi3+testing``."""
        return _join_variant(self.name, self.variant)

    def result_id(self, facet: str) -> str:
        """Return the id of the result on a facet, such as ``pbs-fapbi3@111``; the facet is left out if it is alone."""
        return _join_variant(
            self.name if len(self.dot.facets) == 1 else f"{self.name}@{facet.replace(',', '.')}", self.variant
        )

    @property
    def films(self) -> tuple[PhaseSpec, ...]:
        """What may cover the dot: the phases of the host, and the product of its decomposition that stays there."""
        product = None if self.decomposition is None else self.decomposition.on_dot
        if product is None:
            return self.phases
        film = PhaseSpec(
            phase=product.phase, role=PhaseRole.COMPETITOR, planes=product.planes, termination=product.termination
        )
        return (*self.phases, film)

    def list_apart(self, film: str) -> tuple[str, ...]:
        """The products of the decomposition that lie off the dot where another of them covers it."""
        if self.decomposition is None or self.decomposition.on_dot is None or film != self.decomposition.on_dot.phase:
            return ()
        return tuple(product for product in self.decomposition.products if product != film)

    def find_pinned_plane(self, phase: str) -> str | None:
        """Return the plane that stands for a phase whatever its total, or None."""
        asked = next((spec for spec in self.phases if spec.phase == phase), None)
        return asked.planes[0] if asked is not None and asked.orientation is OrientationPolicy.PINNED else None

    @property
    def has_competitor(self) -> bool:
        """Return whether the black phase is compared with anything."""
        return self.decomposition is not None or any(p.role is PhaseRole.COMPETITOR for p in self.phases)


def _join_variant(name: str, variant: str) -> str:
    return f"{name}+{variant}" if variant else name
