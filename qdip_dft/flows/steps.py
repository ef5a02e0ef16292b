"""The calculations of a study as a list of steps, each built from the relaxed results of earlier ones.

    bulk (dot, every phase)          atoms and cell relaxed
    strained bulk (per candidate)    atoms and the third vector relaxed, on the interface cell
    dot slab (per candidate)         atoms relaxed, on the same cell
    film slab (per candidate)        the relaxed strained bulk with vacuum, atoms relaxed
    interface (per candidate)        relaxed film on relaxed dot at its registry, atoms relaxed;
                                     a thicker version of it starts from the relaxed thinner one

    dot, film alone or with ghosts   either part of a relaxed interface as it lies there; only for counterpoise

After every relaxation a static calculation at the relaxed geometry gives the energy that enters the terms.  A study may
ask for a pre-relaxation of every structure, of the same freedom; the relaxation then starts from what it found.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np

from qdip_dft.builders.candidate_registries import set_registry
from qdip_dft.builders.candidates import formula_units_per_cell
from qdip_dft.builders.continuation import continue_interface, match_dot, match_film
from qdip_dft.builders.dots import build_dot_slab
from qdip_dft.builders.embedded import close_cell
from qdip_dft.builders.faces import OrientedFace, orient_face, orient_relaxed
from qdip_dft.builders.films import (
    build_strained_bulk,
    count_images,
    displace_ions,
    in_vacuum,
    move_in_plane,
    stack_closed_film,
    stack_film,
)
from qdip_dft.builders.interfaces import check_built, check_closed
from qdip_dft.builders.ions import Array, IonicCrystal, transform_crystal, view_ions
from qdip_dft.builders.orientation import in_plane_vectors
from qdip_dft.builders.registry import join_at_gap
from qdip_dft.builders.strain import InterfaceCell, interface_cell
from qdip_dft.builders.variants import turn_film
from qdip_dft.errors import InterfaceError
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.crystal import CrystalRecord
from qdip_dft.model.interface import Candidate, DroppedCandidate
from qdip_dft.model.orientation import AS_CUT, count_surface_cells
from qdip_dft.model.registry import RegistryScan
from qdip_dft.model.structure import FILM_PART, StructureRecord
from qdip_dft.model.study import Environment, StudySpec
from qdip_dft.tasks.registry_scan import name_registry_scan

CONTINUED_SHARES = (1.0, 0.5, 0.25)
"""How much of a thinner interface's displacements a thicker one starts with: the first at which no ions meet, or 0."""


class Part(StrEnum):
    """The part of a candidate that a calculation belongs to."""

    DOT_BULK = "dot bulk"
    BULK = "bulk"
    STRAINED_BULK = "strained bulk"
    DOT_SLAB = "dot slab"
    FILM_SLAB = "film slab"
    INTERFACE = "interface"
    UNSTRAINED_DOT_SLAB = "unstrained dot slab"
    """The dot slab on its own lattice; only where the dot takes strain."""
    TILTING_BULK = "tilting bulk"
    """A bulk that is relaxed once more where its octahedra may tilt: it gains nothing if it is a minimum."""
    DOT_ALONE = "dot alone"
    DOT_WITH_GHOSTS = "dot with ghosts"
    FILM_ALONE = "film alone"
    FILM_WITH_GHOSTS = "film with ghosts"


BULKS = frozenset({Part.DOT_BULK, Part.BULK, Part.TILTING_BULK})
"""The parts that belong to a crystal; all others belong to a candidate."""

FRAGMENTS = frozenset({Part.DOT_ALONE, Part.DOT_WITH_GHOSTS, Part.FILM_ALONE, Part.FILM_WITH_GHOSTS})
"""One part of a relaxed interface as it lies there: what counterpoise needs (`flows.counterpoise`)."""

WHOLE_PARTS = frozenset(Part) - FRAGMENTS
"""What the four terms need."""


class Stage(StrEnum):
    """Where in its part a calculation stands."""

    PRERELAXATION = "pre-relaxation"
    """From the structure as built towards its minimum, with a cheaper engine."""
    RELAXATION = "relaxation"
    """To the minimum."""
    STATIC = "static"
    """The energy at the relaxed structure, which enters the terms."""


