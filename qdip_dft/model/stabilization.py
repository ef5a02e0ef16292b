"""The result of a study: the four terms of every phase, and their difference at one coverage.

Definitions (section 4 of the design, docs/method.md).  For a film of N formula units on the dot area A, n = N/A:

    bulk    = E(bulk, fully relaxed) / Z
    strain  = E(strained bulk) / N_ref − bulk
    surface = [E(film slab) − N (bulk + strain) − Σ Δn μ] / N
    binding = [E(interface) − E(film slab) − E(dot slab)] / N
    total   = bulk + strain + surface + binding = [E(interface) − E(dot slab) − Σ Δn μ] / N

These are the candidate's own terms, per formula unit of this very film.  Surface and binding belong to the area,
σ = n (surface + binding): two films of different n are compared at one coverage n*, where

    total(n*) = bulk + strain + σ/n*        stabilization = total(n*, black) − total(n*, competitor)

term by term; negative means that the black phase is favoured.  Formula version 1 subtracted the own totals, each at the
n of its film.

Δn formula units of AX or BX2 beyond the N of the host, with chemical potentials μ, belong to non-stoichiometric films
only.  Their terms are given at the AX-rich bound of μ, and at the BX2-rich bound besides.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final, Literal

from pydantic import JsonValue

from qdip_dft.model.base import Record
from qdip_dft.model.calculation import Level, LevelOfTheory
from qdip_dft.model.interface import Candidate, DroppedCandidate
from qdip_dft.model.reference import BulkBasis
from qdip_dft.model.registry import RegistryFinding
from qdip_dft.model.study import PhaseRole, StudySpec
from qdip_dft.model.term_names import SIGN_CONVENTION
from qdip_dft.model.terms import Terms
from qdip_dft.model.uncertainty import Uncertainty
from qdip_dft.model.versions import STABILIZATION_SCHEMA_VERSION

if TYPE_CHECKING:
    from pandas import DataFrame

FORMULA_VERSION: Final = 2
"""Raised whenever the definition of a number changes.  1: every film at its own n; 2: all at one coverage n*."""

UNITS = {
    "_ev_per_fu": "eV per formula unit of the host",
    "_mev_per_ang2": "meV per square angstrom of interface",
    "_j_per_m2": "J per square metre of interface",
    "_fu_per_ang2": "formula units of the host per square angstrom of dot",
    "_ang2": "square angstrom",
    "_ang": "angstrom",
    "strains": "fraction; negative: compressed",
}


class ChemicalPotentials(Record):
    """Chemical potentials of the compounds AX and BX2 at both ends of the host's stability.

    Parameters
    ----------
    ax, bx2
        The compounds.
    host_ev_per_fu
        Bulk energy of the host's most stable phase in the study, which the potentials add up to.
    window_ev
        Energy of AX + BX2 above that bulk, per formula unit of the host; negative: the host is unstable against them.
    ax_rich_ev, bx2_rich_ev
        Potentials by compound, in eV per its formula unit, where AX (BX2) is about to precipitate.
    """

    ax: str
    bx2: str
    host_ev_per_fu: float
    window_ev: float
    ax_rich_ev: dict[str, float]
    bx2_rich_ev: dict[str, float]


class Check(Record):
    """One check of a result.

    Parameters
    ----------
    name
        What was checked, such as ``phase identity``.
    is_passed
        Whether it passed.  A failed check removes the candidate from the comparison when ``is_decisive``.
    is_decisive
        Whether a failure makes the number meaningless.
    finding
        The finding in words, with values and units.
    """

    name: str
    is_passed: bool
    is_decisive: bool
    finding: str


class LowestChoice(Terms):
    """The termination or orientation of a film that is the lowest that was computed, where it is not its own.

    Nature takes it, so it stands for the film in every comparison.  The terms are at the film's own coverage, its bulk
    that of the film.

    Parameters
    ----------
    name
        What was changed, such as ``orientation 3``.
    """

    name: str


class CandidateResult(Terms):
    """The terms of one candidate, per formula unit of its own film: at its own coverage n = N/A.

    Parameters
    ----------
    candidate
        What was built.
    registry
        What the scan of lateral position, gap and orientation found; None where the registry was given or did not
        matter, and in results made before there were registry_scans.
    is_selected
        Whether it stands for its phase: the lowest at n* among the valid candidates of the phase.
    missing
        Why a term is missing, one sentence each; empty when complete.
    bulk_above_lowest_ev_per_fu
        Bulk term relative to the most stable bulk of the study.
    n_formula_units, n_atoms, area_ang2
        Host formula units of the film, atoms of the interface, dot area A in Å²: that of the common cell, twice that
        where the film lies between two dots.
    film_principal_strains, dot_principal_strains
        With the relaxed lattices (fraction, ascending; negative: compressed).
    surface_mev_per_ang2, surface_j_per_m2
        N·surface/A: energy per area of making both faces of the film.
    binding_mev_per_ang2, binding_j_per_m2
        N·binding/A: negative when bound.
    work_of_separation_j_per_m2
        −N·binding/A: positive when bound.
    interface_mev_per_ang2
        σ = N·(surface + binding)/A, what the film pays per area for its surfaces and gains by binding.
    identity_residual_ev
        N·total − [E(interface) − E(dot slab) − Σ Δn μ] in eV; zero up to rounding.
    calculations
        Calculation key of every part of the candidate.
    bx2_rich
        The terms at the BX2-rich bound of the chemical potentials; all other numbers are at the AX-rich bound.  None
        for a stoichiometric film, which does not depend on them.
    film_strain_ev_per_fu, dot_strain_ev_per_fu
        The two parts of the strain term; None where one is missing, and in documents written before there were two.
    volume_ang3_per_fu
        Volume of a formula unit of the relaxed bulk; None where that is missing, and in documents before version 4.
    strained_above_hull_ev_per_fu, strained_above_hull_mev_per_atom
        Strained bulk above the hull of the document: what the host in the film could gain by falling apart or turning
        into another phase, were it not for the dot.
    bulk_shift_ev_per_fu
        What a reference adds to the bulk term in every comparison, which is then anchored; None: nothing.  All terms
        here are those of the engine.
    lowest_choice
        Another termination or orientation that lies lower; None: there is none, or none was computed.
    """

    candidate: Candidate
    registry: RegistryFinding | None = None
    is_selected: bool
    missing: tuple[str, ...]
    bulk_above_lowest_ev_per_fu: float | None
    n_formula_units: int
    n_atoms: int | None
    area_ang2: float | None
    film_principal_strains: tuple[float, float] | None
    dot_principal_strains: tuple[float, float] | None
    surface_mev_per_ang2: float | None
    surface_j_per_m2: float | None
    binding_mev_per_ang2: float | None
    binding_j_per_m2: float | None
    work_of_separation_j_per_m2: float | None
    interface_mev_per_ang2: float | None
    identity_residual_ev: float | None
    checks: tuple[Check, ...]
    calculations: dict[str, str]
    bx2_rich: Terms | None = None
    film_strain_ev_per_fu: float | None = None
    dot_strain_ev_per_fu: float | None = None
    volume_ang3_per_fu: float | None = None
    strained_above_hull_ev_per_fu: float | None = None
    strained_above_hull_mev_per_atom: float | None = None
    bulk_shift_ev_per_fu: float | None = None
    lowest_choice: LowestChoice | None = None

    @property
    def coverage_fu_per_ang2(self) -> float | None:
        """The film's own n: formula units of the host per Å² of dot; None where the area is not known."""
        return None if self.area_ang2 is None else self.n_formula_units / self.area_ang2

    @property
    def is_valid(self) -> bool:
        """Return whether every term is there and no decisive check failed."""
        return not self.missing and not self.failed_checks

    @property
    def failed_checks(self) -> tuple[Check, ...]:
        """Return the decisive checks that failed: they keep the candidate out of the comparison."""
        return tuple(check for check in self.checks if check.is_decisive and not check.is_passed)

    @property
    def faults(self) -> tuple[str, ...]:
        """Return in words why the candidate is not valid: its missing terms, then its failed checks."""
        return (*self.missing, *(f"{check.name}: {check.finding}" for check in self.failed_checks))

    @property
    def at_bx2_rich(self) -> CandidateResult:
        """Return the result with the terms at the BX2-rich bound; the energies per area stay at the AX-rich one."""
        return self if self.bx2_rich is None else self.model_copy(update=self.bx2_rich.model_dump())


