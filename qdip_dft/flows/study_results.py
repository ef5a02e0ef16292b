"""A study with everything that is computed around the films it compares.

Which films are compared is a result.  So the samples are listed when the study's own calculations are complete, and
until then only planned, for the first candidate of each side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qdip_dft.analysis.stability import require_one_theory
from qdip_dft.errors import LevelOfTheoryError
from qdip_dft.flows.answer import state_uncertainty
from qdip_dft.flows.assembly import assemble_documents, describe_candidate, place_built
from qdip_dft.flows.engines import StudyEngines
from qdip_dft.flows.reservoirs import survey_reservoirs
from qdip_dft.flows.resolution import LookUp, Resolution, resolve_steps
from qdip_dft.flows.steps import StudySteps
from qdip_dft.flows.variations import Variation, list_variations
from qdip_dft.model.calculation import Level
from qdip_dft.model.interface import Candidate
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.study import PhaseRole
from qdip_dft.model.term_names import TERM_FIELDS, TOTAL_FIELD
from qdip_dft.model.uncertainty import VariationKind, VariedFilm


def resolve_study(steps: StudySteps, engines: StudyEngines, look_up: LookUp) -> Resolution:
    """Return the state of every step of a study and, once the study's own are done, of its samples.

    Parameters
    ----------
    steps, engines, look_up
        As for `resolve_steps`.
    """
    resolution = resolve_steps(steps, engines, look_up)
    for sample in list_study_variations(steps, resolution, level=engines.level):
        resolve_steps(sample.steps, engines, look_up, earlier=resolution)
    return resolution


def list_study_variations(steps: StudySteps, resolution: Resolution, *, level: Level) -> tuple[Variation, ...]:
    """Return the samples around the films that are compared; none while the study's own films are not done."""
    pending = {*resolution.waiting, *resolution.unfinished}
    if not has_variations(steps) or any(step.name in pending for step in steps.steps):
        return ()
    documents = assemble_documents(steps, resolution, level=level)
    labels = [label for d in documents for label in (d.stabilization.black, d.stabilization.competitor)]
    films = [candidate for candidate in steps.candidates if candidate.label in labels]
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
    return max(counts) > 1 or asked.preset is not None or bool(asked.models)


def assemble_study(steps: StudySteps, resolution: Resolution, *, level: Level) -> tuple[StabilizationDoc, ...]:
    """Return the result on every facet with its uncertainty.

    Parameters
    ----------
    steps
        The study.
    resolution
        What was calculated of it and of its samples.
    level
        How far the energies may be trusted.
    """
    samples = list_study_variations(steps, resolution, level=level)
    documents = assemble_documents(steps, resolution, level=level)
    return tuple(_add_uncertainty(steps, resolution, document, samples) for document in documents)


def _add_uncertainty(
    steps: StudySteps, resolution: Resolution, document: StabilizationDoc, samples: Sequence[Variation]
) -> StabilizationDoc:
    labels = {document.stabilization.black, document.stabilization.competitor}
    own = [sample for sample in samples if sample.film.label in labels]
    described = [describe_sample(sample, resolution, steps=steps) for sample in own]
    names = [step.name for sample in own for step in sample.steps.steps if step.name in resolution.records]
    keys = {**document.calculations, **{name: resolution.keys[name] for name in names}}
    return state_uncertainty(
        document.model_copy(update={"calculations": keys}), described, steps=steps, resolution=resolution
    )


def describe_sample(sample: Variation, resolution: Resolution, *, steps: StudySteps) -> VariedFilm:
    """Return the terms of a sample, or why it does not count.

    Parameters
    ----------
    sample
        The changed film.
    resolution
        What was calculated.
    steps
        The study, for its other phases: the most stable one bounds the chemical potentials.
    """
    candidate = sample.candidate
    has_own_energies = sample.kind in {VariationKind.PRESET, VariationKind.MODEL}
    phases = replace(sample.steps, candidates=steps.candidates) if has_own_energies else steps
    result = describe_candidate(sample.steps, resolution, candidate, survey_reservoirs(phases, resolution))
    records = [
        resolution.records[name] for name in sample.steps.parts_of(candidate).values() if name in resolution.records
    ]
    mixture: tuple[str, ...] = ()
    try:
        theory = require_one_theory(record.theory for record in records)
    except LevelOfTheoryError as error:
        theory, mixture = None, (error.what,)
    return VariedFilm(
        kind=sample.kind,
        index=sample.index,
        tag=sample.steps.tag,
        film=sample.film.label,
        role=candidate.role,
        **{name: getattr(result, name) for name in (*TERM_FIELDS, TOTAL_FIELD)},
        n_formula_units=candidate.n_formula_units,
        area_ang2=result.area_ang2,
        n_film_planes=candidate.n_film_planes,
        n_dot_planes=candidate.dot_cut.n_planes,
        faults=(*result.faults, *mixture),
        theory=theory,
        calculations=result.calculations,
    )
