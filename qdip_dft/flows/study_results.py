"""A study with everything that is computed around the films it compares.

Which films are compared is a result.  So the variations are listed when the study's own calculations are complete, and
until then only planned, for the first candidate of each side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qdip_dft.analysis.sides import find_sides
from qdip_dft.analysis.stability import require_one_theory
from qdip_dft.errors import LevelOfTheoryError
from qdip_dft.flows.anchoring import anchor_variations
from qdip_dft.flows.answer import state_uncertainty, take_lowest_choices
from qdip_dft.flows.assembly import assemble_document, describe_candidate, describe_facets, place_built
from qdip_dft.flows.counterpoise import correct_binding
from qdip_dft.flows.engines import StudyEngines
from qdip_dft.flows.reservoirs import survey_reservoirs
from qdip_dft.flows.resolution import Resolution, resolve_steps
from qdip_dft.flows.steps import StudySteps
from qdip_dft.flows.variations import Variation, list_variations
from qdip_dft.model.calibration import Calibration
from qdip_dft.model.interface import Candidate
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.stored import LookUp
from qdip_dft.model.study import PhaseRole
from qdip_dft.model.term_names import TERM_FIELDS, TOTAL_FIELD
from qdip_dft.model.uncertainty import OTHER_THEORIES, VariationKind, VariedFilm


def resolve_study(steps: StudySteps, engines: StudyEngines, look_up: LookUp) -> Resolution:
    """The state of every step of a study and, once the study's own are done, of its variations.

    Parameters
    ----------
    steps, engines, look_up
        As for `resolve_steps`.
    """
    resolution = resolve_steps(steps, engines, look_up)
    variations = list_study_variations(steps, resolution)
    for variation in variations:
        resolution = resolve_steps(variation.steps, engines, look_up, earlier=resolution)
    return replace(resolution, variations=variations)


def list_study_variations(steps: StudySteps, resolution: Resolution) -> tuple[Variation, ...]:
    """The variations around the films that are compared; none while the study's own films are not done.

    Parameters
    ----------
    steps
        The study.
    resolution
        What was calculated of its own steps.
    """
    if not has_variations(steps) or resolution.waiting or resolution.unfinished:
        return ()
    compared = {film.candidate.id for found in describe_facets(steps, resolution) for film in found.sides.films}
    films = [candidate for candidate in steps.candidates if candidate.id in compared]
    return list_variations(steps, [place_built(steps, resolution, film) for film in films])


def preview_variations(steps: StudySteps) -> tuple[Variation, ...]:
    """Return what would be computed if the first candidate of each side on each facet were the ones compared."""
    if not has_variations(steps):
        return ()
    first: dict[tuple[str, PhaseRole], Candidate] = {}
    for candidate in steps.candidates:
        first.setdefault((candidate.dot_plane, candidate.role), candidate)
    return list_variations(steps, list(first.values()))


def has_variations(steps: StudySteps) -> bool:
    """Return whether a study asks for anything besides its own films."""
    study, asked = steps.study, steps.study.uncertainty
    counts = (study.film.thicknesses, study.dot.thicknesses, asked.orientations, asked.terminations)
    return max(counts) > 1 or asked.preset is not None or bool(asked.models) or asked.counterpoise


def assemble_study(
    steps: StudySteps, resolution: Resolution, *, engines: StudyEngines, calibrations: Sequence[Calibration] = ()
) -> tuple[StabilizationDoc, ...]:
    """The result on every facet with its uncertainty.

    Parameters
    ----------
    steps
        The study.
    resolution
        What was calculated of it and of its variations.
    engines
        The engines that made the numbers.
    calibrations
        What is known of the errors of potentials.
    """
    settings = engines.relaxing.relaxation_settings()
    found = describe_facets(steps, resolution)
    documents = (assemble_document(steps, resolution, facet, level=engines.level) for facet in found)
    complete = (_add_uncertainty(steps, resolution, document, calibrations) for document in documents)
    return tuple(document.model_copy(update={"relaxation_settings": settings}) for document in complete)


def _add_uncertainty(
    steps: StudySteps, resolution: Resolution, document: StabilizationDoc, calibrations: Sequence[Calibration]
) -> StabilizationDoc:
    sides = find_sides(document)
    compared = {film.candidate.id for film in sides.films}
    own = [variation for variation in resolution.variations if variation.film.id in compared]
    described = [describe_variation(variation, resolution, steps=steps) for variation in own]
    calculated = [step for each in own for step in each.steps.steps if step.id in resolution.records]
    keys = {**document.calculations, **{step.label: resolution.keys[step.id] for step in calculated}}
    varied = anchor_variations(described, sides)
    return state_uncertainty(
        take_lowest_choices(document.model_copy(update={"calculations": keys}), varied),
        varied,
        steps=steps,
        resolution=resolution,
        calibrations=calibrations,
    )


def describe_variation(variation: Variation, resolution: Resolution, *, steps: StudySteps) -> VariedFilm:
    """The terms of a variation, or why it does not count.

    Parameters
    ----------
    variation
        The changed film.
    resolution
        What was calculated.
    steps
        The study, for its other phases: the most stable one bounds the chemical potentials.
    """
    candidate = variation.candidate
    has_own_energies = variation.kind in OTHER_THEORIES
    phases = replace(variation.steps, candidates=steps.candidates) if has_own_energies else steps
    result = describe_candidate(variation.steps, resolution, candidate, survey_reservoirs(phases, resolution))
    if variation.kind is VariationKind.COUNTERPOISE:
        result = correct_binding(result, variation.steps, resolution)
    records = [
        resolution.records[step] for step in variation.steps.parts_of(candidate).values() if step in resolution.records
    ]
    mixture: tuple[str, ...] = ()
    try:
        theory = require_one_theory(record.theory for record in records)
    except LevelOfTheoryError as error:
        theory, mixture = None, (error.what,)
    return VariedFilm(
        kind=variation.kind,
        index=variation.index,
        tag=variation.steps.tag,
        film=variation.film.label,
        film_id=variation.film.id,
        role=candidate.role,
        **{name: getattr(result, name) for name in (*TERM_FIELDS, TOTAL_FIELD)},
        dot_strain_ev_per_fu=result.dot_strain_ev_per_fu,
        n_formula_units=candidate.n_formula_units,
        area_ang2=result.area_ang2,
        n_film_planes=candidate.n_film_planes,
        n_dot_planes=candidate.dot_cut.n_planes,
        faults=(*result.faults, *mixture),
        theory=theory,
        calculations=result.calculations,
    )
