"""The uncertainty of a result: its error budget, the line through the thicknesses, the critical size, the sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qdip_dft.analysis import uncertainty as errors
from qdip_dft.analysis.calibration import StrainAndInterfaceError, estimate_model_error
from qdip_dft.analysis.coverage import Side, evaluate_terms, evaluate_total
from qdip_dft.analysis.dot_size import embed_interface, ends_alike
from qdip_dft.analysis.sentence import join_bounds
from qdip_dft.analysis.series import find_critical_size, fit_thicknesses
from qdip_dft.analysis.sides import find_sides, subtract_sides
from qdip_dft.analysis.thickness import find_thickness_line
from qdip_dft.builders.candidate_registries import find_point
from qdip_dft.builders.cation_orientations import has_molecules
from qdip_dft.engines.dispersion import D3Parameters, find_d3, find_d3_energy_ev, list_other_flavours
from qdip_dft.flows.anchoring import find_reference_error
from qdip_dft.flows.assembly import put_in_words
from qdip_dft.flows.registry_findings import find_registry_scan
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import CandidateGeometry, Part, StudySteps
from qdip_dft.model.calculation import Level, MinimumSearch
from qdip_dft.model.calibration import Calibration
from qdip_dft.model.interface import Candidate
from qdip_dft.model.registry import OuterRegistry, RegistryScan
from qdip_dft.model.resolution import BULK_ERROR_EV_PER_FU
from qdip_dft.model.stabilization import CandidateResult, Check, LowestChoice, Stabilization, StabilizationDoc
from qdip_dft.model.study import PhaseRole
from qdip_dft.model.terms import Terms
from qdip_dft.model.uncertainty import (
    CriticalSize,
    ErrorComponent,
    ErrorPart,
    LineFit,
    ModelAnswer,
    OneMoreLayer,
    TermErrors,
    Uncertainty,
    VariationKind,
    VariedFilm,
)
from qdip_dft.units import MEV_PER_EV

CHOSEN_BY_ENERGY = frozenset({VariationKind.TERMINATION, VariationKind.ORIENTATION})
"""What nature chooses by energy."""

REACH_SHARE = 0.2
"""Relaxation may reorder registries whose unrelaxed energies differ by up to this share of the range of all of them."""


def state_uncertainty(
    document: StabilizationDoc, variations: Sequence[VariedFilm], *, steps: StudySteps, resolution: Resolution,
    calibrations: Sequence[Calibration] = (),
) -> StabilizationDoc:  # fmt: skip
    """Return the result with its uncertainty; unchanged where there is no complete black film.

    Parameters
    ----------
    document
        The result on one facet.
    variations
        What was computed around its films.
    steps, resolution
        The study and what was calculated.
    calibrations
        What is known of the errors of potentials.
    """
    compared = _find_compared(document, variations)
    if compared is None:
        return document
    budget = _Budget(document, compared, steps, resolution)
    has_model = document.level is not Level.TEST
    components = budget.list_components()
    used: tuple[Calibration, ...] = ()
    if has_model and compared.competitor is not None:
        sized = (errors.default_component(each, compared.coverage_fu_per_ang2) for each in components)
        measured = estimate_model_error(document, calibrations, elements=steps.elements)
        components, used = (*sized, *budget.list_model_errors(measured)), measured.used
    black, competitor, difference = (
        errors.combine_components(components, side) for side in ("black", "competitor", "difference")
    )
    model_error = errors.combine_components(components, "difference", part=ErrorPart.MODEL) if has_model else None
    fits = [fit_thicknesses(side, compared.variations) for side in budget.films]
    stated = Uncertainty(
        components=components,
        black=black,
        competitor=competitor,
        difference=difference,
        model_error=model_error,
        samples=tuple(variations),
        fits=tuple(fit for fit in fits if fit is not None),
        one_more_layer=_add_one_layer(compared),
        models=_list_models(compared),
        critical=budget.find_critical(errors.combine(filter(None, (difference, model_error)))),
        calibrations=used,
    )
    if compared.competitor is not None and stated.critical is not None:
        interface = stated.critical.interface_mev_per_ang2, stated.critical.interface_uncertainty_mev_per_ang2
        embedded = embed_interface(
            compared.black,
            compared.competitor,
            interface_mev_per_ang2=interface,
            environment=document.study.environment,
        )
        stated = stated.model_copy(update={"embedded": embedded})
    return _add_to_answer(document.model_copy(update={"uncertainty": stated}), stated)


def _find_compared(document: StabilizationDoc, variations: Sequence[VariedFilm]) -> errors.Compared | None:
    sides, coverage = find_sides(document), document.stabilization.coverage_fu_per_ang2
    if sides.black is None or not sides.black.is_valid or coverage is None:
        return None
    counted = tuple(variation for variation in variations if not variation.faults)
    black, competitor = (_as_computed(side) for side in (sides.black, sides.competitor))
    assert isinstance(black, CandidateResult)
    return errors.Compared(black, competitor, counted, coverage)


def _as_computed(side: Side | None) -> Side | None:
    """A side with the terms of the study's own choices, around which everything was varied."""
    return side.model_copy(update={"lowest_choice": None}) if isinstance(side, CandidateResult) else side


