"""The calculations of a study as a list of steps, each built from the relaxed results of earlier ones.

    bulk (dot, every phase)          atoms and cell relaxed
    strained bulk (per candidate)    atoms and the third vector relaxed, on the interface's mesh
    dot slab (per candidate)         atoms relaxed, on the same mesh
    film slab (per candidate)        the relaxed strained bulk with vacuum, atoms relaxed
    interface (per candidate)        relaxed film on relaxed dot at its place, atoms relaxed;
                                     a thicker version of it starts from the relaxed thinner one

After every relaxation a static calculation at the relaxed geometry gives the energy that enters the terms.  A study may
ask for a pre-relaxation of every structure, of the same freedom; the relaxation then starts from what it found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import numpy as np

from qdip_dft.builders.candidates import OrientedFace, formula_units_per_cell, orient_face, orient_relaxed
from qdip_dft.builders.continuation import continue_interface, match_dot, match_film
from qdip_dft.builders.dots import build_dot_slab
from qdip_dft.builders.films import (
    build_strained_bulk,
    count_images,
    displace_ions,
    in_vacuum,
    move_in_plane,
    stack_closed_film,
    stack_film,
)
from qdip_dft.builders.interfaces import check_built
from qdip_dft.builders.ions import Array, IonicCrystal, transform_crystal, view_ions
from qdip_dft.builders.orientation import in_plane_vectors
from qdip_dft.builders.placement import place_candidate
from qdip_dft.builders.registry import join_at_gap
from qdip_dft.builders.strain import InterfaceCell, interface_cell
from qdip_dft.builders.variants import turn_film
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.crystal import CrystalRecord
from qdip_dft.model.interface import Candidate, DroppedCandidate
from qdip_dft.model.orientation import AS_CUT
from qdip_dft.model.registry import RegistryScan
from qdip_dft.model.structure import FILM_PART, StructureRecord
from qdip_dft.model.study import StudySpec

Structures = Mapping[str, StructureRecord]
"""Relaxed structures by step name."""

BuildAt = Callable[[Structures, RegistryScan | None], StructureRecord]
"""From relaxed structures, and for an interface the screening of its place, to the structure that is calculated."""


class Part(StrEnum):
    """The part of a candidate that a calculation belongs to."""

    DOT_BULK = "dot bulk"
    BULK = "bulk"
    STRAINED_BULK = "strained bulk"
    DOT_SLAB = "dot slab"
    FILM_SLAB = "film slab"
    INTERFACE = "interface"


class Stage(StrEnum):
    """Where in its part a calculation stands."""

    PRERELAXATION = "pre-relaxation"
    """From the structure as built towards its minimum, with a cheaper engine."""
    RELAXATION = "relaxation"
    """To the minimum."""
    STATIC = "static"
    """The energy at the relaxed structure, which enters the terms."""


@dataclass(frozen=True, slots=True)
class Step:
    """One calculation of a study.

    Parameters
    ----------
    part
        What it is a part of.
    subject
        The material, phase or candidate that the part belongs to, such as ``PbS(111)//FAPbI3-alpha(100)``.
    freedom
        What may move; ``none``: the static calculation after the relaxation of the same part.
    parents
        Names of the steps whose relaxed structures are needed.
    build_at
        From these structures to the one that is calculated.
    stage
        Where in its part it stands.
    tag
        What sets it apart from the study's own steps (`StudySteps.tag`).
    """

    part: Part
    subject: str
    freedom: Freedom
    parents: tuple[str, ...]
    build_at: BuildAt
    stage: Stage = Stage.RELAXATION
    tag: str = ""

    @property
    def name(self) -> str:
        """Return a name that is unique within the study, such as ``film slab PbS(111)//FAPbI3-alpha(100)``."""
        relaxation = f"{self.part} {self.subject}"
        return relaxation if self.stage is Stage.RELAXATION else f"{relaxation} ({self.stage})"

    @property
    def owner(self) -> str:
        """Return the material, phase or candidate without the tag."""
        return self.subject.removesuffix(f", {self.tag}")

    def build(self, structures: Structures, screening: RegistryScan | None = None) -> StructureRecord:
        """Return the structure that is calculated.

        Parameters
        ----------
        structures
            Relaxed structures of the parents by name.
        screening
            Where the film lies; None: as given.
        """
        return self.build_at(structures, screening)


def static_name(name: str) -> str:
    """Return the name of the static calculation that follows a relaxation."""
    return f"{name} (static)"