class StepId(NamedTuple):
    """What a calculation of a study is known by.

    Parameters
    ----------
    part
        What it is a part of.
    owner
        Bulks: the crystal, as the study names it; all others: the id of the candidate.
    variation
        The variation that it belongs to (`StudySteps.tag`); empty: the study itself.
    stage
        Where in its part it stands.
    """

    part: Part
    owner: str
    variation: str = ""
    stage: Stage = Stage.RELAXATION

    def at(self, stage: Stage) -> StepId:
        """The same part at another stage."""
        return self._replace(stage=stage)


class RegistryScanId(NamedTuple):
    """What a registry scan of a study is known by: the interface that it moves the film of."""

    interface: str


Structures = Mapping[StepId, StructureRecord]
"""Relaxed structures by step."""


@dataclass(frozen=True, slots=True)
class Step:
    """One calculation of a study: plain data, from which `flows.building` makes its structure.

    Parameters
    ----------
    id
        What it is known by.
    subject
        The crystal or candidate with the variation, for people, such as ``PbS(111)//FAPbI3-alpha(100), film +1``.
    freedom
        What may move; ``none``: the static calculation after the relaxation of the same part.
    parents
        The steps whose relaxed structures are needed.
    scan
        The registry scan that says where the film of an interface lies; None: as given.
    """

    id: StepId
    subject: str
    freedom: Freedom
    parents: tuple[StepId, ...] = ()
    scan: RegistryScanId | None = None

    @property
    def part(self) -> Part:
        """What it is a part of."""
        return self.id.part

    @property
    def stage(self) -> Stage:
        """Where in its part it stands."""
        return self.id.stage

    @property
    def label(self) -> str:
        """What people call it, unique within the study, such as ``film slab PbS(111)//FAPbI3-alpha(100)``."""
        relaxation = f"{self.part} {self.subject}"
        return relaxation if self.stage is Stage.RELAXATION else f"{relaxation} ({self.stage})"

    def follow(self, stage: Stage, *, freedom: Freedom) -> Step:
        """The next calculation of the same part, which starts where this one ended."""
        return replace(self, id=self.id.at(stage), freedom=freedom, parents=(self.id,), scan=None)


@dataclass(frozen=True, slots=True)
class RegistryScanStep:
    """One registry scan of a study; candidates that differ in their registry share it.

    Parameters
    ----------
    id
        What it is known by.
    subject
        The interface for people, such as ``PbS(111)//FAPbI3-delta(001)``.
    candidate
        Id of the first candidate that takes its registry from it.
    parents
        The steps whose relaxed structures are needed: both bulks.
    """

    id: RegistryScanId
    subject: str
    candidate: str
    parents: tuple[StepId, ...]

    @property
    def label(self) -> str:
        """What people call it, unique within the study."""
        return name_registry_scan(self.subject)