def take_lowest_choices(document: StabilizationDoc, variations: Sequence[VariedFilm]) -> StabilizationDoc:
    """Return the result with the lowest termination and orientation of each compared film in its place.

    With films whose excess moves along the strip of chemical potentials nothing is changed.

    Parameters
    ----------
    document, variations
        As for `state_uncertainty`.
    """
    coverage = document.stabilization.coverage_fu_per_ang2
    if coverage is None or document.bx2_rich is not None:
        return document
    choices = [v for v in variations if v.kind in CHOSEN_BY_ENERGY and not v.faults]
    films = {film.candidate.id: film for film in find_sides(document).films}
    moved = {name: _take_lowest(film, choices, coverage) for name, film in films.items()}
    if moved == films:
        return document
    changed = document.model_copy(
        update={"candidates": tuple(moved.get(each.candidate.id, each) for each in document.candidates)}
    )
    answer = subtract_sides(find_sides(changed), coverage)
    return changed.model_copy(update={"stabilization": answer})


def _take_lowest(film: CandidateResult, choices: Sequence[VariedFilm], coverage: float) -> CandidateResult:
    own = [choice for choice in choices if choice.film_id == film.candidate.id]
    lowest = min(own, key=lambda choice: evaluate_total(choice, coverage), default=None)
    if lowest is None or evaluate_total(lowest, coverage) >= evaluate_total(film, coverage):
        return film
    terms = evaluate_terms(lowest, film.coverage_fu_per_ang2 or coverage)
    known = terms.known()
    bulk = film.bulk_ev_per_fu or 0.0
    strain = known["bulk"] - (lowest.bulk_shift_ev_per_fu or 0.0) + known["strain"] - bulk
    chosen = Terms.add_up(bulk, strain, known["surface"], known["binding"])
    return film.model_copy(update={"lowest_choice": LowestChoice(name=lowest.tag, **chosen.model_dump())})