@dataclass(frozen=True)
class StudySteps:
    """All steps of a study.

    Parameters
    ----------
    study
        The study.
    crystals
        Dot material and phases by name.
    candidates
        What is built; found once, when the study is planned.
    dropped
        What is not built, and why.
    tag
        What sets these steps apart from those of the study itself, such as ``film +1``; empty: nothing.
    own
        The parts that differ from those of the study itself; the others are its steps and not repeated.
    thin
        The film of the study whose relaxed interface those of the (thicker) candidates start from; None: they start
        from slabs joined at their place.
    """

    study: StudySpec
    crystals: Mapping[str, CrystalRecord]
    candidates: tuple[Candidate, ...]
    dropped: tuple[DroppedCandidate, ...] = ()
    tag: str = ""
    own: frozenset[Part] = frozenset(Part)
    thin: Candidate | None = None

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Return all own steps, parents before children, each relaxation followed by its static calculation."""
        names = dict.fromkeys([*(c.phase for c in self.candidates), *self.products, *self.reservoirs])
        relaxations = [self._bulk_step(self.study.dot.material, Part.DOT_BULK)]
        relaxations += [self._bulk_step(phase, Part.BULK) for phase in names]
        for candidate in self.candidates:
            relaxations += self._candidate_steps(candidate)
        own = [relaxation for relaxation in relaxations if relaxation.part in self.own]
        return tuple(step for relaxation in own for step in self._stages_of(relaxation))

    def name(self, part: Part, subject: str) -> str:
        """Return the name of a relaxation, such as ``film slab PbS(111)//FAPbI3-alpha(100)``."""
        return f"{part} {self._tagged(part, subject)}"

    def _tagged(self, part: Part, subject: str) -> str:
        return f"{subject}, {self.tag}" if self.tag and part in self.own else subject

    @property
    def first_stage(self) -> Stage:
        """Return the stage that starts from the structure as built."""
        return Stage.RELAXATION if self.study.prerelaxation is None else Stage.PRERELAXATION

    def _stages_of(self, step: Step) -> tuple[Step, ...]:
        relaxation = replace(step, tag=self.tag)
        if self.first_stage is Stage.RELAXATION:
            return relaxation, _static_of(relaxation)
        before = replace(relaxation, stage=Stage.PRERELAXATION)
        after = _follow(before, stage=Stage.RELAXATION, freedom=relaxation.freedom)
        return before, after, _static_of(relaxation)

    @property
    def products(self) -> tuple[str, ...]:
        """Return the decomposition products of the host."""
        return () if self.study.decomposition is None else self.study.decomposition.products

    @property
    def reservoirs(self) -> tuple[str, ...]:
        """Return the compounds that a film has an excess of, and their counterpart; none if no film has one."""
        spec = self.study.film.reservoirs
        has_excess = any(candidate.excess for candidate in self.candidates)
        return (spec.ax, spec.bx2) if spec is not None and has_excess else ()

    def parts_of(self, candidate: Candidate) -> dict[Part, str]:
        """Return the step that gives the energy of each part of a candidate."""
        return {part: static_name(name) for part, name in self._relaxations_of(candidate).items()}

    def relaxations_of(self, candidate: Candidate) -> dict[Part, str]:
        """Return the relaxation of each part of a candidate."""
        return self._relaxations_of(candidate)

    def _relaxations_of(self, candidate: Candidate) -> dict[Part, str]:
        return {
            Part.BULK: self.name(Part.BULK, candidate.phase),
            **{part: self.name(part, candidate.label) for part in (
                Part.STRAINED_BULK, Part.DOT_SLAB, Part.FILM_SLAB, Part.INTERFACE)},
        }  # fmt: skip

    def _bulk_step(self, crystal_id: str, part: Part) -> Step:
        structure = self.crystals[crystal_id].structure
        return Step(part, self._tagged(part, crystal_id), Freedom.CELL, (), lambda *_: structure)

    def geometry_of(self, candidate: Candidate) -> CandidateGeometry:
        """Return what builds the structures of a candidate."""
        return CandidateGeometry(self.study, candidate, self.crystals[candidate.dot], self.crystals[candidate.phase])

    def _candidate_steps(self, candidate: Candidate) -> list[Step]:
        geometry = self.geometry_of(candidate)
        names = self._relaxations_of(candidate)
        bulks = (self.name(Part.DOT_BULK, candidate.dot), names[Part.BULK])
        reference, dot_slab, film_slab = names[Part.STRAINED_BULK], names[Part.DOT_SLAB], names[Part.FILM_SLAB]
        label = {part: self._tagged(part, candidate.label) for part in names}
        return [
            Step(Part.STRAINED_BULK, label[Part.STRAINED_BULK], Freedom.OUT_OF_PLANE, bulks,
                 lambda s, _: geometry.strained_bulk(s[bulks[0]], s[bulks[1]])),
            Step(Part.DOT_SLAB, label[Part.DOT_SLAB], Freedom.POSITIONS, bulks,
                 lambda s, _: geometry.dot_slab(s[bulks[0]], s[bulks[1]])),
            Step(Part.FILM_SLAB, label[Part.FILM_SLAB], Freedom.POSITIONS, (reference,),
                 lambda s, _: geometry.film_slab(s[reference])),
            self._interface_step(geometry, label[Part.INTERFACE], dot_slab=dot_slab, film_slab=film_slab),
        ]  # fmt: skip

    def _interface_step(self, geometry: CandidateGeometry, label: str, *, dot_slab: str, film_slab: str) -> Step:
        slabs = (dot_slab, film_slab)
        if self.thin is None:
            return Step(Part.INTERFACE, label, Freedom.POSITIONS, slabs,
                        lambda s, found: geometry.at_place(found).interface(s[dot_slab], s[film_slab]))  # fmt: skip
        names, thin = replace(self, tag="").relaxations_of(self.thin), self.geometry_of(self.thin)
        of_thin = (names[Part.DOT_SLAB], names[Part.FILM_SLAB], names[Part.INTERFACE])
        return Step(Part.INTERFACE, label, Freedom.POSITIONS, tuple(dict.fromkeys([*slabs, *of_thin])),
                    lambda s, _: geometry.continued_interface(
                        s[dot_slab], s[film_slab], thin=thin, of_thin=[s[name] for name in of_thin]))  # fmt: skip


