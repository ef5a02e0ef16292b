"""From a study to a printable plan and the flow that carries it out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from qdip_dft.analysis.stability import balance_decomposition
from qdip_dft.builders.candidates import find_candidates
from qdip_dft.builders.ions import group_ions, name_composition, name_ions
from qdip_dft.engines.base import Feature
from qdip_dft.engines.potential import PotentialEngine
from qdip_dft.errors import StudyError
from qdip_dft.flows.building import preview_scans, preview_structures
from qdip_dft.flows.engines import StudyEngines
from qdip_dft.flows.given_interfaces import settle_given
from qdip_dft.flows.registry_scans import count_positions
from qdip_dft.flows.resolution import AnyStepId, Resolution
from qdip_dft.flows.steps import (
    BULKS,
    RegistryScanId,
    RegistryScanStep,
    Stage,
    Step,
    StepId,
    StudySteps,
)
from qdip_dft.flows.study_results import assemble_study, preview_variations, resolve_study
from qdip_dft.flows.variations import Variation, list_engines
from qdip_dft.library.collections import count_atoms, load_catalogue
from qdip_dft.model.calculation import ANNEAL_STEPS, CalculationTask, Freedom
from qdip_dft.model.calibration import Calibration
from qdip_dft.model.crystal import CrystalRecord
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.interface import InterfaceLabel
from qdip_dft.model.keys import calculation_key, registry_scan_key
from qdip_dft.model.registry import ENERGIES_PER_POSITION, RegistryScanTask
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.stored import LookUp, StoredRecord
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.study import StudySpec
from qdip_dft.model.term_names import TERM_OF_PART, TERM_OF_SCANS
from qdip_dft.planning.study_files import make_engine, read_crystals

if TYPE_CHECKING:
    from jobflow import Flow
    from pandas import DataFrame

    from qdip_dft.engines.base import Engine

TYPICAL_FORCE_CALLS = {Freedom.NONE: 1, Freedom.POSITIONS: 12, Freedom.OUT_OF_PLANE: 17, Freedom.CELL: 19}
"""Force evaluations of a calculation, for the printed estimate only: means of 392 relaxations of the ready-made studies
with SevenNet-0.
"""


@dataclass(frozen=True, slots=True)
class PlannedCalculation:
    """One calculation of a plan.

    Parameters
    ----------
    id
        What it is known by within the study.
    name
        The same for people.
    part, subject
        Such as ``film slab`` and ``PbS(111)//FAPbI3-alpha(100)``.
    term
        The term of the stabilization that needs it first.
    title
        The interface that it belongs to; None for the bulk of a crystal.
    n_atoms
        Number of atoms.
    freedom
        What may move.
    n_positions
        Registries that a registry scan compares; None for other calculations.
    key
        Calculation key; None while an earlier result decides about the structure.
    is_stored
        Whether its result exists already.
    state
        ``stored``, ``ready``, ``waiting`` (for an earlier one), ``failed`` or ``blocked``.
    estimated_s
        Estimated time in s; 0 when stored.
    stage
        Pre-relaxation, relaxation or static calculation of the part; None for registry scans.
    identity
        The same for calculations of several studies that will be one: the key or, while there is none, what it follows
        from, with the structure before any relaxation.
    """

    id: AnyStepId
    name: str
    part: str
    subject: str
    term: str
    title: InterfaceLabel | None
    n_atoms: int
    freedom: Freedom
    key: str | None
    is_stored: bool
    state: str
    estimated_s: float
    n_positions: int | None = None
    stage: Stage | None = None
    identity: str = ""

    @property
    def owner(self) -> str:
        """The crystal, or the film and what is varied of it, such as ``CsPbI3-gamma(001), film +1``."""
        return self.subject if self.title is None else self.subject.removeprefix(f"{self.title.facet}//")


@dataclass(frozen=True)
class StudyPlan:
    """A study with everything that is needed to carry it out.

    Parameters
    ----------
    study, crystals, engine
        What is asked, of what, and who gives the energies.
    remarks
        What was chosen or converted on reading the crystals, in words for the user.
    only
        Ids of the candidates that are calculated; None: all.
    calibrations
        What is known of the errors of potentials.
    """

    study: StudySpec
    crystals: dict[str, CrystalRecord]
    engine: Engine
    remarks: tuple[str, ...] = ()
    only: frozenset[str] | None = None
    calibrations: tuple[Calibration, ...] = ()

    @cached_property
    def steps(self) -> StudySteps:
        """Return the steps of the study; the candidates are searched here, once."""
        found, dropped = find_candidates(self.study, self.crystals)
        candidates = settle_given(self.study, self.crystals, found)
        asked = tuple(each for each in candidates if self.only is None or each.id in self.only)
        return StudySteps(
            self.study, self.crystals, asked, dropped, can_check_minima=self._own_engines.can_check_minima
        )

    @cached_property
    def _own_engines(self) -> StudyEngines:
        asked = self.study.geometry, self.study.prerelaxation
        geometry, prerelaxation = (None if spec is None else make_engine(spec, self.study) for spec in asked)
        others = {tag: make_engine(spec, self.study) for tag, spec in list_engines(self.study).items()}
        return StudyEngines(self.engine, geometry=geometry, prerelaxation=prerelaxation, by_tag=others)

    @cached_property
    def engines(self) -> StudyEngines:
        """Return which engine does which step; that of the registry scans is a potential wherever possible."""
        engines = self._own_engines
        if not any(candidate.place for candidate in self.steps.candidates):
            return engines
        return replace(engines, registry=choose_registry_engine(self.study, engines))

    @cached_property
    def previews(self) -> dict[StepId, StructureRecord]:
        """Return the structure of each step built from unrelaxed parents."""
        for step in self.steps.steps:
            self.engines.of(step).require_freedom(step.freedom)
        return preview_structures(self.steps)

    @cached_property
    def _registry_scan_sizes(self) -> dict[RegistryScanId, tuple[int, int]]:
        """Return atoms and registries of each registry scan, counted with unrelaxed bulks."""
        return {scan: (task.n_atoms, count_positions(task)) for scan, task in self._registry_scan_previews.items()}

    @cached_property
    def _registry_scan_previews(self) -> dict[RegistryScanId, RegistryScanTask]:
        """Return the task of each registry scan with unrelaxed bulks."""
        return preview_scans(self.steps, self.previews)

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
        task = CalculationTask(label=step.label, freedom=step.freedom, structure=preview)
        engine = self.engines.of(step)
        start = calculation_key(task, engine.theory(), engine.relaxation_settings())
        return ":".join((self._method, step.stage.value, step.id.variation, start))

    def _identify_registry_scan(self, scan: RegistryScanId, key: str | None) -> str:
        if key is not None:
            return key
        start = registry_scan_key(self._registry_scan_previews[scan], self.engines.registry_engine.theory())
        return f"{self._method}:{start}"

    def require_buildable(self) -> None:
        """Build every structure from unrelaxed parents, so that an impossible study is refused before anything runs.

        Raises
        ------
        QdipError
            If a structure cannot be built, or an engine cannot calculate it.
        """
        self.describe_calculations(Resolution())

    def resolve(self, look_up: LookUp) -> Resolution:
        """Return which steps are done, given a look-up of stored calculations."""
        return resolve_study(self.steps, self.engines, look_up)

    def list_variations(self, resolution: Resolution) -> tuple[Variation, ...]:
        """Return what is computed around the compared films; until these are known, what it would be for the first."""
        is_finished = bool(resolution.states) and not resolution.unfinished and not resolution.waiting
        return resolution.variations if resolution.variations or is_finished else preview_variations(self.steps)

    def list_calculations(self, look_up: LookUp) -> list[PlannedCalculation]:
        """Return every calculation of the study, in order; runs nothing.

        Every structure is built here already, from unrelaxed parents where the relaxed ones do not exist yet, so a
        study that cannot be built is refused before anything runs.
        """
        return self.describe_calculations(self.resolve(look_up))

    def to_dataframe(self, look_up: LookUp = lambda _: None) -> DataFrame:
        """Every calculation of the study as a table of pandas, one row each; runs nothing.

        Parameters
        ----------
        look_up
            Finds stored calculations, such as ``open_results(folder).find_record``; without it none is stored.

        Examples
        --------
        >>> plan.to_dataframe()[["part", "n_atoms", "freedom", "state"]].query("state == 'ready'").shape[1]
        4
        """
        from pandas import DataFrame

        hidden = {"id", "identity", "stage", "title"}
        columns = [field.name for field in fields(PlannedCalculation) if field.name not in hidden]
        calculations = self.list_calculations(look_up)
        return DataFrame([[getattr(each, name) for name in columns] for each in calculations], columns=columns)

    def describe_calculations(self, resolution: Resolution) -> list[PlannedCalculation]:
        """Return every calculation of the study, in order, given what is stored of it."""
        planned: dict[AnyStepId, PlannedCalculation] = {}
        for step in self.steps.steps:
            if step.scan is not None and step.scan not in planned:
                planned[step.scan] = self._describe_registry_scan(self.steps.scans[step.scan], resolution)
            planned[step.id] = self._describe(step, self.previews[step.id], resolution)
        for variation in self.list_variations(resolution):
            previews = preview_structures(variation.steps, earlier=self.previews)
            for step in variation.steps.steps:
                planned[step.id] = self._describe(step, previews[step.id], resolution)
        return list(planned.values())

    def _describe_registry_scan(self, scan: RegistryScanStep, resolution: Resolution) -> PlannedCalculation:
        n_atoms, n_positions = self._registry_scan_sizes[scan.id]
        seconds = n_positions * ENERGIES_PER_POSITION * self.engines.registry_engine.seconds_per_force_call(n_atoms)
        is_stored = scan.id in resolution.registry_scans
        key = resolution.keys.get(scan.id)
        return PlannedCalculation(
            id=scan.id,
            name=scan.label,
            part="registry scan",
            subject=scan.subject,
            term=TERM_OF_SCANS,
            title=self.steps.find_candidate(scan.candidate).title.interface,
            n_atoms=n_atoms,
            freedom=Freedom.NONE,
            key=key,
            is_stored=is_stored,
            state=_state(scan.id, resolution),
            estimated_s=0.0 if is_stored else seconds,
            n_positions=n_positions,
            identity=self._identify_registry_scan(scan.id, key),
        )

    def _describe(self, step: Step, preview: StructureRecord, resolution: Resolution) -> PlannedCalculation:
        engine = self.engines.of(step)
        engine.require_elements(preview.species)
        is_stored = step.id in resolution.records
        seconds = estimate_seconds(engine, step.freedom, preview.n_atoms)
        key = resolution.keys.get(step.id)
        return PlannedCalculation(
            id=step.id,
            name=step.label,
            part=step.part.value,
            subject=step.subject,
            term=TERM_OF_PART[step.part],
            title=None if step.part in BULKS else self.steps.find_candidate(step.id.owner).title,
            n_atoms=preview.n_atoms,
            freedom=step.freedom,
            key=key,
            is_stored=is_stored,
            state=_state(step.id, resolution),
            estimated_s=0.0 if is_stored else seconds,
            stage=step.stage,
            identity=self._identify(step, preview, key),
        )

    def make_flow(
        self,
        look_up: LookUp,
        *,
        resolution: Resolution | None = None,
        is_retry: bool = False,
        attempts: Mapping[str, int] = MappingProxyType({}),
        checkpoint_folder: str = ".",
    ) -> Flow | None:
        """Return the flow of what is still to be calculated; None when nothing is.

        Parameters
        ----------
        look_up
            Finds stored calculations.
        resolution
            What it finds, where that is known already.
        is_retry
            Whether failed, unconverged and defective calculations are tried again.
        attempts
            Number of the attempt that counts, by key; earlier ones do not.
        checkpoint_folder
            Where registry scans keep their energies while they run, seen from the folder that a job runs in.
        """
        from qdip_dft.flows.stabilization import StageMaker

        found = self.resolve(look_up) if resolution is None else resolution
        wanted = {**attempts, **list_retries(found)} if is_retry else dict(attempts)
        if wanted:
            found = self.resolve(passing_over(look_up, wanted))
        if not found.unfinished:
            return None
        maker = StageMaker(
            study=self.study,
            crystals=self.crystals,
            candidates=self.steps.candidates,
            engines=self.engines,
            dropped=self.steps.dropped,
            attempts=wanted,
            checkpoint_folder=checkpoint_folder,
        )
        return maker.make(found)

    def assemble(self, resolution: Resolution) -> tuple[StabilizationDoc, ...]:
        """Return the result on every facet from what is calculated; what is missing is named."""
        return assemble_study(self.steps, resolution, engines=self.engines, calibrations=self.calibrations)


def list_retries(resolution: Resolution) -> dict[str, int]:
    """Return the next attempt of every failed, unconverged and defective calculation, by key."""
    defective = resolution.defective_keys
    return {r.key: r.attempt + 1 for r in resolution.stored if not r.is_usable or r.key in defective}


def list_repeats(resolution: Resolution) -> dict[str, int]:
    """Return the next attempt of every registry scan in which registries failed, by key.

    Any run repeats these: a scan is cheap beside what is built on it, and one that failed may be the best.
    """
    return {scan.key: scan.attempt + 1 for scan in resolution.unusable_registry_scans.values()}


def passing_over(look_up: LookUp, attempts: Mapping[str, int]) -> LookUp:
    """Return a look-up that passes over attempts before the wanted ones."""

    def find(key: str) -> StoredRecord | None:
        record = look_up(key)
        return None if record is None or record.attempt < attempts.get(key, 0) else record

    return find


def estimate_seconds(engine: Engine, freedom: Freedom, n_atoms: int) -> float:
    """Return the typical time of a calculation in s, from what may move and the number of atoms."""
    n_tries = 0 if freedom is Freedom.NONE else engine.relaxation.search_tries
    n_calls = TYPICAL_FORCE_CALLS[freedom] * (1 + n_tries) + ANNEAL_STEPS * n_tries
    return n_calls * engine.seconds_per_force_call(n_atoms)


def _state(step: AnyStepId, resolution: Resolution) -> str:
    if isinstance(step, RegistryScanId):
        record: StoredRecord | None = resolution.registry_scans.get(step)
    else:
        record = resolution.records.get(step)
    if record is not None:
        return "stored" if record.is_usable and step not in resolution.defects else "failed"
    if step in resolution.blocked:
        return "blocked"
    return "ready" if step in resolution.unfinished else "waiting"


def choose_registry_engine(study: StudySpec, engines: StudyEngines) -> Engine:
    """The engine of the registry scans of a study.

    Hundreds of energies are needed for a start geometry that the study's own engine relaxes: a potential gives them,
    and every engine starts from the same registries.

    Parameters
    ----------
    study
        The study.
    engines
        Its engines; the one that relaxes, or relaxes before, is taken when it is a potential.

    Raises
    ------
    StudyError
        If the scans are left to atomate2.
    """
    if study.film.registry_scan.engine is not None:
        return _require_own_scans(make_engine(study.film.registry_scan.engine, study))
    own = (engine for engine in (engines.relaxing, engines.prerelaxation) if isinstance(engine, PotentialEngine))
    return next(own, None) or make_engine(EngineSpec(name="mlip"), study)


def _require_own_scans(engine: Engine) -> Engine:
    if not engine.is_run_by_atomate2:
        return engine
    raise StudyError(
        "the registry scans are left to atomate2",
        limit="a scan is one job, whose hundreds of energies decide about each other",
        why="atomate2 would run the code in a job of its own for each energy",
        remedy="leave `runner` out of film.registry_scan.engine",
    )


def plan_study(study: StudySpec) -> StudyPlan:
    """Return the plan of a study: crystals loaded, engine chosen.

    Raises
    ------
    StructureError
        If a crystal is unknown or unusable.
    StudyError
        If a phase is not a phase of the host, or the host has no competitor.
    EngineError
        If the engine is unknown or not installed.

    Examples
    --------
    >>> plan = plan_study(use_engine(read_study("quickstart"), engine="testing"))
    >>> [candidate.label for candidate in plan.steps.candidates][0]
    'PbTe(100)//CsPbI3-gamma(110)'
    """
    _require_competitor(study)
    products = () if study.decomposition is None else study.decomposition.products
    reservoirs = () if study.film.reservoirs is None else (study.film.reservoirs.ax, study.film.reservoirs.bx2)
    found = read_crystals(study)
    crystals = {name: crystal.record for name, crystal in found.items()}
    _require_same_host(study, crystals)
    _require_named_host(study, crystals)
    host = crystals[study.phases[0].phase]
    for compounds in filter(None, (products, reservoirs)):
        balance_decomposition(host.composition_per_fu, {name: crystals[name].composition_per_fu for name in compounds})
    _require_one_product_on_dot(study, crystals)
    remarks = tuple(f"{name}: {remark}" for name, crystal in found.items() for remark in crystal.remarks)
    engine = make_engine(study.engine, study)
    if study.uncertainty.counterpoise:
        _require_ghosts(engine)
    return StudyPlan(study=study, crystals=crystals, engine=engine, remarks=remarks)


def _require_ghosts(engine: Engine) -> None:
    """Refuse counterpoise where functions sit on no atoms, or where a run by atomate2 would put atoms for ghosts."""
    engine.require(Feature.GHOST_FUNCTIONS)
    if engine.is_run_by_atomate2:
        raise StudyError(
            "counterpoise is left to atomate2",
            limit="its Makers take structures of pymatgen, whose sites are all atoms",
            why="atoms would stand where the basis functions of atoms are meant",
            remedy="leave `runner` out of engine, or uncertainty.counterpoise out of the study",
        )


def _require_competitor(study: StudySpec) -> None:
    """Refuse a host that is compared with nothing, unless the study says that it wants the terms alone."""
    if study.has_competitor or study.terms_only:
        return
    raise StudyError(
        f"{study.name} compares {study.host} with nothing",
        limit="the black phase needs a competitor",
        why="a dot stabilizes a phase against something; binding alone says nothing about that",
        remedy="add a phase with role: competitor, or decomposition: {products: [...]}; where the terms of the"
        " films are all that is wanted, set terms_only: true",
    )


def _require_one_product_on_dot(study: StudySpec, crystals: dict[str, CrystalRecord]) -> None:
    """Refuse a film of a product of which one formula unit of the host does not give one."""
    asked = study.decomposition
    if asked is None or asked.on_dot is None:
        return
    host, film = crystals[study.phases[0].phase], asked.on_dot.phase
    compositions = {name: crystals[name].composition_per_fu for name in asked.products}
    amount = balance_decomposition(host.composition_per_fu, compositions)[film]
    if abs(amount - 1.0) > 1e-6:
        raise StudyError(
            f"one formula unit of {study.host} gives {amount:g} of {film}",
            limit="the product on the dot must come one for one",
            why="its film could not hold as many formula units of the host per area",
            remedy="name another product in decomposition.on_dot, or leave it out: the answer is then an upper bound",
        )


def _require_named_host(study: StudySpec, crystals: dict[str, CrystalRecord]) -> None:
    """Refuse phases that are not what the study calls its host."""
    filed = [load_catalogue().find_entry(phase.phase) for phase in study.phases]
    if study.host in {entry.material for entry in filed if entry is not None}:
        return
    built = crystals[study.phases[0].phase]
    if _share(count_atoms(study.host)) != _share(built.composition_per_fu):
        name = _name_compound(built)
        raise StudyError(
            f"the host is called {study.host}, but {study.phases[0].phase} is {name}",
            limit="host is the formula of what all phases are",
            why="the result would be filed under another compound than was calculated",
            remedy=f"set host: {name}, or name phases of {study.host}",
        )


def _name_compound(crystal: CrystalRecord) -> str:
    """The formula of a crystal, molecules that the library does not know in brackets."""
    known = {*crystal.structure.species, *(molecule.id for molecule in load_catalogue().molecules)}
    written = {ion: ion if ion in known else f"({ion})" for ion in crystal.formal_charges}
    anions = {written[ion] for ion, charge in crystal.formal_charges.items() if charge < 0}
    return name_composition([written[ion] for ion in name_ions(group_ions(crystal.structure))], anions=anions)


def _share(amounts: Mapping[str, float]) -> dict[str, float]:
    """Amounts as shares of the whole, in alphabetical order."""
    total = sum(amounts.values())
    return {symbol: round(amounts[symbol] / total, 4) for symbol in sorted(amounts)}


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