class _Budget:
    """The sources of error of one answer."""

    def __init__(
        self, document: StabilizationDoc, compared: errors.Compared, steps: StudySteps, resolution: Resolution
    ) -> None:
        self.document, self.compared, self.steps, self.resolution = document, compared, steps, resolution
        sides = (compared.black, compared.competitor)
        self.films = [side for side in sides if isinstance(side, CandidateResult)]

    def list_components(self) -> tuple[ErrorComponent, ...]:
        """Return every source of error, estimated or not."""
        compared = self.compared
        return (
            errors.change_together(
                compared,
                VariationKind.FILM_THICKNESS,
                name="film thickness",
                words="black − competitor with interface energies of thicker films",
            ),
            errors.change_together(
                compared,
                VariationKind.DOT_THICKNESS,
                name="dot thickness",
                words="black − competitor on thicker dot slabs",
            ),
            self._place(),
            errors.lowest_choice(
                compared,
                VariationKind.TERMINATION,
                name="termination",
                words="stoichiometric terminations of each film",
            ),
            self._orientation(),
            *self._minimum(),
            self._dispersion(),
            *self._numerics(),
            *self._basis(),
            self._models(),
        )

    def _orientation(self) -> ErrorComponent:
        crystals = [self.steps.crystals[film.candidate.phase] for film in self.films]
        if not any(has_molecules(crystal.structure, crystal.formal_charges) for crystal in crystals):
            why = "no organic cations"
            return errors.not_estimated("cation orientation", why, is_applicable=False)
        words = "random orientations of the cations"
        return errors.lowest_choice(self.compared, VariationKind.ORIENTATION, name="cation orientation", words=words)

    def _minimum(self) -> tuple[ErrorComponent, ...]:
        """What the searches for the lowest minima leave; nothing where the relaxations of the study did not search."""
        found = [(film, self._list_searches(film)) for film in self.films]
        searches = [search for _, each in found for search in each.values()]
        if not searches:
            return ()
        if any(search.spread_ev is None for search in searches):
            why = "not estimated: no anneal of some structure led to a minimum that may be used"
            return (errors.not_estimated(errors.LOWEST_MINIMUM, why),)
        sides = {}
        for film, each in found:
            spreads_ev = {part: search.spread_ev or 0.0 for part, search in each.items()}
            sides[film.candidate.role] = self._weigh_parts(film, {Part.BULK.value: 0.0, **spreads_ev})
        black, competitor = (sides.get(role, errors.NO_ERRORS) for role in PhaseRole)
        finding = f"how far the next two minima of each structure lie above its lowest; {_describe_searches(searches)}"
        return (errors.bound_component(errors.LOWEST_MINIMUM, black=black, competitor=competitor, finding=finding),)

    def _list_searches(self, film: CandidateResult) -> dict[str, MinimumSearch]:
        """The search of every part of a film by its name; its bulk is not searched."""
        steps = self.steps.relaxations_of(film.candidate)
        records = {part.value: self.resolution.usable(step) for part, step in steps.items()}
        results = {part: record.result for part, record in records.items() if record is not None}
        return {part: each.search for part, each in results.items() if each is not None and each.search is not None}

    def _place(self) -> ErrorComponent:
        found = {film.candidate.role: self._error_of_place(film) for film in self.films}
        if all(error is None for error in found.values()):
            is_given = any(not _is_registry_passed(film) for film in self.films)
            why = "not estimated: the registry was given" if is_given else "one registry stands for all"
            return errors.not_estimated("registry", why, is_applicable=is_given)
        black, competitor = (found.get(role) or errors.NO_ERRORS for role in PhaseRole)
        is_measured = any(self._measure_reordering_ev(film) is not None for film in self.films)
        reach = "what relaxing several of them changed" if is_measured else f"{REACH_SHARE:.0%} of the range"
        finding = (
            "root mean square of the unrelaxed energies, above the best registry, of those within "
            f"{reach}, which relaxation could reorder; of both interfaces where there are two"
        )
        return errors.bound_component("registry", black=black, competitor=competitor, finding=finding)

    def _error_of_place(self, film: CandidateResult) -> TermErrors | None:
        candidate = self.steps.find_candidate(film.candidate.id)
        scan = find_registry_scan(self.resolution, candidate)
        if scan is None or not scan.points or film.area_ang2 is None:
            return None
        point = find_point(candidate, scan)
        return errors.registry_errors(
            spread_of_interfaces_ev(
                scan, None if point is None else point.outer, reach_ev=self._measure_reordering_ev(film)
            ),
            is_same_surface=ends_alike(film),
            dot_area_ang2=film.area_ang2,
            coverage_fu_per_ang2=self.compared.coverage_fu_per_ang2,
        )

    def _measure_reordering_ev(self, film: CandidateResult) -> float | None:
        """By how much relaxation changes the energies of registries against each other; None with one relaxed alone.

        Root mean square, in eV per cell, against the registry of the film; all have the same atoms.
        """
        own = self._relaxation_of_registry_ev(film.candidate)
        others = [
            self._relaxation_of_registry_ev(each)
            for each in self.steps.candidates
            if each.registry_scan == film.candidate.registry_scan and each.id != film.candidate.id
        ]
        changes_ev = [other - own for other in others if other is not None and own is not None]
        return float(np.sqrt(np.mean(np.square(changes_ev)))) if changes_ev else None

    def _relaxation_of_registry_ev(self, candidate: Candidate) -> float | None:
        """Energy of the relaxed interface less that of its registry in the scan; None where either is missing."""
        scan = find_registry_scan(self.resolution, candidate)
        point = None if scan is None else find_point(candidate, scan)
        relaxed_ev = self.resolution.energy_ev(self.steps.static_of(Part.INTERFACE, candidate.id))
        if point is None or relaxed_ev is None:
            return None
        return relaxed_ev - point.energy_ev - (0.0 if point.outer is None else point.outer.energy_ev)

    def _dispersion(self) -> ErrorComponent:
        theory = self.document.theory
        others = () if theory is None else list_other_flavours(theory.dispersion, theory.functional)
        if theory is None or not others or len(self.films) < 2:
            why = "one flavour alone is known for the functional" if others else "no correction of ours is added"
            return errors.not_estimated(errors.DISPERSION, why, is_applicable=False)
        own = find_d3(theory.dispersion, theory.functional)
        assert own is not None
        changes = {
            film.candidate.role: [self._change_flavour(film, own, other) for other in others] for film in self.films
        }
        basis = self.document.bulk_basis
        return errors.flavour_component(changes, is_anchored=basis is not None and basis.is_anchored)

    def _change_flavour(self, film: CandidateResult, own: D3Parameters, other: D3Parameters) -> errors.Vector:
        """What another flavour changes in the quantities of a film, at its relaxed structures."""
        changes = {}
        for part, step in self.steps.relaxations_of(film.candidate).items():
            arrangement = self.resolution.relaxed[step].arrangement
            energies_ev = [find_d3_energy_ev(arrangement, parameters) for parameters in (other, own)]
            changes[part.value] = energies_ev[0] - energies_ev[1]
        coverage = self.compared.coverage_fu_per_ang2
        return errors.change_parts(
            changes,
            counts=self._counts(film),
            own_coverage_fu_per_ang2=film.coverage_fu_per_ang2 or coverage,
            coverage_fu_per_ang2=coverage,
        )

    def _counts(self, film: CandidateResult) -> dict[str, int]:
        """Formula units of bulk, strained bulk and film."""
        return {
            "bulk": self.steps.crystals[film.candidate.phase].formula_units,
            "strained bulk": self._geometry(film).n_reference_formula_units,
            "film": film.n_formula_units,
        }

    def _numerics(self) -> tuple[ErrorComponent, ...]:
        is_dft, finer = self.document.level in (Level.DFT, Level.COMPOSITE), self.steps.study.uncertainty.preset
        by_preset = None
        if finer is not None:
            words = f"change of black − competitor with the preset {finer.value}, all calculations made anew"
            name = "k-points, cutoff and geometry" if is_dft else "geometry"
            by_preset = errors.change_together(self.compared, VariationKind.PRESET, name=name, words=words)
            if is_dft and by_preset.is_sampled:
                return (by_preset,)
        why = "not estimated: give uncertainty.preset" if is_dft else "a potential has neither"
        basis = errors.not_estimated("k-points and cutoff", why, is_applicable=is_dft)
        return basis, by_preset if by_preset is not None and by_preset.is_sampled else self._residual()

    def _basis(self) -> tuple[ErrorComponent, ...]:
        """What basis functions on atoms add to binding; nothing where the study does not ask for counterpoise."""
        if not self.steps.study.uncertainty.counterpoise:
            return ()
        words = "black − competitor with binding corrected by counterpoise; the answer keeps its own"
        name = errors.SUPERPOSITION
        found = errors.change_together(self.compared, VariationKind.COUNTERPOISE, name=name, words=words)
        why = "not estimated: a film has no counterpoise that counts"
        return (found if found.is_sampled else errors.not_estimated(name, why),)

    def _residual(self) -> ErrorComponent:
        found = {film.candidate.role: self._error_of_forces(film) for film in self.films}
        black, competitor = (found.get(role, errors.NO_ERRORS) for role in PhaseRole)
        finding = (
            "estimate F²/(2k) of what the forces left at each relaxed structure are worth, "
            f"k = {errors.SOFT_SPRING_EV_PER_ANG2} eV/Å²"
        )
        return errors.bound_component("geometry", black=black, competitor=competitor, finding=finding)

    def _error_of_forces(self, film: CandidateResult) -> TermErrors:
        residuals = {
            part.value: errors.estimate_residual_ev(record.result.forces_ev_per_ang)
            for part, step in self.steps.parts_of(film.candidate).items()
            if (record := self.resolution.usable(step)) is not None and record.result is not None
        }
        return self._weigh_parts(film, residuals)

    def _weigh_parts(self, film: CandidateResult, errors_ev: Mapping[str, float]) -> TermErrors:
        """The errors of the terms from those of the energies of the parts of a film, in eV per cell."""
        coverage = self.compared.coverage_fu_per_ang2
        return errors.residual_errors(
            errors_ev,
            counts=self._counts(film),
            own_coverage_fu_per_ang2=film.coverage_fu_per_ang2 or coverage,
            coverage_fu_per_ang2=coverage,
        )

    def _geometry(self, film: CandidateResult) -> CandidateGeometry:
        return self.steps.geometry_of(film.candidate)

    def _models(self) -> ErrorComponent:
        words = "black − competitor of the same films with other models; stated beside the error bar, not part of it"
        found = errors.change_together(self.compared, VariationKind.MODEL, name="model", words=words)
        return found.model_copy(update={"is_combined": False})

    def list_model_errors(self, rest: StrainAndInterfaceError) -> tuple[ErrorComponent, ...]:
        """Return the errors of the energies themselves: of the bulk difference, and of strain and interfaces."""
        level, coverage = self.document.level, self.compared.coverage_fu_per_ang2
        basis = self.document.bulk_basis
        reference = None if basis is None else find_reference_error(basis, find_sides(self.document))
        if reference is None:
            bulk = BULK_ERROR_EV_PER_FU[level]
            name, finding = "bulk of the engine", f"default of the level {level.value}"
        else:
            bulk, name, finding = reference, "reference bulk", "stated with the reference"
        return (
            errors.model_component(
                name, errors.assume_errors(coverage, bulk_ev_per_fu=bulk), n_values=1, finding=finding
            ),
            errors.model_component(
                errors.CALIBRATED,
                errors.assume_errors(
                    coverage,
                    strain_ev_per_fu=rest.strain_ev_per_fu,
                    interface_ev_per_ang2=rest.interface_ev_per_fu * coverage,
                ),
                n_values=len(rest.used),
                finding=rest.finding,
            ),
        )

    def find_critical(self, difference: TermErrors) -> CriticalSize | None:
        """Return the critical size, on the line through the answer; None without a competitor."""
        sides, volume_ang3 = find_sides(self.document), self._volume_ang3_per_fu()
        if sides.black is None or sides.competitor is None or volume_ang3 is None:
            return None
        line = find_thickness_line(sides.black, sides.competitor)
        if line is None:
            return None
        return find_critical_size(
            strained_ev_per_fu=(line.strained_ev_per_fu, difference.strained_ev_per_fu),
            interface_ev_per_ang2=(line.interface_ev_per_ang2, difference.interface_mev_per_ang2 / MEV_PER_EV),
            volume_ang3_per_fu=volume_ang3,
            n_faces=self.compared.black.candidate.n_dot_faces,
            covariance=(difference.bulk_interface_covariance_ev2_per_ang2 or 0.0)
            + (difference.strain_interface_covariance_ev2_per_ang2 or 0.0),
        )  # fmt: skip

    def _volume_ang3_per_fu(self) -> float | None:
        black = self.compared.black
        structure = self.resolution.relaxed.get(self.steps.id_of(Part.STRAINED_BULK, black.candidate.id))
        if structure is None:
            return None
        volume_ang3 = abs(float(np.linalg.det(np.array(structure.lattice_ang))))
        return volume_ang3 / self._geometry(black).n_reference_formula_units


