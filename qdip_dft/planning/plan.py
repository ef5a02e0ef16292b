"""From a study to a printable plan and the flow that carries it out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from qdip_dft.analysis.stability import balance_decomposition
from qdip_dft.builders.candidates import find_candidates
from qdip_dft.engines.potential import PotentialEngine
from qdip_dft.engines.registry import engine_from_spec
from qdip_dft.errors import StudyError
from qdip_dft.flows.engines import StudyEngines
from qdip_dft.flows.resolution import Resolution, preview_registry_scans, preview_structures
from qdip_dft.flows.screening import RegistryScanStep, count_positions, registry_scan_of
from qdip_dft.flows.stabilization import StabilizationMaker
from qdip_dft.flows.steps import Stage, Step, StudySteps
from qdip_dft.flows.study_results import assemble_study, list_study_variations, preview_variations, resolve_study
from qdip_dft.flows.variations import Variation, list_engines
from qdip_dft.library import find_study, load_crystal
from qdip_dft.model.calculation import CalculationTask, Freedom
from qdip_dft.model.crystal import CrystalRecord
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.keys import calculation_key, registry_scan_key
from qdip_dft.model.registry import ENERGIES_PER_POSITION, RegistryScanTask
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.stored import StoredRecord
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.study import StudySpec
from qdip_dft.yaml_text import parse_yaml

if TYPE_CHECKING:
    from jobflow import Flow

    from qdip_dft.engines.base import Engine

LookUp = Callable[[str], StoredRecord | None]

TYPICAL_FORCE_CALLS = {Freedom.NONE: 1, Freedom.POSITIONS: 60, Freedom.OUT_OF_PLANE: 60, Freedom.CELL: 30}
"""Typical force evaluations of a calculation with the ``fast`` preset, for the printed estimate only."""


@dataclass(frozen=True, slots=True)
class PlannedCalculation:
    """One calculation of a plan.

    Parameters
    ----------
    name
        Unique name within the study.
    part, subject
        Such as ``film slab`` and ``PbS(111)//FAPbI3-alpha(100)``.
    n_atoms
        Number of atoms.
    freedom
        What may move.
    n_positions
        Rigid positions that a registry screening compares; None for other calculations.
    key
        Calculation key; None while an earlier result decides about the structure.
    is_stored
        Whether its result exists already.
    state
        ``stored``, ``ready``, ``waiting`` (for an earlier one), ``failed`` or ``blocked``.
    estimated_s
        Estimated time in s; 0 when stored.
    stage
        Pre-relaxation, relaxation or static calculation of the part; None for registry registry_scans.
    identity
        The same for calculations of several studies that will be one: the key or, while there is none, what it follows
        from, with the structure before any relaxation.
    """

    name: str
    part: str
    subject: str
    n_atoms: int
    freedom: Freedom
    key: str | None
    is_stored: bool
    state: str
    estimated_s: float
    n_positions: int | None = None
    stage: Stage | None = None
    identity: str = ""


@dataclass(frozen=True)
class StudyPlan:
    """A study with everything that is needed to carry it out.

    Parameters
    ----------
    study, crystals, engine
        What is asked, of what, and who gives the energies.
    """

    study: StudySpec
    crystals: dict[str, CrystalRecord]
    engine: Engine

    @cached_property
    def steps(self) -> StudySteps:
        """Return the steps of the study; the candidates are searched here, once."""
        return StudySteps(self.study, self.crystals, *find_candidates(self.study, self.crystals))

    @cached_property
    def engines(self) -> StudyEngines:
        """Return which engine does which step; that of the registry registry_scans is a potential wherever possible."""
        asked = self.study.geometry, self.study.prerelaxation
        geometry, prerelaxation = (None if spec is None else engine_from_spec(spec) for spec in asked)
        others = {tag: engine_from_spec(spec) for tag, spec in list_engines(self.study).items()}
        engines = StudyEngines(self.engine, geometry=geometry, prerelaxation=prerelaxation, by_tag=others)
        if not any(candidate.place for candidate in self.steps.candidates):
            return engines
        return replace(engines, screening=choose_registry_engine(self.study, engines))

    @cached_property
    def previews(self) -> dict[str, StructureRecord]:
        """Return the structure of each step built from unrelaxed parents."""
        for step in self.steps.steps:
            self.engines.of(step).require_freedom(step.freedom)
        return preview_structures(self.steps)

    @cached_property
    def _registry_scan_sizes(self) -> dict[str, tuple[int, int]]:
        """Return atoms and positions of each registry screening, counted with unrelaxed bulks."""
        return {name: (task.n_atoms, count_positions(task)) for name, task in self._registry_scan_previews.items()}

    @cached_property
    def _registry_scan_previews(self) -> dict[str, RegistryScanTask]:
        """Return the task of each registry screening with unrelaxed bulks."""
        return preview_registry_scans(self.steps, self.previews)

    @cached_property
    def _method(self) -> str:
        """Return everything that the engines of the study enter keys with."""
        content = {
            "energy": self.engine.theory().model_dump(mode="json"),
            "others": {name: engine.theory().model_dump(mode="json") for name, engine in self.engines.by_purpose()},
            "relaxation": self.engines.relaxing.relaxation_settings(),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _identify(self, step: Step, preview: StructureRecord, key: str | None) -> str:
        """Return what two studies have in common that will ask for the same calculation."""
        if key is not None:
            return key
        task = CalculationTask(label=step.name, freedom=step.freedom, structure=preview)
        engine = self.engines.of(step)
        start = calculation_key(task, engine.theory(), engine.relaxation_settings())
        return ":".join((self._method, step.stage.value, step.tag, start))

    def _identify_registry_scan(self, name: str, key: str | None) -> str:
        if key is not None:
            return key
        start = registry_scan_key(self._registry_scan_previews[name], self.engines.registry_engine.theory())
        return f"{self._method}:{start}"

    def resolve(self, look_up: LookUp) -> Resolution:
        """Return which steps are done, given a look-up of stored calculations."""
        return resolve_study(self.steps, self.engines, look_up)

    def list_variations(self, resolution: Resolution) -> tuple[Variation, ...]:
        """Return what is computed around the compared films; until these are known, what it would be for the first."""
        found = list_study_variations(self.steps, resolution, level=self.engines.level)
        is_finished = not resolution.unfinished and not resolution.waiting
        return found if found or is_finished else preview_variations(self.steps)

    def list_calculations(self, look_up: LookUp) -> list[PlannedCalculation]:
        """Return every calculation of the study, in order; runs nothing.

        Every structure is built here already, from unrelaxed parents where the relaxed ones do not exist yet, so a
        study that cannot be built is refused before anything runs.
        """
        return self.describe_calculations(self.resolve(look_up))

    def describe_calculations(self, resolution: Resolution) -> list[PlannedCalculation]:
        """Return every calculation of the study, in order, given what is stored of it."""
        planned: dict[str, PlannedCalculation] = {}
        for step in self.steps.steps:
            screening = registry_scan_of(self.steps, step)
            if screening is not None:
                planned.setdefault(screening.name, self._describe_registry_scan(screening, resolution))
            planned[step.name] = self._describe(step, self.previews[step.name], resolution)
        for sample in self.list_variations(resolution):
            previews = preview_structures(sample.steps, earlier=self.previews)
            for step in sample.steps.steps:
                planned[step.name] = self._describe(step, previews[step.name], resolution)
        return list(planned.values())

    def _describe_registry_scan(self, screening: RegistryScanStep, resolution: Resolution) -> PlannedCalculation:
        n_atoms, n_positions = self._registry_scan_sizes[screening.name]
        seconds = n_positions * ENERGIES_PER_POSITION * self.engines.registry_engine.seconds_per_force_call(n_atoms)
        is_stored = screening.name in resolution.registry_scans
        return PlannedCalculation(
            name=screening.name,
            part="registry screening",
            subject=screening.subject,
            n_atoms=n_atoms,
            freedom=Freedom.NONE,
            key=resolution.keys.get(screening.name),
            is_stored=is_stored,
            state=_state(screening.name, resolution),
            estimated_s=0.0 if is_stored else seconds,
            n_positions=n_positions,
            identity=self._identify_registry_scan(screening.name, resolution.keys.get(screening.name)),
        )

    def _describe(self, step: Step, preview: StructureRecord, resolution: Resolution) -> PlannedCalculation:
        engine = self.engines.of(step)
        engine.require_elements(preview.species)
        is_stored = step.name in resolution.records
        seconds = estimate_seconds(engine, step.freedom, preview.n_atoms)
        key = resolution.keys.get(step.name)
        return PlannedCalculation(
            name=step.name,
            part=step.part.value,
            subject=step.subject,
            n_atoms=preview.n_atoms,
            freedom=step.freedom,
            key=key,
            is_stored=is_stored,
            state=_state(step.name, resolution),
            estimated_s=0.0 if is_stored else seconds,
            stage=step.stage,
            identity=self._identify(step, preview, key),
        )

    def make_flow(
        self,
        look_up: LookUp,
        *,
        is_retry: bool = False,
        attempts: Mapping[str, int] = MappingProxyType({}),
        checkpoint_folder: str = ".",
    ) -> Flow | None:
        """Return the flow of what is still to be calculated; None when nothing is.

        Parameters
        ----------
        look_up
            Finds stored calculations.
        is_retry
            Whether failed, unconverged and defective calculations are tried again.
        attempts
            Number of the attempt that counts, by key; earlier ones do not.
        checkpoint_folder
            Where registry registry_scans keep their energies while they run, seen from the folder that a job runs in.
        """
        wanted = dict(attempts)
        defective = self.resolve(look_up).defective_keys if is_retry else frozenset()

        def usable(key: str) -> StoredRecord | None:
            record = look_up(key)
            if record is None:
                return None
            if is_retry and (not record.is_usable or key in defective):
                wanted[key] = record.attempt + 1
            return None if record.attempt < wanted.get(key, 0) else record

        resolution = self.resolve(usable)
        if not resolution.unfinished:
            return None
        maker = StabilizationMaker(
            study=self.study,
            crystals=self.crystals,
            candidates=self.steps.candidates,
            engines=self.engines,
            dropped=self.steps.dropped,
            attempts=wanted,
            checkpoint_folder=checkpoint_folder,
        )
        return maker.make(resolution.stored)

    def assemble(self, resolution: Resolution) -> tuple[StabilizationDoc, ...]:
        """Return the result on every facet from what is calculated; what is missing is named."""
        documents = assemble_study(self.steps, resolution, level=self.engines.level)
        settings = self.engines.relaxing.relaxation_settings()
        return tuple(document.model_copy(update={"relaxation_settings": settings}) for document in documents)


def estimate_seconds(engine: Engine, freedom: Freedom, n_atoms: int) -> float:
    """Return the typical time of a calculation in s, from what may move and the number of atoms."""
    return TYPICAL_FORCE_CALLS[freedom] * engine.seconds_per_force_call(n_atoms)


def _state(name: str, resolution: Resolution) -> str:
    record = resolution.records.get(name) or resolution.registry_scans.get(name)
    if record is not None:
        return "stored" if record.is_usable and name not in resolution.defects else "failed"
    if name in resolution.blocked:
        return "blocked"
    return "ready" if name in resolution.unfinished else "waiting"


def choose_registry_engine(study: StudySpec, engines: StudyEngines) -> Engine:
    """Return the engine of the registry registry_scans of a study.

    Hundreds of energies are needed for a start geometry that the study's own engine relaxes: a potential gives them,
    and every engine starts from the same places.

    Parameters
    ----------
    study
        The study.
    engines
        Its engines; the one that relaxes, or relaxes before, is taken when it is a potential.
    """
    if study.film.registry.engine is not None:
        return engine_from_spec(study.film.registry.engine)
    own = (engine for engine in (engines.relaxing, engines.prerelaxation) if isinstance(engine, PotentialEngine))
    return next(own, None) or engine_from_spec(EngineSpec(name="mlip"))


def read_study(name_or_path: str) -> StudySpec:
    """Return the study of a YAML file or of a file in ``workflows/``.

    Raises
    ------
    StudyError
        If there is no such study, or it has unknown keys or impossible values.
    """
    path = find_study(name_or_path)
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(
            f"{path.name} is not readable YAML ({str(error).splitlines()[0]})",
            limit="a study is a YAML mapping",
            why="nothing can be planned from it",
            remedy="compare it with workflows/quickstart.yaml",
        ) from error
    return validate_study(content, source=path.name)


def write_study(study: StudySpec) -> str:
    """Return a study as YAML with every value written out: defaults of a later version cannot change what it asks."""
    return str(yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100))


def validate_study(content: Any, *, source: str) -> StudySpec:
    """Return the study of a parsed mapping.

    Raises
    ------
    StudyError
        With the place and the cure of the first mistakes.
    """
    try:
        return StudySpec.model_validate(content)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'study'}: {e['msg']}" for e in error.errors()[:5]]
        raise StudyError(
            f"{source} is not a valid study ({'; '.join(problems)})",
            limit=f"known keys are {', '.join(StudySpec.model_fields)}",
            why="a misread key would silently change what is calculated",
            remedy="correct the named keys; docs/study-file.md lists all of them with units",
        ) from error


def use_engine(study: StudySpec, *, engine: str | None = None, preset: str | None = None) -> StudySpec:
    """Return the study with another engine or preset than its own, as a variant of it with results of its own.

    Parameters
    ----------
    study
        The study.
    engine
        Name of an engine, which starts from its own defaults; None: the study's.
    preset
        ``fast``, ``balanced`` or ``precise``; None: the study's, or the default of another engine.

    Raises
    ------
    StudyError
        If there is no such preset.
    """
    own = study.engine if engine in (None, study.engine.name) else EngineSpec(name=str(engine))
    asked = {**own.model_dump(mode="json"), **({} if preset is None else {"preset": preset})}
    changed = validate_study({**study.model_dump(mode="json"), "engine": asked}, source=f"{study.name}, engine changed")
    words = [changed.engine.name] if changed.engine.name != study.engine.name else []
    words += [changed.engine.preset.value] if changed.engine.preset != own.preset else []
    return changed.model_copy(update={"variant": "-".join(filter(None, [study.variant, *words]))})


def plan_study(study: StudySpec) -> StudyPlan:
    """Return the plan of a study: crystals loaded, engine chosen.

    Raises
    ------
    StructureError
        If a crystal is unknown or unusable.
    StudyError
        If a phase is not a phase of the host.
    EngineError
        If the engine is unknown or not installed.
    """
    products = () if study.decomposition is None else study.decomposition.products
    reservoirs = () if study.film.reservoirs is None else (study.film.reservoirs.ax, study.film.reservoirs.bx2)
    names = [study.dot.material, *(phase.phase for phase in study.phases), *products, *reservoirs]
    crystals = {name: load_crystal_record(name) for name in names}
    _require_same_host(study, crystals)
    host = crystals[study.phases[0].phase]
    for compounds in filter(None, (products, reservoirs)):
        balance_decomposition(host.composition_per_fu, {name: crystals[name].composition_per_fu for name in compounds})
    return StudyPlan(study=study, crystals=crystals, engine=engine_from_spec(study.engine))


def load_crystal_record(name_or_path: str) -> CrystalRecord:
    """Return a crystal of the library or of a file as a calculation carries it."""
    crystal = load_crystal(name_or_path)
    return CrystalRecord(
        id=crystal.id,
        structure=StructureRecord.from_pymatgen(crystal.structure),
        formula_units=crystal.formula_units,
        formal_charges=dict(crystal.formal_charges),
        bulk_modulus_gpa=crystal.entry.bulk_modulus_gpa if crystal.entry else None,
    )


def _require_same_host(study: StudySpec, crystals: dict[str, CrystalRecord]) -> None:
    """Refuse phases of different compositions: their energies per formula unit cannot be compared."""
    compositions = {phase.phase: crystals[phase.phase].composition_per_fu for phase in study.phases}
    first = study.phases[0].phase
    for phase, composition in compositions.items():
        if composition != compositions[first]:
            raise StudyError(
                f"{phase} and {first} have different compositions",
                limit="all phases of a study must be polymorphs of one host",
                why="energies per formula unit of different compounds cannot be subtracted",
                remedy=f"choose phases of {study.host}",
            )