def _static_of(relaxation: Step) -> Step:
    return _follow(relaxation, stage=Stage.STATIC, freedom=Freedom.NONE)


def _follow(step: Step, *, stage: Stage, freedom: Freedom) -> Step:
    """Return the next calculation of the same part, which starts where this one ended."""
    name = step.name
    build_at: BuildAt = lambda structures, _: structures[name]  # noqa: E731
    return replace(step, freedom=freedom, parents=(name,), build_at=build_at, stage=stage)


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

    def at_place(self, screening: RegistryScan | None) -> CandidateGeometry:
        """Return the geometry with the film where a screening puts it; None: as given."""
        return replace(self, candidate=place_candidate(self.candidate, screening))

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
        film, dot = self._oriented_film(film_bulk), self._oriented_dot(dot_bulk)
        return interface_cell(
            in_plane_vectors(film), in_plane_vectors(dot), self.candidate, self.candidate.strain_partition
        )

    @property
    def n_reference_formula_units(self) -> int:
        """Return the formula units of the strained-bulk reference."""
        n_cells = abs(round(float(np.linalg.det(self.candidate.film_matrix)))) * self.study.film.reference_periods
        return n_cells * formula_units_per_cell(self._film_face, self.film)

    def strained_bulk(self, dot_bulk: StructureRecord, film_bulk: StructureRecord) -> StructureRecord:
        """Return the film's bulk on the mesh, slightly displaced so that it may leave a saddle point."""
        reference = build_strained_bulk(
            self._oriented_film(film_bulk),
            self.candidate.film_matrix,
            self.interface_cell(dot_bulk, film_bulk),
            n_periods=self.study.film.reference_periods,
        )
        displaced = displace_ions(reference, deviation_ang=self.study.symmetry_breaking_ang, seed=self.study.seed)
        return displaced.to_record()

    def dot_slab(self, dot_bulk: StructureRecord, film_bulk: StructureRecord) -> StructureRecord:
        """Return the neutral dot slab on the mesh."""
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

    def interface(self, dot_slab: StructureRecord, film_slab: StructureRecord) -> StructureRecord:
        """Return the relaxed film on the relaxed dot, turned, shifted and raised; the dot's sites come first."""
        joined = self.join(dot_slab, film_slab)
        return check_built(joined, name=f"interface {self.candidate.label}").to_record()

    def join(self, dot_slab: StructureRecord, film_slab: StructureRecord) -> IonicCrystal:
        """Return the interface as it is joined from its slabs, sound or not."""
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
        self,
        dot_slab: StructureRecord,
        film_slab: StructureRecord,
        *,
        thin: CandidateGeometry,
        of_thin: Sequence[StructureRecord],
    ) -> StructureRecord:
        """Return the interface with the displacements that a thinner one took as it relaxed.

        Parameters
        ----------
        dot_slab, film_slab
            The relaxed slabs of this candidate.
        thin
            The thinner candidate.
        of_thin
            Its relaxed dot slab, film slab and interface.
        """
        thin_dot, thin_film, relaxed = of_thin
        n_ions, n_thin_ions = (len(view_ions(slab, self.formal_charges).ions) for slab in (dot_slab, thin_dot))
        n_added = self.candidate.dot_cut.n_planes - thin.candidate.dot_cut.n_planes
        continued = continue_interface(
            self.join(dot_slab, film_slab),
            thin=thin.join(thin_dot, thin_film),
            relaxed=view_ions(relaxed, self.formal_charges),
            dot=match_dot(n_ions, n_thin_ions, n_added_planes=n_added),
            film=match_film(self.n_images, thin.n_images, is_flipped=self.candidate.turn.is_flipped),
            vacuum_ang=self.study.vacuum_ang,
        )
        return check_built(continued, name=f"interface {self.candidate.label}").to_record()