def _describe_searches(searches: Sequence[MinimumSearch]) -> str:
    gains_ev = [search.gain_ev for search in searches]
    cost = f"{sum(search.n_force_calls for search in searches)} force calls"
    n_lowered = sum(gain_ev > 0 for gain_ev in gains_ev)
    return f"{cost} lowered {n_lowered} of {len(searches)} structures, by up to {max(gains_ev):.3f} eV per cell"


def _is_registry_passed(film: CandidateResult) -> bool:
    return all(check.is_passed for check in film.checks if check.name == "registry")


def spread_of_interfaces_ev(
    scan: RegistryScan, outer: OuterRegistry | None, *, reach_ev: float | None = None
) -> tuple[float, ...]:
    """Return for each interface how far other registries within reach lie above its best one, in eV per cell.

    Parameters
    ----------
    scan
        A scan with at least one energy: the lower interface.
    outer
        The upper interface of an embedded film; None under vacuum.  Of a scan that kept the range alone, its registries
        are taken to be distributed as those of the lower one.
    reach_ev
        How far relaxation reorders registries; None: `REACH_SHARE` of their range.
    """
    energies_ev, multiplicities = zip(*((p.energy_ev, p.multiplicity) for p in scan.points), strict=True)
    lower = spread_of_registries_ev(energies_ev, multiplicities, reach_ev=reach_ev)
    if outer is None:
        return (lower,)
    if outer.energies_ev:
        return lower, spread_of_registries_ev(outer.energies_ev, outer.multiplicities, reach_ev=reach_ev)
    return lower, lower * outer.range_ev / scan.range_ev if scan.range_ev else 0.0


