"""Takes the difference of the bulk energies from references, where these link all phases of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot

from qdip_dft.analysis.coverage import find_bulk
from qdip_dft.analysis.numbers import write_signed
from qdip_dft.analysis.sides import Sides
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import Part, StudySteps
from qdip_dft.library.references import identify_phases, load_references
from qdip_dft.model.calculation import Level
from qdip_dft.model.reference import AnchoredPair, BulkBasis, BulkChoice, PhaseReference
from qdip_dft.model.stabilization import CandidateResult
from qdip_dft.model.study import PhaseRole
from qdip_dft.model.uncertainty import OTHER_THEORIES, VariedFilm


@dataclass(frozen=True, slots=True)
class _Link:
    """A reference between two phases of a study, as E(phase) − E(relative_to)."""

    phase: str
    relative_to: str
    reference: PhaseReference


def anchor_bulks(
    steps: StudySteps, resolution: Resolution, results: Sequence[CandidateResult]
) -> tuple[list[CandidateResult], BulkBasis]:
    """The candidates with what references add to their bulk terms, and where the bulk term comes from.

    The first phase of the study keeps the bulk of the engine; every other phase lies where the references put it
    against that one.  Unless they link all phases, none is moved: two zeros in one comparison would be worse than the
    engine's own.  Products of a decomposition keep the bulk of the engine.

    Parameters
    ----------
    steps, resolution
        The study and what was calculated.
    results
        The candidates on one facet.
    """
    phases = [spec.phase for spec in steps.study.phases]
    bulks = {r.candidate.phase: r.bulk_ev_per_fu for r in results if r.candidate.phase in phases}
    links = _find_links(steps, phases)
    why_not = _find_obstacle(steps, resolution, phases, links)
    known = {phase: energy for phase, energy in bulks.items() if energy is not None}
    if why_not is None and len(known) < len(phases):
        why_not = f"the bulk of {next(p for p in phases if p not in known)} is missing"
    if why_not is not None:
        return list(results), BulkBasis(finding=f"bulk of the engine: {why_not}")
    volumes = {r.candidate.phase: r.volume_ang3_per_fu for r in results}
    pairs = tuple(_describe_pair(link, known, volumes) for link in links)
    shifts = _find_shifts(phases[0], links, known)
    moved = [r.model_copy(update={"bulk_shift_ev_per_fu": shifts.get(r.candidate.phase)}) for r in results]
    return moved, BulkBasis(pairs=pairs, finding=f"bulk anchored: {'; '.join(map(_say_pair, pairs))}")


def _find_links(steps: StudySteps, phases: Sequence[str]) -> tuple[_Link, ...]:
    """The references between phases of the study, as few as link all of them that can be linked."""
    known = identify_phases({phase: steps.crystals[phase] for phase in phases})
    at_rest = [each for each in load_references() if each.temperature_k == 0]
    reached, links = [phases[0]], []
    for phase in reached:
        for other in phases:
            link = None if other in reached else _find_link(known, phase, other, at_rest)
            if link is not None:
                reached.append(other)
                links.append(link)
    return tuple(links)


def _find_link(known: Mapping[str, str], phase: str, other: str, references: Sequence[PhaseReference]) -> _Link | None:
    asked = known.get(phase), known.get(other)
    for each in references:
        if (each.phase, each.relative_to) == asked:
            return _Link(phase, other, each)
        if (each.relative_to, each.phase) == asked:
            return _Link(other, phase, each)
    return None


def _find_obstacle(
    steps: StudySteps, resolution: Resolution, phases: Sequence[str], links: Sequence[_Link]
) -> str | None:
    """Why the bulk is that of the engine; None where references link all phases."""
    if steps.study.bulk is BulkChoice.ENGINE:
        return "the study asks for it"
    if len(phases) < 2:
        return "the study has one phase"
    records = (resolution.usable(steps.static_of(Part.BULK, phase)) for phase in phases)
    if any(record is not None and record.theory.level is Level.TEST for record in records):
        return "a toy potential has no reference"
    linked = {name for link in links for name in (link.phase, link.relative_to)}
    apart = [phase for phase in phases if phase not in linked]
    return (
        f"no reference links {' and '.join(apart)} with {'the others' if linked else 'each other'}" if apart else None
    )


def _find_shifts(root: str, links: Sequence[_Link], bulks: Mapping[str, float]) -> dict[str, float]:
    """What is added to the bulk of every phase; the links are in the order in which they reach the phases."""
    anchored = {root: bulks[root]}
    for link in links:
        if link.phase in anchored:
            anchored[link.relative_to] = anchored[link.phase] - link.reference.value_ev_per_fu
        else:
            anchored[link.phase] = anchored[link.relative_to] + link.reference.value_ev_per_fu
    return {phase: energy - bulks[phase] for phase, energy in anchored.items()}


def _describe_pair(link: _Link, bulks: Mapping[str, float], volumes: Mapping[str, float | None]) -> AnchoredPair:
    one, other = volumes.get(link.phase), volumes.get(link.relative_to)
    return AnchoredPair(
        phase=link.phase,
        relative_to=link.relative_to,
        reference=link.reference,
        engine_ev_per_fu=bulks[link.phase] - bulks[link.relative_to],
        volumes_ang3_per_fu=None if one is None or other is None else (one, other),
    )


def _say_pair(pair: AnchoredPair) -> str:
    reference = pair.reference
    said = (
        f"{reference.phase} − {reference.relative_to} {write_signed(reference.value_ev_per_fu)} ± "
        f"{reference.uncertainty_ev_per_fu:.3f} eV/f.u. ({reference.level}), the engine's own "
        f"{write_signed(pair.engine_ev_per_fu)}"
    )
    if pair.volumes_ang3_per_fu is None or reference.volumes_ang3_per_fu is None:
        return said
    ratios = zip(pair.volumes_ang3_per_fu, reference.volumes_ang3_per_fu, strict=True)
    one, other = (write_signed(100 * (own / given - 1), decimals=1) for own, given in ratios)
    return f"{said} with volumes {one} and {other} % off the reference"


def find_reference_error(basis: BulkBasis, sides: Sides) -> float | None:
    """Standard uncertainty of the anchored bulk difference in eV/f.u.; None where the comparison is not anchored.

    Parameters
    ----------
    basis
        Where the bulk term comes from.
    sides
        What is compared; products of a decomposition have the bulk of the engine.
    """
    compared = [film.candidate.phase for film in sides.films if not film.candidate.apart]
    if len(compared) < 2 or not basis.is_anchored:
        return None
    paths = {compared[0]: 0.0}
    while compared[1] not in paths:
        for pair in basis.pairs:
            ends = pair.phase, pair.relative_to
            for start, end in (ends, ends[::-1]):
                if start in paths and end not in paths:
                    paths[end] = hypot(paths[start], pair.reference.uncertainty_ev_per_fu)
    return paths[compared[1]]


def anchor_variations(films: Sequence[VariedFilm], sides: Sides) -> tuple[VariedFilm, ...]:
    """The variations with the bulk of the answer: one by the same engine is moved as the film that it varies.

    Another engine or preset has bulk energies of its own; its competitor is moved so that black − competitor has the
    bulk of the answer.  What is left between models is then strain, surface and binding.

    Parameters
    ----------
    films
        The variations of the compared films.
    sides
        The compared films.
    """
    base = {film.candidate.id: film for film in sides.films}
    moved = [
        film.model_copy(update={"bulk_shift_ev_per_fu": base[film.film_id].bulk_shift_ev_per_fu}) for film in films
    ]
    if len(base) < 2 or any(film.bulk_shift_ev_per_fu is None for film in base.values()):
        return tuple(moved)
    black, competitor = (find_bulk(film) for film in sides.films)
    black_bulks = {(film.kind, film.index): find_bulk(film) for film in moved if film.role is PhaseRole.BLACK}
    return tuple(_move_to(film, black_bulks.get((film.kind, film.index)), black, competitor) for film in moved)


def _move_to(film: VariedFilm, own_black: float | None, black: float | None, competitor: float | None) -> VariedFilm:
    if film.kind not in OTHER_THEORIES or film.role is not PhaseRole.COMPETITOR:
        return film
    if own_black is None or black is None or competitor is None or film.bulk_ev_per_fu is None:
        return film
    shift = own_black - (black - competitor) - film.bulk_ev_per_fu
    return film.model_copy(update={"bulk_shift_ev_per_fu": shift})