class DecompositionResult(Terms):
    """The host as bulk compounds away from the dot: its energy is the bulk term, the others are zero.

    Parameters
    ----------
    label
        Such as ``MAI + PbI2``.
    amounts
        Formula units of each product per formula unit of the host.
    missing
        Why the energy is missing; empty when complete.
    bulk_above_lowest_ev_per_fu
        Bulk term relative to the most stable bulk of the study.
    calculations
        Calculation key of every product.
    checks
        Checks of the products' bulks; empty in documents written before there were any.
    is_compared
        Whether it may stand for the competitor; not where one of the products covers the dot (`Candidate.apart`).
    """

    label: str
    amounts: dict[str, float]
    missing: tuple[str, ...]
    bulk_above_lowest_ev_per_fu: float | None
    calculations: dict[str, str]
    checks: tuple[Check, ...] = ()
    is_compared: bool = True


class Hull(Record):
    """The most stable way to be the host, among what the study has computed.

    Parameters
    ----------
    lowest
        The phase, or the compounds, of lowest energy.
    energy_ev_per_fu
        Its bulk energy in eV per formula unit of the host.
    n_atoms_per_fu
        Atoms in a formula unit.
    above_ev_per_fu
        By how much every phase and every set of compounds lies above, as relaxed bulks.
    """

    lowest: str
    energy_ev_per_fu: float
    n_atoms_per_fu: float
    above_ev_per_fu: dict[str, float]