def spread_of_registries_ev(
    energies_ev: Sequence[float], multiplicities: Sequence[int], *, reach_ev: float | None = None
) -> float:
    """Return how far other registries within reach lie above the best (root mean square over the grid, eV per cell).

    Parameters
    ----------
    energies_ev, multiplicities
        Energy of each registry, at least one, and the points of the grid that it stands for.
    reach_ev
        As in `spread_of_interfaces_ev`.
    """
    energies, weights = np.array(energies_ev), np.array(multiplicities)
    above = energies - energies.min()
    is_near = above <= (REACH_SHARE * np.ptp(energies) if reach_ev is None else reach_ev)
    return float(np.sqrt(np.average(above[is_near] ** 2, weights=weights[is_near])))


def _add_one_layer(compared: errors.Compared) -> OneMoreLayer | None:
    """Return what one more layer of both films does to the difference at n*."""
    differences = compared.differences(VariationKind.FILM_THICKNESS)
    if compared.competitor is None or len(differences) < 2:
        return None
    base, thicker = (float(values[errors.TOTAL]) for values in differences[:2])
    return OneMoreLayer(at_base_thickness_ev_per_fu=thicker, change_ev_per_fu=thicker - base)


def _list_models(compared: errors.Compared) -> tuple[ModelAnswer, ...]:
    if compared.competitor is None:
        return ()
    tags = {s.index: s.tag for s in compared.variations if s.kind is VariationKind.MODEL and s.role is PhaseRole.BLACK}
    black, other = (compared.changed(role, VariationKind.MODEL) for role in PhaseRole)
    common = [index for index in tags if index in other]
    return tuple(
        ModelAnswer(name=tags[index], total_ev_per_fu=float((black[index] - other[index])[errors.TOTAL]))
        for index in common
    )


