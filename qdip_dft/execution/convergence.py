"""Refining one setting of a study step by step; every step is a variant of the study and stored as such."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdip_dft.analysis.convergence import CUTOFF, DOT, FILM, K_SPACING, Ladder, Quantity, Setting, make_rung
from qdip_dft.builders.faces import orient_face
from qdip_dft.builders.orientation import plane_spacing_ang
from qdip_dft.engines.code_run import count_k_points
from qdip_dft.errors import EngineError
from qdip_dft.execution.local import run_study
from qdip_dft.flows.building import preview_structures
from qdip_dft.flows.steps import Part
from qdip_dft.model.calculation import Freedom
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.study import StudySpec
from qdip_dft.planning.plan import StudyPlan, plan_study
from qdip_dft.planning.study_files import validate_study

if TYPE_CHECKING:
    from rich.console import Console

VACUUM_STEP_ANG = 5.0
"""Added vacuum per step: the field of a slab's dipole falls with the distance, slowly."""

CUTOFF_FACTOR = 1.2
"""Each cutoff is so much higher: about a hundred eV for PAW data sets."""

FINER_SPACING = 0.9
"""Distances of k-points are tried in this ratio until the meshes differ."""

_SETTING_OF_THEORY = {K_SPACING: "k_spacing_per_ang", CUTOFF: "cutoff_ev"}


@dataclass(frozen=True)
class Refinement:
    """The ladder of one setting of a study.

    Parameters
    ----------
    study
        The study, all other settings of which stay.
    setting
        What is refined.
    target_ev_per_fu
        Largest change that is accepted.
    max_steps
        Largest number of values.
    """

    study: StudySpec
    setting: Setting
    target_ev_per_fu: float
    max_steps: int

    def climb(self, *, results: Path, console: Console | None = None) -> Iterator[Ladder]:
        """Carry out one variant after the other and yield the ladder after each, until it is finished.

        Parameters
        ----------
        results
            Results folder; what is stored there is not calculated again.
        console
            Where to show progress; None: silent.
        """
        ladder = Ladder(self.setting, self.target_ev_per_fu)
        first: tuple[StabilizationDoc, ...] | None = None
        for study in islice(self.list_variants(), self.max_steps):
            documents = run_study(plan_study(study), results=results, console=console).documents
            first = first or documents
            ladder = ladder.climb(make_rung(read_setting(study, self.setting), documents, first))
            yield ladder
            if ladder.is_finished:
                return

    def list_variants(self) -> Iterator[StudySpec]:
        """Yield the study with finer and finer values, its own first; without end, and without its error bars."""
        bare = leave_out_variations(self.study)
        value = find_value(plan_study(bare), self.setting)
        while True:
            variant = change_setting(bare, self.setting, value)
            yield variant
            value = find_next_value(plan_study(variant), self.setting, value)


def require_setting(plan: StudyPlan, quantity: Quantity, setting: Setting) -> None:
    """Refuse to converge what an engine does not have.

    Raises
    ------
    EngineError
        If the engine has neither k-points nor plane waves.
    """
    name = _SETTING_OF_THEORY.get(setting)
    if name is None or name in plan.engine.theory().settings:
        return
    raise EngineError(
        f"engine {plan.engine.name!r} has no {setting.key.rpartition('.')[2]} to converge",
        limit=f"--what {quantity} needs a DFT engine, such as espresso or gpaw",
        why="an interatomic potential has neither k-points nor plane waves: its energy would stay the same",
        remedy="converge layers and vacuum with this engine, or choose another with --engine",
    )


def find_value(plan: StudyPlan, setting: Setting) -> float:
    """Return the value that a study has, from its file or from the engine's preset."""
    if setting not in _SETTING_OF_THEORY:
        return read_setting(plan.study, setting)
    found = plan.engine.theory().settings[_SETTING_OF_THEORY[setting]]
    return setting.round(float(str(found)))


def find_next_value(plan: StudyPlan, setting: Setting, value: float) -> float:
    """Return the next finer value: one that changes what is calculated.

    A film or a dot becomes thicker by at least one lattice plane (of the phase with the widest), k-points by enough for
    every strained bulk to get another mesh.

    Parameters
    ----------
    plan
        The study at the present value.
    setting, value
        The setting and its present value.
    """
    if setting is FILM:
        return setting.round(value + plan.study.film.reference_periods * _widest_plane_ang(plan))
    if setting is DOT:
        return setting.round(value + _dot_plane_ang(plan))
    if setting is K_SPACING:
        return setting.round(_next_spacing(plan, value))
    return setting.round(CUTOFF_FACTOR * value if setting is CUTOFF else value + VACUUM_STEP_ANG)


def _widest_plane_ang(plan: StudyPlan) -> float:
    planes = {(candidate.phase, candidate.film_plane) for candidate in plan.steps.candidates}
    return max(plane_spacing_ang(orient_face(plan.crystals[phase], plane).oriented) for phase, plane in planes)


def _dot_plane_ang(plan: StudyPlan) -> float:
    dot = plan.crystals[plan.study.dot.material]
    return max(plane_spacing_ang(orient_face(dot, plane).oriented) for plane in plan.study.dot.facets)


def _next_spacing(plan: StudyPlan, spacing_per_ang: float) -> float:
    structures = preview_structures(plan.steps)
    references = [
        structures[step.id]
        for step in plan.steps.steps
        if step.part is Part.STRAINED_BULK and step.freedom is not Freedom.NONE
    ]
    finer = FINER_SPACING * spacing_per_ang
    while not all(_has_other_cell(reference, spacing_per_ang, finer) for reference in references):
        finer *= FINER_SPACING
    return finer


def _has_other_cell(structure: StructureRecord, one_per_ang: float, other_per_ang: float) -> bool:
    return count_k_points(structure, one_per_ang) != count_k_points(structure, other_per_ang)


def leave_out_variations(study: StudySpec) -> StudySpec:
    """Return a study that computes its films once: what is varied for error bars does not tell whether they converge.

    It is a variant with a result of its own, unless the study varies nothing anyway.
    """
    content = study.model_dump(mode="json", exclude={"uncertainty"})
    content["film"].pop("thicknesses")
    content["dot"].pop("thicknesses")
    bare = validate_study(content, source=study.name, folder=study.folder)
    if bare == study:
        return study
    return bare.model_copy(update={"variant": "-".join(filter(None, [study.variant, "bare"]))})


def read_setting(study: StudySpec, setting: Setting) -> float:
    """Return the value of a setting that the study itself has."""
    content: Any = study.model_dump(mode="json")
    for key in setting.key.split("."):
        content = content[key]
    return float(content)


def change_setting(study: StudySpec, setting: Setting, value: float) -> StudySpec:
    """Return the variant of a study with another value of a setting, with results of its own.

    Parameters
    ----------
    study
        The study; returned as it is where it has this value.
    setting, value
        What is changed.
    """
    changed = set_value(study, setting, value)
    if changed == study:
        return study
    words = [study.variant, f"{setting.word}-{value:g}"]
    return changed.model_copy(update={"variant": "-".join(filter(None, words))})


def set_value(study: StudySpec, setting: Setting, value: float) -> StudySpec:
    """Return a study with another value of a setting and the same id.

    Raises
    ------
    StudyError
        If the study cannot have this value.
    """
    content = study.model_dump(mode="json")
    *path, last = setting.key.split(".")
    place: Any = content
    for key in path:
        place = place[key]
    place[last] = value
    return validate_study(content, source=f"{study.name} with {setting.key} = {value:g}", folder=study.folder)
