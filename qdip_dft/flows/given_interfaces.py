"""Interfaces that somebody else joined, and slabs that somebody else cut: which candidate each is.

The atoms of the file are compared with those that are built from the filed crystals, dot with dot and film with film,
each up to a displacement, on the cell of the candidate.  What is found are the numbers that a candidate is made of:
cell, termination, registry and gap.  So a given interface is relaxed, varied and stored as any other; one of another
crystal is refused.

A slab is a film alone, on the 1 × 1 cell of its plane or on that of an interface, its lower face towards the dot.  Of
the films that may be built those that are this slab are kept; the dot, its common cell with the film and the registry
are searched as for any phase.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from qdip_dft.builders.candidates import identify_candidate
from qdip_dft.builders.films import embed_matrix
from qdip_dft.builders.interfaces import contact_height_ang
from qdip_dft.builders.ions import Array, translations_inside, view_ions
from qdip_dft.engines.code_run import find_vacuum
from qdip_dft.errors import StudyError
from qdip_dft.flows.steps import CandidateGeometry
from qdip_dft.model.crystal import CrystalRecord
from qdip_dft.model.interface import Candidate
from qdip_dft.model.orientation import IntegerMatrix2
from qdip_dft.model.structure import FILM_PART, StructureRecord
from qdip_dft.model.study import Environment, PhaseSpec, StudySpec

LARGEST_MISFIT_ANG = 0.3
"""So far an atom of a given interface may lie from where it is built: lattices of two sources differ by a per cent."""

METRIC_TOLERANCE = 0.03
"""Lengths and products of two in-plane cells of one interface may differ by this share."""

BASES = [np.array(rows).reshape(2, 2) for rows in product((-1, 0, 1), repeat=4)]
BASES = [basis for basis in BASES if round(float(np.linalg.det(basis))) == 1]
"""Right-handed changes of an in-plane basis."""


@dataclass(frozen=True)
class Atoms:
    """Atoms on an in-plane cell, which repeats; positions in Å, the third along the normal."""

    species: tuple[str, ...]
    positions_ang: Array

    def moved(self, displacement_ang: Array) -> Atoms:
        """The same elsewhere."""
        return Atoms(self.species, self.positions_ang + displacement_ang)


@dataclass(frozen=True)
class Fit:
    """How far the worst atom lies from its place, and by what the film is displaced against the built one."""

    misfit_ang: float
    displacement_ang: Array = field(default_factory=lambda: np.zeros(3))


def settle_given(
    study: StudySpec, crystals: Mapping[str, CrystalRecord], candidates: tuple[Candidate, ...]
) -> tuple[Candidate, ...]:
    """Return the candidates of a study, of each phase with a given interface the one that it is.

    Parameters
    ----------
    study, crystals
        The study.
    candidates
        What was found, for such a phase all that it may be.

    Raises
    ------
    StudyError
        If it is none of them.
    """
    given = {phase.phase: phase for phase in study.phases if phase.interface is not None}
    others = [candidate for candidate in candidates if candidate.phase not in given]
    settled = []
    for phase in given.values():
        possible = [candidate for candidate in candidates if candidate.phase == phase.phase]
        assert phase.interface is not None
        if phase.interface.is_film_alone:
            settled += _keep_films(study, crystals, phase, possible)
            continue
        _require_vacuum(study, phase)
        settled.append(_settle(study, crystals, phase, possible))
    return (*settled, *others)


def _settle(
    study: StudySpec, crystals: Mapping[str, CrystalRecord], phase: PhaseSpec, possible: list[Candidate]
) -> Candidate:
    dot, film = crystals[study.dot.material], crystals[phase.phase]
    fits = []
    for candidate in possible:
        geometry = CandidateGeometry(study, candidate, dot, film)
        bulks = dot.structure, film.structure
        slabs = geometry.dot_slab(*bulks), geometry.film_slab(geometry.strained_bulk(*bulks))
        assert phase.interface is not None
        fits.append((_fit(phase.interface.structure, *slabs), candidate, geometry, slabs))
    best = min(fits, key=lambda each: each[0].misfit_ang, default=None)
    if best is None or best[0].misfit_ang > LARGEST_MISFIT_ANG:
        raise _is_none(phase, None if best is None else best[0].misfit_ang)
    return _place(*best)


def _keep_films(
    study: StudySpec, crystals: Mapping[str, CrystalRecord], phase: PhaseSpec, possible: list[Candidate]
) -> list[Candidate]:
    """Return the candidates whose film is the given slab."""
    bulks = crystals[study.dot.material].structure, crystals[phase.phase].structure
    assert phase.interface is not None
    misfits_ang = []
    for candidate in possible:
        geometry = CandidateGeometry(study, candidate, crystals[study.dot.material], crystals[phase.phase])
        slab = geometry.film_slab(geometry.strained_bulk(*bulks))
        _, unit = geometry.surface_vectors_ang(*bulks)
        misfits_ang.append(_fit_film(phase.interface.structure, slab, unit, candidate.film_matrix))
    kept = [each for each, misfit_ang in zip(possible, misfits_ang, strict=True) if misfit_ang <= LARGEST_MISFIT_ANG]
    if not kept:
        raise _is_none(phase, min(misfits_ang, default=None))
    return kept


def _fit_film(given: StructureRecord, slab: StructureRecord, unit: Array, matrix: IntegerMatrix2) -> float:
    """Return the misfit of a slab, on its 1 × 1 cell or on that of the interface, with the film of a candidate."""
    cell = np.array(slab.lattice_ang)[:2, :2]
    ours, (theirs, vectors) = Atoms(slab.species, slab.arrangement.positions_ang), _split(given)
    views = list(_list_bases(theirs, vectors, cell))
    steps = translations_inside(embed_matrix(matrix, 1))[:, :2] @ np.linalg.inv(matrix) @ cell
    for view in _list_bases(theirs, vectors, unit, onto=np.linalg.inv(matrix) @ cell):
        places = [view.moved(np.array([*step, 0.0])).positions_ang for step in steps]
        views.append(Atoms(view.species * len(places), np.concatenate(places)))
    return min((_match(ours, view, cell).misfit_ang for view in views), default=np.inf)


def _place(
    fit: Fit, candidate: Candidate, geometry: CandidateGeometry, slabs: tuple[StructureRecord, StructureRecord]
) -> Candidate:
    """Return the candidate with the registry and the gap of the given interface."""
    dot, film = (view_ions(slab, geometry.formal_charges) for slab in slabs)
    lateral_ang = np.array([*fit.displacement_ang[:2], 0.0])
    unit = np.linalg.inv(np.array(candidate.film_matrix)) @ dot.lattice_ang[:2, :2]
    shift = np.round(lateral_ang[:2] @ np.linalg.inv(unit), 9).tolist()
    gap_ang = float(fit.displacement_ang[2]) - contact_height_ang(dot, film, lateral_ang)
    return identify_candidate(candidate.model_copy(update={"shift": tuple(shift), "gap_offset_ang": round(gap_ang, 9)}))


def _fit(given: StructureRecord, dot: StructureRecord, film: StructureRecord) -> Fit:
    """Compare a given interface with a dot slab and a film slab of one cell, in every basis that fits."""
    cell = np.array(dot.lattice_ang)[:2, :2]
    built = [Atoms(slab.species, slab.arrangement.positions_ang) for slab in (dot, film)]
    fits = [Fit(np.inf)]
    for parts in _list_views(given, cell):
        found = [_match(ours, theirs, cell) for ours, theirs in zip(built, parts, strict=True)]
        displacement = found[0].displacement_ang - found[1].displacement_ang
        fits.append(Fit(max(each.misfit_ang for each in found), displacement))
    return min(fits, key=lambda fit: fit.misfit_ang)


def _list_views(given: StructureRecord, cell: Array) -> Iterator[tuple[Atoms, Atoms]]:
    """Yield dot and film of a given interface, turned and stretched onto a cell, in every basis that has its shape."""
    whole, vectors = _split(given)
    is_film = np.array([part == FILM_PART for part in given.parts])
    parts = [
        Atoms(tuple(np.array(whole.species)[mask].tolist()), whole.positions_ang[mask]) for mask in (~is_film, is_film)
    ]
    yield from zip(*(_list_bases(part, vectors, cell) for part in parts), strict=True)


def _list_bases(atoms: Atoms, vectors: Array, cell: Array, *, onto: Array | None = None) -> Iterator[Atoms]:
    """Yield atoms turned and stretched onto a cell, or one strained from it, in every basis that has its shape."""
    for basis in BASES:
        own = basis @ vectors
        if np.abs(own @ own.T - cell @ cell.T).max() > METRIC_TOLERANCE * np.abs(cell @ cell.T).max():
            continue
        turn = np.eye(3)
        turn[:2, :2] = np.linalg.inv(own) @ (cell if onto is None else onto)
        yield Atoms(atoms.species, atoms.positions_ang @ turn)


def _split(structure: StructureRecord) -> tuple[Atoms, Array]:
    """Return the atoms of a slab above the middle of its vacuum, and its in-plane vectors, the normal along z."""
    lattice_ang = np.array(structure.lattice_ang)
    normal = np.cross(lattice_ang[0], lattice_ang[1])
    axes = np.array([lattice_ang[0], np.cross(normal, lattice_ang[0]), normal])
    axes /= np.linalg.norm(axes, axis=1)[:, None]
    vacuum = find_vacuum(structure)
    frac_coords = np.array(structure.frac_coords)
    lowest = 0.0 if vacuum is None else vacuum.centre
    frac_coords[:, 2] = (frac_coords[:, 2] - lowest) % 1.0
    return Atoms(structure.species, frac_coords @ lattice_ang @ axes.T), (lattice_ang @ axes.T)[:2, :2]


def _match(ours: Atoms, theirs: Atoms, cell: Array) -> Fit:
    """Return the displacement that brings their atoms onto ours, and the distance that is left at the worst one."""
    if Counter(ours.species) != Counter(theirs.species):
        return Fit(np.inf)
    counts = Counter(ours.species)
    rare = min(counts, key=lambda symbol: (counts[symbol], symbol))
    first = theirs.positions_ang[theirs.species.index(rare)]
    starts = [place - first for place, symbol in zip(ours.positions_ang, ours.species, strict=True) if symbol == rare]
    return min((_refine(ours, theirs, start, cell) for start in starts), key=lambda fit: fit.misfit_ang)


def _refine(ours: Atoms, theirs: Atoms, displacement_ang: Array, cell: Array) -> Fit:
    """Return the displacement with the mean distance taken out, and the largest distance then."""
    between = _pair(ours, theirs.moved(displacement_ang), cell)
    mean = between.mean(axis=0)
    misfit = float(np.linalg.norm(between - mean, axis=1).max())
    return Fit(misfit, displacement_ang + mean)


def _pair(ours: Atoms, theirs: Atoms, cell: Array) -> Array:
    """Return the vectors from their atoms to ours, nearest images in the plane, pairs of least total distance."""
    from scipy.optimize import linear_sum_assignment

    vectors = np.empty((len(ours.species), 3))
    for symbol in set(ours.species):
        mine, other = (np.flatnonzero(np.array(each.species) == symbol) for each in (ours, theirs))
        between = ours.positions_ang[mine][:, None, :] - theirs.positions_ang[other][None, :, :]
        lateral = between[:, :, :2] @ np.linalg.inv(cell)
        between[:, :, :2] = (lateral - np.round(lateral)) @ cell
        rows, columns = linear_sum_assignment((between**2).sum(axis=2))
        vectors[mine[rows]] = between[rows, columns]
    return vectors


def _require_vacuum(study: StudySpec, phase: PhaseSpec) -> None:
    if study.environment is Environment.CAPPED:
        return
    raise StudyError(
        f"the interface of {phase.phase} has one dot face, the study lays films between two",
        limit="an interface from a file is compared under vacuum",
        why="the registry of the second face would be a guess",
        remedy="write `environment: capped`",
    )


def _is_none(phase: PhaseSpec, misfit_ang: float | None) -> StudyError:
    if misfit_ang is None:
        nearest = "no common cell within the limits of the study has its matrices or its area"
    elif np.isinf(misfit_ang):
        nearest = "no film and dot slab of the study hold its atoms on a cell of its shape"
    else:
        nearest = f"an atom of it lies {misfit_ang:.2f} Å from its place in the nearest one"
    given = "slab" if phase.interface is not None and phase.interface.is_film_alone else "interface"
    return StudyError(
        f"the given {given} is none of {phase.phase} on this dot: {nearest}",
        limit=f"film and dot must be those of the study to {LARGEST_MISFIT_ANG} Å, before any relaxation",
        why="its bulk would be another one than the phase whose bulk and strain enter the terms",
        remedy="name its planes, termination and crystals, and set film.min_thickness_ang, dot.min_thickness_ang and"
        " matching to its thicknesses and cell",
    )