def _add_to_answer(document: StabilizationDoc, stated: Uncertainty) -> StabilizationDoc:
    """Return the result with the failed lines among its checks and the ± in its sentence."""
    fits = {fit.film_id: fit for fit in stated.fits}
    candidates = tuple(
        result.model_copy(update={"checks": (*result.checks, _check_line(fits[result.candidate.id]))})
        if result.candidate.id in fits
        else result
        for result in document.candidates
    )
    document = document.model_copy(update={"candidates": candidates})
    if document.stabilization.total_ev_per_fu is None:
        return document
    answers = [_rewrite(document, answer, stated) for answer in (document.stabilization, document.bx2_rich) if answer]
    potentials = document.chemical_potentials
    sentence = answers[0].sentence
    if potentials is not None and len(answers) == 2:
        sentence = join_bounds(*(answer.sentence for answer in answers), ax=potentials.ax, bx2=potentials.bx2)
    update = {"stabilization": answers[0].model_copy(update={"sentence": sentence})}
    return document.model_copy(update=update | ({"bx2_rich": answers[1]} if len(answers) == 2 else {}))


def _rewrite(document: StabilizationDoc, answer: Stabilization, stated: Uncertainty) -> Stabilization:
    sides, study = find_sides(document, answer), document.study
    return put_in_words(answer, sides, document.candidates, study=study, facet=document.facet, level=document.level,
                        basis=document.bulk_basis, stated=stated)  # fmt: skip


def _check_line(fit: LineFit) -> Check:
    return Check(name="thickness line", is_passed=fit.is_consistent, is_decisive=False, finding=fit.finding)
