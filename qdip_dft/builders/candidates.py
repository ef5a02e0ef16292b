"""From a study to its candidates: planes, terminations, common cells and thicknesses, all in whole numbers.

The search runs on the catalogue's lattices, so every engine builds the same candidates; their strains are recomputed
with each engine's own relaxed lattices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import product
from math import ceil
from typing import Literal

import numpy as np

from qdip_dft.builders.candidate_registries import RegistryChoice, list_registry_choices
from qdip_dft.builders.cleavage import find_terminations
from qdip_dft.builders.completion import complete_termination, list_completions
from qdip_dft.builders.dots import plan_dot_cut
from qdip_dft.builders.excess import split_excess
from qdip_dft.builders.faces import OrientedFace, orient_face
from qdip_dft.builders.lattice_planes import survey_plane
from qdip_dft.builders.matching import CellMatch, least_strained, require_matches
from qdip_dft.builders.orientation import (
    in_plane_vectors,
    plane_spacing_ang,
)
from qdip_dft.builders.passivation import require_whole_number
from qdip_dft.builders.strain import automatic_partition
from qdip_dft.builders.terminations import TerminationPair, describe_pair, list_terminations
from qdip_dft.errors import ChargeBalanceError, MatchError, SlabError, StudyError
from qdip_dft.model.crystal import CrystalRecord
from qdip_dft.model.interface import Candidate, DroppedCandidate, InterfaceLabel
from qdip_dft.model.slab import DotCut
from qdip_dft.model.snapping import ceil_whole
from qdip_dft.model.study import CellChoice, Completion, GivenInterface, PhaseSpec, StudySpec

THICKNESS_ALLOWANCE = 0.05
"""A thickness may fall short of one formula unit by this share: relaxed lattices differ by some per cent."""

AREA_TOLERANCE = 0.02
"""A given interface may have been built on other lattices of the same crystals."""

AS_GIVEN = RegistryChoice("", (0.0, 0.0), 0)
"""The registry of a film whose interface is given, until `qdip_dft.flows.given_interfaces` has found it."""


def find_candidates(
    study: StudySpec, crystals: Mapping[str, CrystalRecord]
) -> tuple[tuple[Candidate, ...], tuple[DroppedCandidate, ...]]:
    """Return the candidates of a study and what was left out, with the reason.

    Parameters
    ----------
    study
        The study.
    crystals
        The dot's material and every phase, by the names used in the study.

    Raises
    ------
    MatchError
        If a phase has no cell on a facet within the limits.
    SlabError
        If a slab cannot be cut or neutralized.
    """
    candidates: list[Candidate] = []
    dropped: list[DroppedCandidate] = []
    for facet in study.dot.facets:
        dot_face = orient_face(crystals[study.dot.material], facet)
        dot_cut = plan_dot_cut(
            dot_face.oriented,
            min_thickness_ang=study.dot.min_thickness_ang,
            passivation=study.dot.passivation,
            facet=dot_face.name,
        )
        for phase in study.films:
            found, left_out = _candidates_of_phase(study, phase, crystals, dot_face, dot_cut)
            candidates += found
            dropped += left_out
    return tuple(candidates), tuple(dropped)


def _candidates_of_phase(
    study: StudySpec,
    phase: PhaseSpec,
    crystals: Mapping[str, CrystalRecord],
    dot_face: OrientedFace,
    dot_cut: DotCut,
) -> tuple[list[Candidate], list[DroppedCandidate]]:
    crystal = crystals[phase.phase]
    found: list[Candidate] = []
    dropped: list[DroppedCandidate] = []
    refusal: MatchError | None = None
    for plane in phase.planes:
        film_face = orient_face(crystal, plane)
        apart = study.list_apart(phase.phase)
        title = name_interface(crystals[study.dot.material], dot_face, crystal, film_face).model_copy(
            update={"apart": " + ".join(crystals[name].id for name in apart)}
        )
        films = _choose_films(study, phase, film_face, crystals)
        try:
            cells = require_matches(
                in_plane_vectors(film_face.oriented),
                in_plane_vectors(dot_face.oriented),
                max_area_ang2=study.matching.max_area_ang2,
                max_strain=study.matching.max_strain,
            )
        except MatchError as error:
            refusal = _name_pair(error, dot_face, film_face)
            dropped.append(DroppedCandidate(title=title, phase=phase.phase, reason=refusal.what))
            continue
        cells = require_fitting(cells, dot_cut, facet=dot_face.name)
        given = None if phase.interface is None or phase.interface.is_film_alone else phase.interface
        chosen = (choose_cell(cells, study.matching.choice),) if given is None else _list_cells_of(given, cells)
        for match, (further, termination, excess) in product(chosen, films):
            registries = list_registry_choices(study.film, match, area_ang2=match.area_ang2)
            found += [
                _describe(
                    study,
                    phase,
                    title=title.model_copy(update={"termination": further, "registry": registry_choice.name}),
                    crystal=crystal,
                    plane=plane,
                    film_face=film_face,
                    dot_face=dot_face,
                    dot_cut=dot_cut,
                    termination=termination,
                    excess=excess,
                    match=match,
                    registry_choice=registry_choice,
                )
                for registry_choice in (registries if given is None else (AS_GIVEN,))
            ]
    if not found and refusal is not None:
        raise refusal
    return found, dropped


def _choose_films(
    study: StudySpec, phase: PhaseSpec, face: OrientedFace, crystals: Mapping[str, CrystalRecord]
) -> list[tuple[str, TerminationPair, dict[str, int]]]:
    """Return the terminations of a plane with their excess, and what tells the further ones apart in labels."""
    wanted = {"": phase.termination, **{further: further for further in phase.further_terminations}}
    if phase.interface is not None and phase.termination is None:  # the interface decides which it is
        survey = survey_plane(face.oriented)
        found = (describe_pair(survey, each.cut, each.cut) for each in find_terminations(face.oriented))
        return [("", pair, count_excess(study, face, pair, crystals)) for pair in found]
    pairs = {further: choose_termination(face, t, completion=phase.completion) for further, t in wanted.items()}
    return [(further, pair, count_excess(study, face, pair, crystals)) for further, pair in pairs.items()]


def _list_cells_of(given: GivenInterface, cells: Sequence[CellMatch]) -> tuple[CellMatch, ...]:
    """Return the cells that an interface may have: of its matrices, or else of its area."""
    if given.film_matrix is not None:
        asked = (given.film_matrix, given.dot_matrix)
        return tuple(cell for cell in cells if (cell.film_matrix, cell.dot_matrix) == asked)
    lattice_ang = np.array(given.structure.lattice_ang)
    area_ang2 = float(np.linalg.norm(np.cross(lattice_ang[0], lattice_ang[1])))
    return tuple(cell for cell in cells if abs(cell.area_ang2 / area_ang2 - 1.0) < AREA_TOLERANCE)


def name_interface(
    dot: CrystalRecord, dot_face: OrientedFace, film: CrystalRecord, film_face: OrientedFace
) -> InterfaceLabel:
    """Return what people call the interface of two faces."""
    return InterfaceLabel(dot=dot.id, dot_plane=dot_face.plane, film=film.id, film_plane=film_face.plane)


def _name_pair(error: MatchError, dot_face: OrientedFace, film_face: OrientedFace) -> MatchError:
    return MatchError(
        f"{dot_face.name}//{film_face.name}: {error.what}", limit=error.limit, why=error.why, remedy=error.remedy
    )


def require_fitting(cells: tuple[CellMatch, ...], dot_cut: DotCut, *, facet: str) -> tuple[CellMatch, ...]:
    """Return the cells that hold a whole number of passivating anions on each face of the dot.

    Raises
    ------
    ChargeBalanceError
        If there are none.
    """
    fitting = tuple(cell for cell in cells if dot_cut.fits_cell(cell.n_dot))
    if not fitting:
        require_whole_number(min(dot_cut.anions_per_cell), n_cells=cells[0].n_dot, facet=facet)
    return fitting


def describe_completion(termination: TerminationPair, *, n_cells: int) -> tuple[str, ...]:
    """Return in words how a film of charged layers was made neutral."""
    if termination.completion is None:
        return ()
    return (f"{termination.completion}: {n_cells * termination.n_completing} ions on each face of the film",)


def describe_passivation(dot_cut: DotCut, label: str | None, *, n_cells: int) -> tuple[str, ...]:
    """Return in words how a polar dot facet is kept neutral: its anions stay where the film comes to lie."""
    if not dot_cut.is_polar:
        return ()
    bottom, top = (int(count * n_cells) for count in dot_cut.anions_per_cell)
    return (f"shared-halide: {bottom} {label} below the dot, {top} {label} between dot and film",)


def choose_cell(cells: tuple[CellMatch, ...], choice: CellChoice) -> CellMatch:
    """Return the smallest or the least strained cell, of those on the Pareto front where there are any."""
    front = [cell for cell in cells if cell.is_pareto] or list(cells)
    if choice is CellChoice.SMALLEST:
        return min(front, key=lambda cell: cell.area_ang2)
    return least_strained(front)


def choose_termination(
    face: OrientedFace, wanted: str | None, *, completion: Completion | None = None
) -> TerminationPair:
    """Return the wanted termination of a film, or the stoichiometric one that breaks the least bond valence.

    Parameters
    ----------
    face
        The film's face.
    wanted
        Chemical layer that touches the dot, such as ``PbI2``, for a stoichiometric film; both layers, such as
        ``PbI2|PbI2``, for any listed one; None: the stoichiometric film of least broken bond valence.
    completion
        How a pair of charged layers is made neutral.

    Raises
    ------
    SlabError
        If the plane has no neutral termination without a dipole, or not the wanted one.
    """
    if wanted is not None and "|" in wanted:
        pair = _choose_pair(face, wanted)
        if completion is not None:
            return complete_termination(face.oriented, pair, completion, face=face.name)
        return _require_neutral(face, pair)
    terminations = find_terminations(face.oriented)
    if not terminations:
        raise SlabError(
            f"{face.name} has no stoichiometric termination without a dipole",
            limit="Σ q z over one lattice plane must vanish for whole ions",
            why="the energy of a polar film grows with its thickness, so no surface energy exists",
            remedy="choose another plane of this phase",
        )
    matching = [t for t in terminations if wanted in (None, t.bottom)]
    if not matching:
        raise SlabError(
            f"{face.name} has no non-polar termination with {wanted} towards the dot",
            limit=f"available: {', '.join(sorted({t.bottom for t in terminations}))}",
            why="the film would be charged, polar or not the one that was asked for",
            remedy="name one of these as termination, or leave it out",
        )
    return describe_pair(survey_plane(face.oriented), matching[0].cut, matching[0].cut)


def list_other_terminations(crystal: CrystalRecord, film: Candidate) -> tuple[Candidate, ...]:
    """Return the film with every other stoichiometric termination of its plane, least broken bond valence first.

    Terminations count as different when another layer touches the dot.

    Parameters
    ----------
    crystal
        The film's phase.
    film
        A candidate; a non-stoichiometric or completed film has no others that hold the same matter.
    """
    if film.excess or any(film.closing):
        return ()
    face = orient_face(crystal, film.film_plane)
    by_layer: dict[str, TerminationPair] = {}
    for found in find_terminations(face.oriented):
        by_layer.setdefault(found.bottom, describe_pair(survey_plane(face.oriented), found.cut, found.cut))
    others = (pair for layer, pair in by_layer.items() if layer != film.termination.partition("|")[0])
    return tuple(film.model_copy(update={"termination": pair.name, "cut": pair.cut}) for pair in others)


def _choose_pair(face: OrientedFace, wanted: str) -> TerminationPair:
    """Return the termination with the wanted layers on both faces."""
    listed = list_terminations(face.oriented)
    pair = next((pair for pair in listed.pairs if pair.name == wanted.replace(" ", "")), None)
    if pair is None:
        reasons = "".join(f"; {reason}" for reason in listed.reasons)
        raise SlabError(
            f"{face.name} has no termination {wanted}",
            limit=f"available: {', '.join(p.name for p in listed.pairs) or 'none'}{reasons}",
            why="the film would not be the one that was asked for",
            remedy="name one of these as termination, or leave it out; `qdip structures terminations` describes them",
        )
    return pair


def _require_neutral(face: OrientedFace, pair: TerminationPair) -> TerminationPair:
    if pair.charge_e == 0:
        return pair
    possible = [found.completion for found in list_completions(face.oriented, [pair])]
    remedy = f"set completion to {' or '.join(filter(None, possible))}, or " if possible else ""
    raise ChargeBalanceError(
        f"{face.name} with {pair.name} carries {pair.charge_e:+d} e per 1 × 1 cell",
        limit="the formal charges of a film must sum to zero",
        why="a charged film has no defined energy in a periodic cell",
        remedy=f"{remedy}choose a neutral termination of this plane",
    )


def count_excess(
    study: StudySpec, face: OrientedFace, termination: TerminationPair, crystals: Mapping[str, CrystalRecord]
) -> dict[str, int]:
    """Return the excess of a film per 1 × 1 cell in formula units of the study's reservoirs.

    Raises
    ------
    StudyError
        If the film has an excess and the study names no reservoirs.
    SlabError
        If the excess is not made of whole formula units of them.
    """
    if termination.is_stoichiometric:
        return {}
    reservoirs = study.film.reservoirs
    if reservoirs is None:
        raise StudyError(
            f"{face.name} with {termination.name} holds {termination.excess_in_words} per 1 × 1 cell beyond the host",
            limit="a non-stoichiometric film needs film.reservoirs",
            why="its surface energy depends on the chemical potentials of what it has too much of",
            remedy="add film.reservoirs, such as {ax: CsI, bx2: PbI2}, or choose a stoichiometric termination",
        )
    compounds = {name: crystals[name].composition_per_fu for name in (reservoirs.ax, reservoirs.bx2)}
    return split_excess(termination.excess, face.oriented, compounds=compounds, film=face.name)


def formula_units_per_cell(face: OrientedFace, crystal: CrystalRecord) -> int:
    """Return the host formula units in one oriented cell."""
    return crystal.formula_units * len(face.oriented.ions) // len(face.crystal.ions)


def resolve_partition(
    asked: float | Literal["auto"], film: tuple[OrientedFace, int], dot: tuple[OrientedFace, int]
) -> float:
    """Return the strain partition w as a number.

    Parameters
    ----------
    asked
        A number stands as it is; ``auto`` is the share of least elastic energy (`automatic_partition`).  Its biaxial
        modulus 3 B (1 − 2ν) / (1 − ν) is taken proportional to the bulk modulus B: one Poisson ratio ν for both.
    film, dot
        Each face with its number of lattice planes.

    Raises
    ------
    MatchError
        If ``auto`` is asked and a bulk modulus is unknown.
    """
    return automatic_partition(_stiffness(*film), _stiffness(*dot)) if asked == "auto" else asked


def _stiffness(face: OrientedFace, n_planes: int) -> float:
    """Return bulk modulus times thickness in GPa·Å."""
    if face.bulk_modulus_gpa is None:
        raise MatchError(
            f"{face.name} has no bulk modulus",
            limit="an automatic strain partition needs that of film and dot",
            why="the share of the strain would be a guess",
            remedy="give strain_partition as a number: 0 strains the film only, 1 the dot only",
        )
    return face.bulk_modulus_gpa * n_planes * plane_spacing_ang(face.oriented)


def _count_film_planes(study: StudySpec, face: OrientedFace, n_formula_units: int) -> int:
    """Return the lattice planes of a film of at least the asked thickness, whole reference cells."""
    spacing, thickness = plane_spacing_ang(face.oriented), study.film.min_thickness_ang
    if thickness < (1.0 - THICKNESS_ALLOWANCE) * spacing / n_formula_units:
        raise SlabError(
            f"a film of {face.name} {thickness:g} Å thick is thinner than one formula unit",
            limit=f"one formula unit is {spacing / n_formula_units:.2f} Å thick along this normal",
            why="less than a formula unit has another composition than the host",
            remedy="raise film.min_thickness_ang; 12 Å is the least for a film with an interior",
        )
    periods = study.film.reference_periods
    return periods * ceil(int(ceil_whole(thickness / spacing)) / periods)


def _describe(
    study: StudySpec,
    phase: PhaseSpec,
    *,
    title: InterfaceLabel,
    crystal: CrystalRecord,
    plane: str,
    film_face: OrientedFace,
    dot_face: OrientedFace,
    dot_cut: DotCut,
    termination: TerminationPair,
    excess: Mapping[str, int],
    match: CellMatch,
    registry_choice: RegistryChoice,
) -> Candidate:
    n_planes = _count_film_planes(study, film_face, formula_units_per_cell(film_face, crystal))
    unnamed = Candidate(
        id="",
        title=title,
        dot=study.dot.material,
        dot_plane=dot_face.plane,
        passivation=study.dot.passivation if dot_cut.is_polar else None,
        dot_cut=dot_cut,
        phase=phase.phase,
        role=phase.role,
        film_plane=plane,
        n_film_planes=n_planes,
        cut=termination.cut,
        termination=termination.name,
        film_matrix=match.film_matrix,
        dot_matrix=match.dot_matrix,
        search_strains=match.principal_strains,
        search_area_ang2=match.area_ang2,
        strain_partition=resolve_partition(
            study.matching.strain_partition, (film_face, n_planes), (dot_face, dot_cut.n_planes)
        ),
        shift=registry_choice.shift,
        environment=study.environment,
        apart=study.list_apart(phase.phase),
        place=registry_choice.rank,
        n_formula_units=match.n_film
        * (n_planes * formula_units_per_cell(film_face, crystal) + termination.n_closing_formula_units),
        closing=termination.closing if any(termination.closing) else (),
        excess={compound: match.n_film * count for compound, count in excess.items()},
        notes=(
            f"cleavage cuts {termination.broken_valence:.2f} valence units per 1 × 1 cell",
            *describe_completion(termination, n_cells=match.n_film),
            *describe_passivation(dot_cut, study.dot.passivation, n_cells=match.n_dot),
        ),
    )
    return identify_candidate(unnamed)


_NOT_A_CHOICE = {"title", "label", "notes", "search_strains", "search_area_ang2", "strain_partition"}
"""What follows from other choices, or is written for people."""


def identify_candidate(candidate: Candidate) -> Candidate:
    """Return a candidate with its id and, where its registry is looked for, that of the scan."""
    interface = _digest(candidate.model_copy(update={"place": 0}))
    scan = interface if candidate.place else None
    return candidate.model_copy(update={"id": _digest(candidate), "registry_scan": scan})


def _digest(candidate: Candidate) -> str:
    content = candidate.model_dump(mode="json", exclude=_NOT_A_CHOICE) | {"asked": candidate.title.termination}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