@dataclass(frozen=True)
class StudySteps:
    """All steps of a study.

    Parameters
    ----------
    study
        The study.
    crystals
        Dot material and phases by the names that the study gives them.
    candidates
        What is built; found once, when the study is planned.
    dropped
        What is not built, and why.
    tag
        The variation that these steps belong to, such as ``film +1``; empty: they are those of the study itself.
    own
        The parts that differ from those of the study itself; the others are its steps and not repeated.
    thin
        The film of the study whose relaxed interface those of the (thicker) candidates start from; None: they start
        from slabs joined at their registry.
    can_check_minima
        Whether bulks may be relaxed once more to see whether they are minima, which is cheap with a potential.
    """

    study: StudySpec
    crystals: Mapping[str, CrystalRecord]
    candidates: tuple[Candidate, ...]
    dropped: tuple[DroppedCandidate, ...] = ()
    tag: str = ""
    own: frozenset[Part] = WHOLE_PARTS
    thin: Candidate | None = None
    can_check_minima: bool = True

    @property
    def elements(self) -> frozenset[str]:
        """Elements of dot and host."""
        names = (self.study.dot.material, *(spec.phase for spec in self.study.phases))
        return frozenset(symbol for name in names for symbol in self.crystals[name].structure.species)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """All own steps, parents before children, each relaxation followed by its static calculation."""
        names = dict.fromkeys([*(c.phase for c in self.candidates), *self.products, *self.reservoirs])
        firsts = [self._bulk_step(self.study.dot.material, Part.DOT_BULK)]
        firsts += [self._bulk_step(phase, Part.BULK) for phase in names]
        for candidate in self.candidates:
            firsts += self._candidate_steps(candidate)
        own = [first for first in firsts if first.part in self.own]
        return *(step for first in own for step in self._stages_of(first)), *self._tilting_steps, *self._fragment_steps

    @property
    def checked_bulks(self) -> dict[str, Part]:
        """The bulks that are checked for being minima, those of the study itself, with their parts."""
        if self.tag or not (self.study.check_minima and self.can_check_minima):
            return {}
        bulks = dict.fromkeys([*(c.phase for c in self.candidates), *self.products, *self.reservoirs], Part.BULK)
        return {self.study.dot.material: Part.DOT_BULK, **bulks}

    @property
    def _tilting_steps(self) -> tuple[Step, ...]:
        return tuple(
            Step(StepId(Part.TILTING_BULK, name), self.crystals[name].id, Freedom.CELL, (self.id_of(part, name),))
            for name, part in self.checked_bulks.items()
        )

    @property
    def _fragment_steps(self) -> tuple[Step, ...]:
        return tuple(
            Step(
                self.static_of(part, candidate.id),
                f"{candidate.label}, {self.tag}",
                Freedom.NONE,
                (self.id_of(Part.INTERFACE, candidate.id), self.id_of(Part.DOT_SLAB, candidate.id)),
            )
            for candidate in self.candidates
            for part in sorted(self.own & FRAGMENTS)
        )

    @cached_property
    def scans(self) -> Mapping[RegistryScanId, RegistryScanStep]:
        """The registry scans that own steps ask for, in the order of the steps."""
        asked = {step.scan: step.id.owner for step in reversed(self.steps) if step.scan is not None}
        return {scan: self._scan_step(scan, asked[scan]) for scan in reversed(asked)}

    def id_of(self, part: Part, owner: str) -> StepId:
        """The relaxation of a part of a crystal or candidate."""
        return StepId(part, owner, self.tag if part in self.own else "")

    def static_of(self, part: Part, owner: str) -> StepId:
        """The step that gives the energy of a part of a crystal or candidate."""
        return self.id_of(part, owner).at(Stage.STATIC)

    @property
    def first_stage(self) -> Stage:
        """The stage that starts from the structure as built."""
        return Stage.RELAXATION if self.study.prerelaxation is None else Stage.PRERELAXATION

    def _stages_of(self, first: Step) -> tuple[Step, ...]:
        if self.first_stage is Stage.RELAXATION:
            return first, first.follow(Stage.STATIC, freedom=Freedom.NONE)
        relaxation = first.follow(Stage.RELAXATION, freedom=first.freedom)
        return first, relaxation, relaxation.follow(Stage.STATIC, freedom=Freedom.NONE)

    @property
    def products(self) -> tuple[str, ...]:
        """The decomposition products of the host."""
        return () if self.study.decomposition is None else self.study.decomposition.products

    @property
    def reservoirs(self) -> tuple[str, ...]:
        """The compounds that a film has an excess of, and their counterpart; none if no film has one."""
        spec = self.study.film.reservoirs
        has_excess = any(candidate.excess for candidate in self.candidates)
        return (spec.ax, spec.bx2) if spec is not None and has_excess else ()

    def parts_of(self, candidate: Candidate) -> dict[Part, StepId]:
        """The step that gives the energy of each part of a candidate."""
        return {part: step.at(Stage.STATIC) for part, step in self.relaxations_of(candidate).items()}

    def relaxations_of(self, candidate: Candidate) -> dict[Part, StepId]:
        """The relaxation of each part of a candidate."""
        owners = dict.fromkeys(_list_parts(candidate), candidate.id)
        return {part: self.id_of(part, owner) for part, owner in {Part.BULK: candidate.phase, **owners}.items()}

    def find_candidate(self, candidate_id: str) -> Candidate:
        """The candidate of an id."""
        return self._geometries[candidate_id].candidate

    def geometry_of(self, candidate: Candidate) -> CandidateGeometry:
        """What builds the structures of a candidate."""
        known = self._geometries.get(candidate.id)
        if known is not None and known.candidate == candidate:
            return known
        return self._make_geometry(candidate)

    @cached_property
    def _geometries(self) -> dict[str, CandidateGeometry]:
        return {candidate.id: self._make_geometry(candidate) for candidate in self.candidates}

    def _make_geometry(self, candidate: Candidate) -> CandidateGeometry:
        return CandidateGeometry(self.study, candidate, self.crystals[candidate.dot], self.crystals[candidate.phase])

    def _bulks_of(self, candidate: Candidate) -> tuple[StepId, StepId]:
        return self.id_of(Part.DOT_BULK, candidate.dot), self.id_of(Part.BULK, candidate.phase)

    def _first_step(
        self,
        part: Part,
        owner: str,
        *,
        subject: str,
        freedom: Freedom,
        parents: tuple[StepId, ...] = (),
        scan: RegistryScanId | None = None,
    ) -> Step:
        id_ = self.id_of(part, owner).at(self.first_stage)
        return Step(id_, f"{subject}, {id_.variation}" if id_.variation else subject, freedom, parents, scan)

    def _bulk_step(self, crystal: str, part: Part) -> Step:
        return self._first_step(part, crystal, subject=self.crystals[crystal].id, freedom=Freedom.CELL)

    def _candidate_steps(self, candidate: Candidate) -> list[Step]:
        ids, bulks = self.relaxations_of(candidate), self._bulks_of(candidate)
        needed = {
            Part.STRAINED_BULK: (Freedom.OUT_OF_PLANE, bulks, None),
            Part.UNSTRAINED_DOT_SLAB: (Freedom.POSITIONS, bulks, None),
            Part.DOT_SLAB: (Freedom.POSITIONS, bulks, None),
            Part.FILM_SLAB: (Freedom.POSITIONS, (ids[Part.STRAINED_BULK],), None),
            Part.INTERFACE: (
                _INTERFACE_FREEDOM[candidate.environment], self._before_interface(candidate), self._scan_of(candidate)
            ),
        }  # fmt: skip
        return [
            self._first_step(part, candidate.id, subject=candidate.label, freedom=freedom, parents=parents, scan=scan)
            for part, (freedom, parents, scan) in needed.items()
            if part in ids
        ]

    def _before_interface(self, candidate: Candidate) -> tuple[StepId, ...]:
        """The slabs; of an embedded film what the next dot's registry follows from; what a thick film continues."""
        ids = self.relaxations_of(candidate)
        needed = [ids[Part.DOT_SLAB], ids[Part.FILM_SLAB]]
        if candidate.environment is Environment.EMBEDDED:
            needed += [ids[Part.STRAINED_BULK], *self._bulks_of(candidate)]
        return tuple(dict.fromkeys([*needed, *self.list_thin()]))

    def list_thin(self) -> tuple[StepId, ...]:
        """Dot slab, film slab and interface that the interfaces of thicker candidates continue; empty without any."""
        if self.thin is None:
            return ()
        ids = replace(self, tag="").relaxations_of(self.thin)
        return ids[Part.DOT_SLAB], ids[Part.FILM_SLAB], ids[Part.INTERFACE]

    def _scan_of(self, candidate: Candidate) -> RegistryScanId | None:
        is_given = candidate.registry_scan is None or self.tag
        return None if is_given else RegistryScanId(str(candidate.registry_scan))

    def _scan_step(self, scan: RegistryScanId, candidate_id: str) -> RegistryScanStep:
        candidate = self.find_candidate(candidate_id)
        return RegistryScanStep(scan, str(candidate.title.interface), candidate_id, self._bulks_of(candidate))


