"""The uncertainty of a result: its error budget, the line through the thicknesses, the critical size, the sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qdip_dft.analysis import uncertainty as errors
from qdip_dft.analysis.dot_size import embed_interface, ends_alike
from qdip_dft.analysis.sentence import join_bounds
from qdip_dft.analysis.series import find_critical_size, fit_thicknesses
from qdip_dft.analysis.sides import find_sides
from qdip_dft.analysis.thickness import find_thickness_line
from qdip_dft.builders.candidate_registries import find_point
from qdip_dft.builders.cation_orientations import has_molecules
from qdip_dft.flows.assembly import put_in_words
from qdip_dft.flows.registry_findings import find_registry_scan
from qdip_dft.flows.resolution import Resolution
from qdip_dft.flows.steps import CandidateGeometry, Part, StudySteps
from qdip_dft.model.calculation import Level
from qdip_dft.model.registry import OuterRegistry, RegistryScan
from qdip_dft.model.stabilization import CandidateResult, Check, Stabilization, StabilizationDoc
from qdip_dft.model.study import PhaseRole
from qdip_dft.model.uncertainty import (
    CriticalSize,
    ErrorComponent,
    LineFit,
    ModelAnswer,
    OneMoreLayer,
    TermErrors,
    Uncertainty,
    VariationKind,
    VariedFilm,
)
from qdip_dft.units import MEV_PER_EV

REACH_SHARE = 0.2
"""Relaxation may reorder registries whose unrelaxed energies differ by up to this share of the range of all of them."""


def state_uncertainty(
    document: StabilizationDoc, variations: Sequence[VariedFilm], *, steps: StudySteps, resolution: Resolution
) -> StabilizationDoc:
    """Return the result with its uncertainty; unchanged where there is no complete black film.

    Parameters
    ----------
    document
        The result on one facet.
    variations
        What was computed around its films.
    steps, resolution
        The study and what was calculated.
    """
    compared = _find_compared(document, variations)
    if compared is None:
        return document
    budget = _Budget(document, compared, steps, resolution)
    components = budget.list_components()
    black, competitor, difference = (
        errors.combine_components(components, side) for side in ("black", "competitor", "difference")
    )
    fits = [fit_thicknesses(side, compared.variations) for side in budget.films]
    stated = Uncertainty(
        components=components,
        black=black,
        competitor=competitor,
        difference=difference,
        samples=tuple(variations),
        fits=tuple(fit for fit in fits if fit is not None),
        one_more_layer=_add_one_layer(compared),
        models=_list_models(compared),
        critical=budget.find_critical(difference),
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
    return errors.Compared(sides.black, sides.competitor, counted, coverage)


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
            errors.lower_choice(
                compared,
                VariationKind.TERMINATION,
                name="termination",
                words="stoichiometric terminations of each film",
            ),
            self._orientation(),
            *self._numerics(),
            self._models(),
        )

    def _orientation(self) -> ErrorComponent:
        crystals = [self.steps.crystals[film.candidate.phase] for film in self.films]
        if not any(has_molecules(crystal.structure, crystal.formal_charges) for crystal in crystals):
            why = "no organic cations"
            return errors.not_estimated("cation orientation", why, is_applicable=False)
        words = "random orientations of the cations"
        return errors.spread_apart(self.compared, VariationKind.ORIENTATION, name="cation orientation", words=words)

    def _place(self) -> ErrorComponent:
        found = {film.candidate.role: self._error_of_place(film) for film in self.films}
        if all(error is None for error in found.values()):
            is_given = any(not _is_registry_passed(film) for film in self.films)
            why = "not estimated: the registry was given" if is_given else "one registry stands for all"
            return errors.not_estimated("registry", why, is_applicable=is_given)
        black, competitor = (found.get(role) or errors.NO_ERRORS for role in PhaseRole)
        finding = (
            f"root mean square of the unrelaxed energies, above the best registry, of those within {REACH_SHARE:.0%} "
            "of the range, which relaxation could reorder; of both interfaces where there are two"
        )
        return errors.bound_component("registry", black=black, competitor=competitor, finding=finding)

    def _error_of_place(self, film: CandidateResult) -> TermErrors | None:
        candidate = self.steps.find_candidate(film.candidate.id)
        scan = find_registry_scan(self.resolution, candidate)
        if scan is None or not scan.points or film.area_ang2 is None:
            return None
        point = find_point(candidate, scan)
        return errors.registry_errors(
            spread_of_interfaces_ev(scan, None if point is None else point.outer),
            is_same_surface=ends_alike(film),
            dot_area_ang2=film.area_ang2,
            coverage_fu_per_ang2=self.compared.coverage_fu_per_ang2,
        )

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

    def _residual(self) -> ErrorComponent:
        found = {film.candidate.role: self._error_of_forces(film) for film in self.films}
        black, competitor = (found.get(role, errors.NO_ERRORS) for role in PhaseRole)
        finding = (
            "estimate F²/(2k) of what the forces left at each relaxed structure are worth, "
            f"k = {errors.SOFT_SPRING_EV_PER_ANG2} eV/Å²"
        )
        return errors.bound_component("geometry", black=black, competitor=competitor, finding=finding)

    def _error_of_forces(self, film: CandidateResult) -> TermErrors:
        crystal = self.steps.crystals[film.candidate.phase]
        geometry = self._geometry(film)
        residuals = {
            part.value: errors.estimate_residual_ev(record.result.forces_ev_per_ang)
            for part, step in self.steps.parts_of(film.candidate).items()
            if (record := self.resolution.usable(step)) is not None and record.result is not None
        }
        counts = {
            "bulk": crystal.formula_units,
            "strained bulk": geometry.n_reference_formula_units,
            "film": film.n_formula_units,
        }
        coverage = self.compared.coverage_fu_per_ang2
        return errors.residual_errors(
            residuals,
            counts=counts,
            own_coverage_fu_per_ang2=film.coverage_fu_per_ang2 or coverage,
            coverage_fu_per_ang2=coverage,
        )

    def _geometry(self, film: CandidateResult) -> CandidateGeometry:
        return self.steps.geometry_of(film.candidate)

    def _models(self) -> ErrorComponent:
        words = "black − competitor of the same films with other models; stated beside the error bar, not part of it"
        found = errors.change_together(self.compared, VariationKind.MODEL, name="model", words=words)
        return found.model_copy(update={"is_combined": False})

    def find_critical(self, difference: TermErrors) -> CriticalSize | None:
        """Return the critical size, on the line through the answer; None without a competitor."""
        competitor, volume_ang3 = self.compared.competitor, self._volume_ang3_per_fu()
        line = None if competitor is None else find_thickness_line(self.compared.black, competitor)
        if line is None or volume_ang3 is None:
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


def _is_registry_passed(film: CandidateResult) -> bool:
    return all(check.is_passed for check in film.checks if check.name == "registry")


def spread_of_interfaces_ev(scan: RegistryScan, outer: OuterRegistry | None) -> tuple[float, ...]:
    """Return for each interface how far other registries within reach lie above its best one, in eV per cell.

    Parameters
    ----------
    scan
        A scan with at least one energy: the lower interface.
    outer
        The upper interface of an embedded film; None under vacuum.  Of a scan that kept the range alone, its registries
        are taken to be distributed as those of the lower one.
    """
    lower = spread_of_registries_ev([p.energy_ev for p in scan.points], [p.multiplicity for p in scan.points])
    if outer is None:
        return (lower,)
    if outer.energies_ev:
        return lower, spread_of_registries_ev(outer.energies_ev, outer.multiplicities)
    return lower, lower * outer.range_ev / scan.range_ev if scan.range_ev else 0.0


def spread_of_registries_ev(energies_ev: Sequence[float], multiplicities: Sequence[int]) -> float:
    """Return how far other registries within reach lie above the best (root mean square over the grid, eV per cell).

    Parameters
    ----------
    energies_ev, multiplicities
        Energy of each registry, at least one, and the points of the grid that it stands for.
    """
    energies, weights = np.array(energies_ev), np.array(multiplicities)
    above = energies - energies.min()
    is_near = above <= REACH_SHARE * np.ptp(energies)
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
    """Return the result with the failed lines among its checks and, where anything was varied, ± in its sentence."""
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
    return put_in_words(answer, sides, study=study, facet=document.facet, level=document.level, stated=stated)


def _check_line(fit: LineFit) -> Check:
    return Check(name="thickness line", is_passed=fit.is_consistent, is_decisive=False, finding=fit.finding)
