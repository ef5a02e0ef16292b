"""Counterpoise: sites without an atom, and what functions borrowed across an interface do to the error budget."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from qdip_dft.analysis.uncertainty import default_component
from qdip_dft.engines.base import Feature
from qdip_dft.engines.cp2k.data import Kind
from qdip_dft.engines.cp2k.input import subsystem
from qdip_dft.engines.dispersion import PBE_D3BJ, evaluate_d3
from qdip_dft.errors import QdipError
from qdip_dft.flows.engines import StudyEngines
from qdip_dft.flows.steps import FRAGMENTS, Part, StudySteps
from qdip_dft.flows.study_results import assemble_study, resolve_study
from qdip_dft.model.calculation import CalculationRecord, CalculationTask, EngineResult, Freedom, LevelOfTheory
from qdip_dft.model.keys import calculation_key
from qdip_dft.model.stabilization import CandidateResult, StabilizationDoc
from qdip_dft.model.structure import Presence, StructureRecord
from qdip_dft.model.study import StudySpec
from qdip_dft.model.study_versions import translate_study
from qdip_dft.planning.plan import plan_study
from qdip_dft.report.words import say_how_sure
from qdip_dft.results import optimade_folder, training_set
from qdip_dft.results.evidence import Evidence
from tests.unit.studies import TINY_STUDY, Records, StiffEngine, calculate, make_steps, stiff_engine, toy_engine

BORROWED_EV = 0.003
"""What the toy gains by each ghost."""

STUDY = {
    "phases": [
        {"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"], "termination": "PbI2"},
        {"phase": "CsPbI3-beta", "role": "competitor", "planes": ["001"], "termination": "PbI2"},
    ],
    "matching": {"max_area_ang2": 100, "max_strain": 0.08},
    "film": {"min_thickness_ang": 6, "registries": [[0, 0]]},
    "uncertainty": {"counterpoise": True},
}


class Borrowing(StiffEngine):
    """The toy with an energy of each part of its own, lowered by every ghost."""

    features = StiffEngine.features | {Feature.GHOST_FUNCTIONS}
    sign = 1

    def static(self, structure: StructureRecord) -> EngineResult:
        """Return the energy of the atoms with what the ghosts add."""
        whole = super().static(structure.model_copy(update={"presence": ()}))
        n_ghosts = structure.presence.count(Presence.GHOST)
        energy_ev = whole.energy_ev - self.sign * BORROWED_EV * n_ghosts
        return whole.model_copy(update={"structure": structure, "energy_ev": energy_ev})


class Rising(Borrowing):
    """An energy that the variational principle forbids."""

    sign = -1


def salt(*presence: Presence) -> StructureRecord:
    """Return a cell of lithium hydride, perhaps with sites that have no atom."""
    return StructureRecord(
        lattice_ang=((4, 0, 0), (0, 4, 0), (0, 0, 9)),
        species=("Li", "H", "Li"),
        frac_coords=((0, 0, 0), (0.5, 0.5, 0.02), (0.5, 0, 0.3)),
        presence=presence,
    )


def key_of(structure: StructureRecord) -> str:
    theory = LevelOfTheory(level="dft", engine="cp2k", code="CP2K", code_version="2023.1", functional="PBE",
                           dispersion="none", weights_hash="0")  # fmt: skip
    return calculation_key(CalculationTask(label="", freedom=Freedom.NONE, structure=structure), theory, {})


def test_atoms_everywhere_keep_the_key_they_had_before_there_were_ghosts() -> None:
    before = "1901bc0dc833c3bb542f4e0654fee09db3e16729a168b15c3c5c4f382dc19446"
    assert key_of(salt()) == before
    assert key_of(salt(*[Presence.ATOM] * 3)) == before


def test_what_stands_for_an_atom_is_part_of_the_key() -> None:
    atom, ghost, absent = Presence
    keys = {key_of(salt(*each)) for each in [(), (atom, atom, ghost), (atom, atom, absent), (ghost, atom, atom)]}
    assert len(keys) == 4


def test_a_structure_of_atoms_is_stored_as_before() -> None:
    assert "presence" not in salt().model_dump(mode="json")
    ghost = salt(Presence.ATOM, Presence.ATOM, Presence.GHOST)
    assert StructureRecord.model_validate(ghost.model_dump(mode="json")) == ghost


def test_cp2k_gets_the_functions_of_a_ghost_and_nothing_of_what_is_absent() -> None:
    kinds = {symbol: Kind(f"GTH-{symbol}", f"DZVP-{symbol}", 1) for symbol in ("Li", "H")}
    written = subsystem(salt(Presence.ATOM, Presence.GHOST, Presence.ABSENT).arrangement, kinds)
    assert [line[0] for line in written["COORD"][""]] == ["Li", "H_ghost", "Li_absent"]
    assert written["KIND Li"] == {"BASIS_SET": "DZVP-Li", "POTENTIAL": "GTH-Li"}
    assert written["KIND H_ghost"] == {"BASIS_SET": "DZVP-H", "ELEMENT": "H", "GHOST": "TRUE"}
    assert written["KIND Li_absent"] == {"BASIS_SET": "NONE", "ELEMENT": "Li", "GHOST": "TRUE"}


def test_dispersion_is_that_of_the_atoms() -> None:
    part = salt(Presence.ATOM, Presence.ATOM, Presence.GHOST).arrangement
    found, alone = (evaluate_d3(each, PBE_D3BJ) for each in (part, part.only_atoms()))
    assert found.energy_ev == alone.energy_ev
    assert np.array_equal(found.forces_ev_per_ang, [*alone.forces_ev_per_ang, (0, 0, 0)])


def test_a_potential_refuses_a_site_without_an_atom() -> None:
    with pytest.raises(QdipError, match="leave out what needs this feature"):
        toy_engine().static(salt(Presence.ATOM, Presence.ATOM, Presence.GHOST))


@pytest.mark.parametrize(
    ("engine", "remedy"),
    [
        ({"name": "testing"}, "leave out what needs this feature"),
        ({"name": "gpaw"}, "leave out what needs this feature"),
        ({"name": "cp2k", "runner": "atomate2"}, "leave `runner` out"),
    ],
)
def test_a_plan_refuses_counterpoise_where_there_are_no_ghosts(engine: dict[str, str], remedy: str) -> None:
    study = translate_study({**TINY_STUDY, **STUDY, "engine": engine})
    with pytest.raises(QdipError, match=remedy):
        plan_study(StudySpec.model_validate(study))


def run(engine: Borrowing, *, spoilt: Part | None = None) -> tuple[StudySteps, StabilizationDoc, Records]:
    steps, engines, records = make_steps(**STUDY), StudyEngines(toy_engine(), by_tag={"counterpoise": engine}), {}
    while (state := resolve_study(steps, engines, records.get)).unfinished:
        for step, task in state.ready.items():
            found: CalculationRecord = calculate(task, state.keys[step], engines.of(state.steps[step]))
            is_spoilt = step.part is spoilt
            records[state.keys[step]] = (
                found.model_copy(update={"result": None, "failure": "no"}) if is_spoilt else found
            )
    (document,) = assemble_study(steps, state, engines=engines)
    return steps, document, records


@cache
def counterpoise() -> tuple[StudySteps, StabilizationDoc, Records]:
    return run(Borrowing(relaxation=stiff_engine().relaxation))


def borrowed_ev_per_ang2(film: CandidateResult) -> float:
    """What the toy borrows: every atom of the interface is a ghost once."""
    assert film.n_atoms is not None
    assert film.area_ang2 is not None
    return BORROWED_EV * film.n_atoms / film.area_ang2


def test_four_single_points_are_made_for_either_film_and_none_without_the_option() -> None:
    _, document, records = counterpoise()
    made = [r for r in records.values() if isinstance(r, CalculationRecord) and r.task.structure.presence]
    assert len(made) == 8
    assert {record.task.freedom for record in made} == {Freedom.NONE}
    assert {record.key for record in made} <= set(document.calculations.values())
    assert not {step.part for step in make_steps().steps} & FRAGMENTS


def test_both_ways_of_a_part_have_the_atoms_of_the_interface_in_its_cell() -> None:
    _, document, records = counterpoise()
    film = document.candidates[0]
    whole = records[film.calculations["interface"]]
    assert isinstance(whole, CalculationRecord)
    names = {label: key for label, key in document.calculations.items() if f"{film.candidate.label}, counterp" in label}
    parts = [records[key] for key in names.values()]
    assert len(parts) == 4
    for part in parts:
        assert isinstance(part, CalculationRecord)
        assert part.task.structure.model_copy(update={"presence": ()}) == whole.task.structure
    counts = sorted(part.task.structure.presence.count(Presence.ATOM) for part in parts)  # type: ignore[union-attr]
    assert counts[0] == counts[1]
    assert counts[1] + counts[2] == whole.task.structure.n_atoms


def test_the_budget_holds_the_difference_of_what_both_films_borrow_and_the_answer_stays() -> None:
    _, document, _ = counterpoise()
    assert document.uncertainty is not None
    coverage = document.stabilization.coverage_fu_per_ang2
    assert coverage is not None
    (found,) = [c for c in document.uncertainty.components if c.name == "basis-set superposition"]
    black, other = (borrowed_ev_per_ang2(film) for film in document.candidates)
    assert found.difference is not None
    assert found.black is not None
    assert found.black.binding_ev_per_fu == pytest.approx(black / coverage)
    assert found.difference.total_ev_per_fu == pytest.approx(abs(black - other) / coverage)
    assert found.difference.binding_ev_per_fu == pytest.approx(found.difference.total_ev_per_fu)
    assert found.difference.bulk_ev_per_fu == found.difference.strain_ev_per_fu == 0
    plain = make_steps(**{**STUDY, "uncertainty": {}})
    assert plain.candidates == counterpoise()[0].candidates
    assert document.candidates[0].binding_ev_per_fu == pytest.approx(
        document.uncertainty.samples[0].binding_ev_per_fu
        - BORROWED_EV * document.candidates[0].n_atoms / document.candidates[0].n_formula_units
    )


def test_what_is_shared_holds_atoms_alone() -> None:
    _, document, records = counterpoise()
    found = [record for record in records.values() if isinstance(record, CalculationRecord)]
    frames = training_set._choose_frames(found)
    assert frames
    assert not any(frame.task.structure.presence for frame in frames)
    evidence = Evidence((document,), tuple(found))
    n_structures = sum(1 for record in found if record.result is not None and not record.task.structure.presence)
    assert len(list(optimade_folder._make_entries(evidence))) == n_structures


def test_the_report_says_what_is_borrowed() -> None:
    _, document, _ = counterpoise()
    film = document.candidates[0]
    words = " ".join(say_how_sure(document))
    assert f"(BSSE) bind by {BORROWED_EV * film.n_atoms:.3f} eV per interface cell" in words


@pytest.mark.parametrize(
    ("engine", "spoilt", "words"),
    [(Borrowing, Part.FILM_WITH_GHOSTS, "no counterpoise because film with ghosts"),
     (Rising, None, "is not the ground state")],
)  # fmt: skip
def test_a_counterpoise_that_cannot_be_trusted_counts_for_nothing_and_says_why(
    engine: type[Borrowing], spoilt: Part | None, words: str
) -> None:
    _, document, _ = run(engine(relaxation=stiff_engine().relaxation), spoilt=spoilt)
    assert document.uncertainty is not None
    assert document.stabilization.total_ev_per_fu is not None
    assert all(words in sample.faults[0] for sample in document.uncertainty.samples)
    (found,) = [c for c in document.uncertainty.components if c.name == "basis-set superposition"]
    assert not found.is_sampled
    coverage = document.stabilization.coverage_fu_per_ang2
    assert coverage is not None
    default = default_component(found, coverage).difference
    assert default is not None
    assert default.total_ev_per_fu > 0