_INTERFACE_FREEDOM = {Environment.EMBEDDED: Freedom.OUT_OF_PLANE, Environment.CAPPED: Freedom.POSITIONS}
"""What may move in an interface: between two dots also the third vector, whose length sets the two gaps and whose
lateral components let the upper interface glide as the film glides on the lower one."""


def _list_parts(candidate: Candidate) -> tuple[Part, ...]:
    """The parts of a candidate besides its bulks."""
    own = (Part.STRAINED_BULK, Part.DOT_SLAB, Part.FILM_SLAB, Part.INTERFACE)
    return (*own, Part.UNSTRAINED_DOT_SLAB) if candidate.strain_partition > 0 else own


@dataclass(frozen=True)
class CandidateGeometry:
    """Builds the structures of one candidate from relaxed ones.

    Parameters
    ----------
    study, candidate
        What is built.
    dot, film
        The materials as filed; relaxed structures have their sites in the same order.
    """

    study: StudySpec
    candidate: Candidate
    dot: CrystalRecord
    film: CrystalRecord

    @cached_property
    def _dot_face(self) -> OrientedFace:
        return orient_face(self.dot, self.candidate.dot_plane)

    @cached_property
    def _film_face(self) -> OrientedFace:
        return orient_face(self.film, self.candidate.film_plane)

    def _oriented_dot(self, dot_bulk: StructureRecord) -> IonicCrystal:
        return orient_relaxed(self._dot_face, dot_bulk)

    def _oriented_film(self, film_bulk: StructureRecord) -> IonicCrystal:
        return orient_relaxed(self._film_face, film_bulk, cut=self.candidate.cut)

    def at_registry(self, scan: RegistryScan | None) -> CandidateGeometry:
        """Return the geometry with the film where a registry scan puts it; None: as given."""
        return self if scan is None else replace(self, candidate=set_registry(self.candidate, scan))

    @property
    def formal_charges(self) -> dict[str, int]:
        """Return the formal charge in e of every ion of the interface by label."""
        passivation = {self.candidate.passivation: -1} if self.candidate.passivation else {}
        return {**self.dot.formal_charges, **self.film.formal_charges, **passivation}

    def interface_cell(self, dot_bulk: StructureRecord, film_bulk: StructureRecord) -> InterfaceCell:
        """Return the common cell of the relaxed bulks."""
        chosen = self.candidate
        recipe = (chosen.dot_matrix, chosen.film_matrix, chosen.strain_partition)
        faces = (self._dot_face.orientation, self._film_face.orientation)
        return film_bulk.derive(
            ("interface cell", dot_bulk, *faces, *recipe), lambda: self._find_cell(dot_bulk, film_bulk)
        )

    def _find_cell(self, dot_bulk: StructureRecord, film_bulk: StructureRecord) -> InterfaceCell:
        dot, film = self.surface_vectors_ang(dot_bulk, film_bulk)
        return interface_cell(film, dot, self.candidate, self.candidate.strain_partition)

    def surface_vectors_ang(self, dot_bulk: StructureRecord, film_bulk: StructureRecord) -> tuple[Array, Array]:
        """Return the unstrained 1 × 1 surface vectors of dot and film, each of shape (2, 2), rows in Å."""
        return in_plane_vectors(self._oriented_dot(dot_bulk)), in_plane_vectors(self._oriented_film(film_bulk))

    @property
    def n_reference_formula_units(self) -> int:
        """Return the formula units of the strained-bulk reference."""
        n_cells = count_surface_cells(self.candidate.film_matrix) * self.study.film.reference_periods
        return n_cells * formula_units_per_cell(self._film_face, self.film)

    def strained_bulk(self, dot_bulk: StructureRecord, film_bulk: StructureRecord) -> StructureRecord:
        """Return the film's bulk on the interface cell, slightly displaced so that it may leave a saddle point."""
        reference = build_strained_bulk(
            self._oriented_film(film_bulk),
            self.candidate.film_matrix,
            self.interface_cell(dot_bulk, film_bulk),
            n_periods=self.study.film.reference_periods,
        )
        displaced = displace_ions(reference, deviation_ang=self.study.symmetry_breaking_ang, seed=self.study.seed)
        return displaced.to_record()

    def dot_slab(self, dot_bulk: StructureRecord, film_bulk: StructureRecord) -> StructureRecord:
        """Return the neutral dot slab on the interface cell."""
        cell = self.interface_cell(dot_bulk, film_bulk)
        slab = build_dot_slab(
            self._oriented_dot(dot_bulk),
            self.candidate.dot_cut,
            passivation=self.candidate.passivation,
            matrix=self.candidate.dot_matrix,
        )
        deformation = np.eye(3)
        deformation[:2, :2] = cell.dot_deformation
        strained = transform_crystal(slab, deformation)
        stacking_ang = self.dot_stacking_ang(dot_bulk, film_bulk)
        kept = move_in_plane(
            in_vacuum(strained, self.study.vacuum_ang), -self.candidate.n_added_dot_planes * stacking_ang
        )
        return check_built(kept, name=f"dot slab {self.candidate.label}").to_record()

    def unstrained_dot_slab(self, dot_bulk: StructureRecord, film_bulk: StructureRecord) -> StructureRecord:
        """The same dot slab on its own lattice."""
        unstrained = replace(self, candidate=self.candidate.model_copy(update={"strain_partition": 0.0}))
        return unstrained.dot_slab(dot_bulk, film_bulk)

    def dot_stacking_ang(self, dot_bulk: StructureRecord, film_bulk: StructureRecord) -> Array:
        """Return how far each lattice plane of the dot is displaced against the one below it, in the plane, in Å."""
        return (
            self.interface_cell(dot_bulk, film_bulk).dot_deformation @ self._oriented_dot(dot_bulk).lattice_ang[2, :2]
        )

    def film_slab(self, strained_bulk: StructureRecord) -> StructureRecord:
        """Return the film: the relaxed strained bulk with vacuum, and its closing layer where it has one."""
        reference = view_ions(strained_bulk, self.formal_charges)
        n_periods = self.study.film.reference_periods
        if not self.candidate.closing:
            n_repeats = self.candidate.n_film_planes // n_periods
            film = stack_film(reference, n_repeats=n_repeats, vacuum_ang=self.study.vacuum_ang)
        else:
            film = stack_closed_film(reference, n_images=self.n_images, vacuum_ang=self.study.vacuum_ang)
        if self.candidate.turn.is_flipped:  # its upper face touches the dot: planes are added to the other one
            n_added = self.candidate.n_added_film_planes / n_periods
            film = move_in_plane(film, -n_added * reference.lattice_ang[2, :2])
        return check_built(film, name=f"film slab {self.candidate.label}").as_part(FILM_PART).to_record()

    @property
    def n_images(self) -> list[int]:
        """Return how often the film repeats each ion of its strained-bulk reference."""
        closing = self.candidate.closing or (0,) * len(self._film_face.oriented.ions)
        return count_images(
            closing,
            n_planes=self.candidate.n_film_planes,
            matrix=self.candidate.film_matrix,
            n_periods=self.study.film.reference_periods,
        )

    def interface(self, parts: InterfaceParts) -> StructureRecord:
        """The relaxed film on the relaxed dot, turned, shifted and raised; the dot's sites come first."""
        return self._check(self.join(parts)).to_record()

    def _check(self, interface: IonicCrystal) -> IonicCrystal:
        check = check_closed if self.candidate.environment is Environment.EMBEDDED else check_built
        return check(interface, name=f"interface {self.candidate.label}")

    def join(self, parts: InterfaceParts) -> IonicCrystal:
        """The interface as joined from its slabs, sound or not: under vacuum, or with the next dot on the film."""
        joined = self._join_lower(parts.dot_slab, parts.film_slab)
        if self.candidate.environment is Environment.CAPPED:
            return joined
        return close_cell(
            joined,
            n_dot_ions=len(view_ions(parts.dot_slab, self.formal_charges).ions),
            shift_ang=self._next_dot_ang(parts),
            gap_offset_ang=self.candidate.outer_gap_offset_ang,
        )

    def _next_dot_ang(self, parts: InterfaceParts) -> tuple[float, float]:
        """Where the next dot lies, in the plane, against the one below the film.

        The registry of the upper interface was found for slabs of their own: the film cut from the unrelaxed strained
        bulk, with its lowest plane where that of the film is, and a dot without added planes.  Where it was not looked
        for, the dot repeats along the normal; with added planes it keeps the registry that it has there without them.
        """
        if parts.bulks is None or parts.strained_bulk is None:
            return 0.0, 0.0
        shifts, built = np.zeros(2), parts.strained_bulk
        if self.candidate.outer_shift is not None:
            unit = np.linalg.inv(np.array(self.candidate.film_matrix)) @ np.array(parts.dot_slab.lattice_ang)[:2, :2]
            shifts = (np.array(self.candidate.shift) + np.array(self.candidate.outer_shift)) @ unit
            built = self.strained_bulk(*parts.bulks)
        dot = self.candidate.n_added_dot_planes * self.dot_stacking_ang(*parts.bulks)
        film = self._upper_face_moved_ang(relaxed=parts.strained_bulk, built=built)
        x, y = (shifts + dot + film).tolist()
        return x, y

    def _upper_face_moved_ang(self, *, relaxed: StructureRecord, built: StructureRecord) -> Array:
        """How far the upper face of the film lies, in the plane, from where it was when its registry was found."""
        candidate, cell = self.candidate, np.array(relaxed.lattice_ang)[:2, :2]
        plane, scanned = (
            np.array(bulk.lattice_ang)[2, :2] / self.study.film.reference_periods for bulk in (relaxed, built)
        )
        n_scanned = candidate.n_film_planes - candidate.n_added_film_planes
        moved = candidate.n_film_planes * plane - n_scanned * scanned
        if candidate.turn.is_flipped:  # its lowest plane faces up, and added planes lie beyond it
            moved = -candidate.n_added_film_planes * plane
        return np.asarray(moved @ np.linalg.inv(cell) @ np.array(candidate.turn.matrix).T @ cell)

    def _join_lower(self, dot_slab: StructureRecord, film_slab: StructureRecord) -> IonicCrystal:
        dot, film = view_ions(dot_slab, self.formal_charges), view_ions(film_slab, self.formal_charges)
        cell = film.lattice_ang[:2, :2]
        unit = np.linalg.inv(np.array(self.candidate.film_matrix)) @ cell
        shift_x, shift_y = (np.array(self.candidate.shift) @ unit).tolist()
        return join_at_gap(
            dot,
            film if self.candidate.turn == AS_CUT else turn_film(film, self.candidate.turn),
            shift_ang=(shift_x, shift_y),
            gap_offset_ang=self.candidate.gap_offset_ang,
            vacuum_ang=self.study.vacuum_ang,
        )

    def continued_interface(
        self, parts: InterfaceParts, *, thin: CandidateGeometry, of_thin: InterfaceParts, relaxed: StructureRecord
    ) -> StructureRecord:
        """The interface with the displacements that a thinner one took as it relaxed, or less of them where ions meet.

        Parameters
        ----------
        parts
            The relaxed slabs of this candidate.
        thin
            The thinner candidate.
        of_thin
            Its relaxed slabs.
        relaxed
            Its relaxed interface.
        """
        slabs = (parts.dot_slab, of_thin.dot_slab)
        n_ions, n_thin_ions = (len(view_ions(slab, self.formal_charges).ions) for slab in slabs)
        n_added = self.candidate.dot_cut.n_planes - thin.candidate.dot_cut.n_planes
        joined, joined_thin = self.join(parts), thin.join(of_thin)

        def start_with(share: float) -> StructureRecord:
            continued = continue_interface(
                joined,
                thin=joined_thin,
                relaxed=view_ions(relaxed, self.formal_charges),
                dot=match_dot(n_ions, n_thin_ions, n_added_planes=n_added),
                film=match_film(self.n_images, thin.n_images, is_flipped=self.candidate.turn.is_flipped),
                share=share,
            )
            if self.candidate.environment is Environment.CAPPED:
                continued = in_vacuum(continued, self.study.vacuum_ang)
            return self._check(continued).to_record()

        for share in CONTINUED_SHARES:
            with suppress(InterfaceError):
                return start_with(share)
        return start_with(0.0)


@dataclass(frozen=True, slots=True)
class InterfaceParts:
    """The relaxed structures that an interface is joined from.

    Parameters
    ----------
    dot_slab, film_slab
        The slabs.
    strained_bulk, bulks
        What the film was cut from, and both bulks, dot first; needed where the film lies between two dots.
    """

    dot_slab: StructureRecord
    film_slab: StructureRecord
    strained_bulk: StructureRecord | None = None
    bulks: tuple[StructureRecord, StructureRecord] | None = None