class InterfaceEnergies(Record):
    """Energies per area of dot, σ_surf, σ_bind and their sum: what does not depend on the thickness of the film.

    Parameters
    ----------
    surface_mev_per_ang2, surface_j_per_m2
        σ_surf, what the faces of the film cost.
    binding_mev_per_ang2, binding_j_per_m2
        σ_bind, negative when bound.
    interface_mev_per_ang2, interface_j_per_m2
        σ = σ_surf + σ_bind.
    """

    surface_mev_per_ang2: float
    surface_j_per_m2: float
    binding_mev_per_ang2: float
    binding_j_per_m2: float
    interface_mev_per_ang2: float
    interface_j_per_m2: float


class Stabilization(Terms):
    """Black − competitor at one coverage, term by term; negative: the black phase is favoured.

    Parameters
    ----------
    black, competitor
        Labels of the two sides: a candidate, or the products of a decomposition; None where a side has nothing valid.
    black_id, competitor_id
        Ids of the candidates; None also for the products of a decomposition.
    coverage_fu_per_ang2
        n*, at which both sides are evaluated; None where no film is valid, and in formula version 1, which took every
        film at its own n.
    black_terms, competitor_terms
        The two sides at n*; None where one is missing, and in formula version 1.
    interface
        Black − competitor per area of dot, which does not depend on n*; None likewise.
    sentence
        The answer in one sentence.
    """

    black: str | None
    competitor: str | None
    black_id: str | None = None
    competitor_id: str | None = None
    coverage_fu_per_ang2: float | None = None
    black_terms: Terms | None = None
    competitor_terms: Terms | None = None
    interface: InterfaceEnergies | None = None
    sentence: str


