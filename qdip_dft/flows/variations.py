"""What is computed around the two films that are compared, to say how sure the answer is.

A star, not a grid: each variation changes one thing of one film and shares every calculation that the change leaves
alone.
A variation is never a candidate; what stands for a phase is chosen among the study's own films.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from qdip_dft.builders.candidates import list_other_terminations
from qdip_dft.builders.cation_orientations import has_molecules, turn_cations
from qdip_dft.flows.steps import FRAGMENTS, WHOLE_PARTS, Part, StudySteps
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.interface import Candidate
from qdip_dft.model.study import StudySpec
from qdip_dft.model.uncertainty import VariationKind

_ON_FILM = frozenset({Part.FILM_SLAB, Part.INTERFACE})
_OWN_PARTS = {
    VariationKind.FILM_THICKNESS: _ON_FILM,
    VariationKind.DOT_THICKNESS: frozenset({Part.DOT_SLAB, Part.INTERFACE}),
    VariationKind.TERMINATION: _ON_FILM | {Part.STRAINED_BULK},
    VariationKind.ORIENTATION: _ON_FILM | {Part.BULK, Part.STRAINED_BULK},
    VariationKind.PRESET: WHOLE_PARTS,
    VariationKind.MODEL: WHOLE_PARTS,
    VariationKind.COUNTERPOISE: FRAGMENTS,
}
"""The parts that a change affects; all others are those of the study itself."""

_THICKER = frozenset({VariationKind.FILM_THICKNESS, VariationKind.DOT_THICKNESS})
"""One interface at several thicknesses: these start from the study's relaxed one.  What another orientation,
termination, preset or model finds on its own from the same registry is part of what that change is worth."""


@dataclass(frozen=True, slots=True)
class Variation:
    """One film with one thing changed.

    Parameters
    ----------
    kind, index
        What is changed, and its number among the like.
    film
        The candidate as the study built it.
    steps
        The steps of the changed film.
    """

    kind: VariationKind
    index: int
    film: Candidate
    steps: StudySteps

    @property
    def candidate(self) -> Candidate:
        """Return the changed film."""
        return self.steps.candidates[0]


def list_variations(steps: StudySteps, films: Sequence[Candidate]) -> tuple[Variation, ...]:
    """Return what a study computes around the films that are compared.

    Parameters
    ----------
    steps
        The study.
    films
        The films with the registries that they were built at.
    """
    return tuple(variation for film in films for variation in _variations_of(steps, _pin(film)))


def list_engines(study: StudySpec) -> dict[str, EngineSpec]:
    """Return the engines that variations need besides the study's own, by the tag of their steps."""
    finer, own = study.uncertainty.preset, study.engine
    engines = {} if finer is None else {f"preset {finer.value}": own.model_copy(update={"preset": finer})}
    return engines | {name_engine(spec): spec for spec in study.uncertainty.models}


def name_engine(spec: EngineSpec) -> str:
    """Return engine, potential, functional and preset in words, such as ``mlip chgnet fast``."""
    return " ".join(filter(None, (spec.name, spec.potential_name, spec.functional, spec.preset.value)))


def _pin(film: Candidate) -> Candidate:
    """The film with its registry as given: no variation is scanned again."""
    return film.model_copy(update={"registry_scan": None, "place": 0})


def _variations_of(steps: StudySteps, film: Candidate) -> Iterator[Variation]:
    for kind, changes in _list_changes(steps, film).items():
        for index, (tag, changed) in enumerate(changes, start=1):
            own = _OWN_PARTS[kind]
            if (
                kind is VariationKind.ORIENTATION and film.strain_partition > 0
            ):  # the interface cell follows from the film's lattice
                own = own | {Part.DOT_SLAB}
            thin = film if kind in _THICKER else None
            yield Variation(kind, index, film, replace(changed, dropped=(), tag=tag, own=own, thin=thin))


def _list_changes(steps: StudySteps, film: Candidate) -> dict[VariationKind, list[tuple[str, StudySteps]]]:
    """Return what is changed by kind, each with its tag and the changed study of this film alone."""
    study, asked, crystal = steps.study, steps.study.uncertainty, steps.crystals[film.phase]
    alone = replace(steps, candidates=(film,))
    can_turn = has_molecules(crystal.structure, crystal.formal_charges)
    others = list_other_terminations(crystal, film)[: asked.terminations - 1] if asked.terminations > 1 else ()
    engines = list_engines(study)
    n_finer = 0 if asked.preset is None else 1
    return {
        VariationKind.FILM_THICKNESS: [
            (f"film +{index}", replace(steps, candidates=(_thicken(steps, film, index),)))
            for index in range(1, study.film.thicknesses)
        ],
        VariationKind.DOT_THICKNESS: [
            (f"dot +{index}", replace(steps, candidates=(_thicken_dot(film, index),)))
            for index in range(1, study.dot.thicknesses)
        ],
        VariationKind.ORIENTATION: [
            (f"orientation {index + 1}", _turn_cations(alone, film.phase, seed=index))
            for index in range(1, asked.orientations if can_turn else 1)
        ],
        VariationKind.TERMINATION: [
            (f"termination {other.termination}", replace(steps, candidates=(other,))) for other in others
        ],
        VariationKind.PRESET: [(tag, alone) for tag in list(engines)[:n_finer]],
        VariationKind.MODEL: [(tag, alone) for tag in list(engines)[n_finer:]],
        VariationKind.COUNTERPOISE: [("counterpoise", alone)] if asked.counterpoise else [],
    }


def _thicken(steps: StudySteps, film: Candidate, index: int) -> Candidate:
    """Return the film with so many more reference cells on its outer side."""
    geometry = steps.geometry_of(film)
    n_planes = index * steps.study.film.reference_periods
    return film.model_copy(
        update={
            "n_film_planes": film.n_film_planes + n_planes,
            "n_added_film_planes": n_planes,
            "n_formula_units": film.n_formula_units + index * geometry.n_reference_formula_units,
        }
    )


def _thicken_dot(film: Candidate, index: int) -> Candidate:
    """Return the film on a dot slab with so many more lattice planes below."""
    cut = film.dot_cut.model_copy(update={"n_planes": film.dot_cut.n_planes + index})
    return film.model_copy(update={"dot_cut": cut, "n_added_dot_planes": index})


def _turn_cations(steps: StudySteps, phase: str, *, seed: int) -> StudySteps:
    crystal = steps.crystals[phase]
    turned = turn_cations(crystal.structure, crystal.formal_charges, seed=seed)
    return replace(steps, crystals={**steps.crystals, phase: crystal.model_copy(update={"structure": turned})})
