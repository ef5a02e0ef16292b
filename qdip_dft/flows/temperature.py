"""From a study's result to the vibrations that it needs, and from these to its answer against temperature."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from qdip_dft.analysis.free_energy import compare_phases
from qdip_dft.analysis.sides import find_sides
from qdip_dft.builders.cages import count_orientations
from qdip_dft.builders.ions import view_ions
from qdip_dft.errors import StudyError
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import Part, StudySteps
from qdip_dft.flows.vibrations import VibratingCrystal
from qdip_dft.model.calculation import Freedom, Level, LevelOfTheory
from qdip_dft.model.interface import Candidate
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.temperature import PhaseVibrations, TemperatureDoc
from qdip_dft.version import __version__

ASSUMPTIONS = (
    "vibrations are harmonic, at the volume of the static minimum: no thermal expansion",
    "the vibrations of surfaces and of the interface are taken to be those of the strained bulk",
    "the dot's vibrations cancel between the phases",
    "the splitting of longitudinal optical modes at long wavelengths by their electric field is left out",
)
ROTATION = (
    "an organic cation has an entropy between none and k ln W, W the number of its equivalent orientations in the cage"
)
COMPARED = ("black", "competitor")


def list_compared(document: StabilizationDoc) -> dict[str, Candidate]:
    """Return the two candidates that a result compares, by their part in it.

    Raises
    ------
    StudyError
        If the result compares no two films.
    """
    answer = document.stabilization
    films = find_sides(document).films
    if len(films) == len(COMPARED):
        return {side: film.candidate for side, film in zip(COMPARED, films, strict=True)}
    raise StudyError(
        f"result {document.id} does not compare two films ({answer.black} with {answer.competitor})",
        limit="free energies are compared between a black film and a film of a competing phase",
        why="products of a decomposition and missing terms have no strained bulk whose vibrations could be added",
        remedy="complete the study with a competing phase first: qdip run, qdip status",
    )


def list_crystals(
    steps: StudySteps, resolution: Resolution, document: StabilizationDoc
) -> dict[tuple[str, bool], VibratingCrystal]:
    """Return the crystals whose vibrations a result needs, by its side and whether they are strained."""
    crystals: dict[tuple[str, bool], VibratingCrystal] = {}
    for side, candidate in list_compared(document).items():
        film = steps.crystals[candidate.phase]
        geometry = steps.geometry_of(candidate)
        names = steps.relaxations_of(candidate)
        w = count_orientations(view_ions(film.structure, film.formal_charges))
        crystals[side, False] = VibratingCrystal(
            candidate.phase, Freedom.CELL, resolution.relaxed[names[Part.BULK]], film.formula_units, w
        )
        crystals[side, True] = VibratingCrystal(
            candidate.label,
            Freedom.OUT_OF_PLANE,
            resolution.relaxed[names[Part.STRAINED_BULK]],
            geometry.n_reference_formula_units,
            w,
        )
    return crystals


def assemble_temperature(
    document: StabilizationDoc,
    phases: dict[tuple[str, bool], PhaseVibrations],
    *,
    level: Level,
    theory: LevelOfTheory,
    temperatures_k: Sequence[float],
    min_length_ang: float,
) -> TemperatureDoc:
    """Return the result against temperature.

    Parameters
    ----------
    document
        The static result.
    phases
        Vibrations by side and whether they are those of the strained bulk.
    level, theory
        Of the vibrations.
    temperatures_k
        The temperatures.
    min_length_ang
        Least thickness of the supercells.
    """
    static = document.stabilization
    off_dot, on_dot = (
        compare_phases(
            phases["black", is_strained],
            phases["competitor", is_strained],
            static_ev_per_fu=energy_ev,
            temperatures_k=temperatures_k,
        )
        for is_strained, energy_ev in ((False, static.bulk_ev_per_fu), (True, static.total_ev_per_fu))
    )
    has_molecules = any(phase.n_orientations for phase in phases.values())
    return TemperatureDoc(
        id=document.id,
        level=level,
        theory=theory,
        temperatures_k=tuple(temperatures_k),
        min_length_ang=min_length_ang,
        phases=tuple(phases.values()),
        off_dot=off_dot,
        on_dot=on_dot,
        assumptions=(*ASSUMPTIONS, ROTATION) if has_molecules else ASSUMPTIONS,
        versions={
            "qdip_dft": __version__,
            "phonopy": version("phonopy"),
            "python": platform.python_version(),
        },
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