class StabilizationDoc(Record):
    """The answer of a study on one dot facet.

    Parameters
    ----------
    id
        Name of the study, followed by ``@facet`` when it has several facets and by ``+variant`` when it was asked with
        another engine or preset than its file names.
    study
        The study as it was asked.
    formula_version
        Which definition its stabilization follows; numbers of two versions are never subtracted.
    dot_plane
        Facet of the dot.
    level
        How far the numbers may be trusted.
    theory
        Level of theory of every energy in it; None when nothing was computed.
    geometry_theory
        Level of theory of every relaxation, where it is not that of the energies; None: the same, or nothing was
        computed.
    candidates
        All candidates with their terms, valid or not.
    dropped
        What was not built, and why.
    decomposition
        The host as decomposition products, if the study asks for it.
    stabilization
        The difference and the sentence; at the AX-rich bound if a film has an excess.
    chemical_potentials
        The bounds, if a film has an excess.
    bx2_rich
        The difference at the BX2-rich bound and the same n*, where another candidate may stand for a phase.
    uncertainty
        How sure the answer is, with the critical size; None where a side is missing, and in documents before version 3.
    hull
        The most stable way to be the host; None where no bulk is complete, and in documents before version 3.
    bulk_basis
        Where the bulk term of the comparison comes from; None in documents before version 5, where it is the engine's.
    calculations
        Calculation key of everything that was calculated for it, relaxations included, by step; empty in documents
        written before the field existed.
    relaxation_settings
        What decided where the relaxations ended: thresholds in eV/Å and eV/Å³, steps, optimiser; empty likewise.
    units, sign_convention
        Units by the ending of the field names; sign convention.
    versions
        Versions of Python, the packages and the kind of machine that made the numbers.
    """

    schema_version: Literal[5] = STABILIZATION_SCHEMA_VERSION
    formula_version: Literal[1, 2] = FORMULA_VERSION
    id: str
    study: StudySpec
    dot_plane: str
    level: Level
    theory: LevelOfTheory | None
    geometry_theory: LevelOfTheory | None = None
    candidates: tuple[CandidateResult, ...]
    dropped: tuple[DroppedCandidate, ...]
    decomposition: DecompositionResult | None = None
    stabilization: Stabilization
    chemical_potentials: ChemicalPotentials | None = None
    bx2_rich: Stabilization | None = None
    hull: Hull | None = None
    bulk_basis: BulkBasis | None = None
    uncertainty: Uncertainty | None = None
    calculations: dict[str, str] = {}
    relaxation_settings: dict[str, JsonValue] = {}
    units: dict[str, str] = UNITS
    sign_convention: str = SIGN_CONVENTION
    versions: dict[str, str]
    created_at: str

    @property
    def facet(self) -> str:
        """Dot and facet, such as ``PbS(111)``."""
        titles = [*(result.candidate.title for result in self.candidates), *(dropped.title for dropped in self.dropped)]
        return titles[0].facet if titles else f"{self.study.dot.material}({self.dot_plane})"

    @property
    def has_answer(self) -> bool:
        """Whether the comparison that the study asks for was made; of a study of terms only, the terms of a film."""
        if self.stabilization.total_ev_per_fu is not None:
            return True
        return self.study.terms_only and any(result.is_selected for result in self.candidates)

    def to_dataframe(self) -> DataFrame:
        """The answer as a table of pandas: black, competitor and their difference at n*, in eV per formula unit.

        Bulk and total of the two sides are counted from the lower of their bulks; NaN where a term is missing.

        Examples
        --------
        >>> table = document.to_dataframe()
        >>> list(table.index)
        ['black', 'competitor', 'black - competitor']
        >>> rest = table.total_ev_per_fu["black"] - table.total_ev_per_fu["competitor"] - table.total_ev_per_fu.iloc[2]
        >>> bool(abs(rest) < 1e-9)
        True
        """
        from pandas import DataFrame

        answer = self.stabilization
        sides = {"black": answer.black_terms, "competitor": answer.competitor_terms}
        zero = min((terms.bulk_ev_per_fu or 0.0 for terms in sides.values() if terms is not None), default=0.0)
        rows = {role: {} if terms is None else terms.count_from(zero).model_dump() for role, terms in sides.items()}
        rows["black - competitor"] = {name: getattr(answer, name) for name in Terms.model_fields}
        table = DataFrame.from_dict(rows, orient="index", columns=list(Terms.model_fields), dtype=float)
        table.insert(0, "film", [answer.black, answer.competitor, ""])
        return table

    def _repr_html_(self) -> str:
        """The answer in a notebook: the sentence and the table of `to_dataframe`."""
        table = self.to_dataframe().to_html(float_format="{:+.3f}".format, na_rep="missing", border=0)
        return f"<p><b>{escape(self.id)}</b>: {escape(self.stabilization.sentence)}</p>{table}"

    def find_candidate(self, candidate_id: str | None) -> CandidateResult | None:
        """The result of a candidate; None where there is none of this id."""
        return next((result for result in self.candidates if result.candidate.id == candidate_id), None)

    def selected(self, role: PhaseRole) -> tuple[CandidateResult, ...]:
        """Return the candidates that stand for the phases of one role, one per phase."""
        return tuple(c for c in self.candidates if c.is_selected and c.candidate.role is role)


class StudyOutput(Record):
    """What the flow of a study gives to the jobs that follow it.

    Parameters
    ----------
    stabilization
        The answer on the first facet, such as ``flow.output.stabilization.total_ev_per_fu``.
    documents
        The results on all facets.
    """

    stabilization: Stabilization
    documents: tuple[StabilizationDoc, ...]
