"""One coverage for everything that is compared: selection, ranking, answer; and what does not depend on it.

The films are synthetic; the two real ones are those of a stored result of formula version 1.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from qdip_dft.analysis.coverage import compared_terms, evaluate_terms, evaluate_total
from qdip_dft.analysis.ranking import average_stabilization_ev_per_fu, rank_candidates
from qdip_dft.analysis.sides import (
    Sides,
    choose_coverage,
    choose_sides,
    find_sides,
    list_uncompared,
    select_candidates,
    subtract_sides,
)
from qdip_dft.model.stabilization import CandidateResult, DecompositionResult, StabilizationDoc
from qdip_dft.model.study import DotCoverage, OrientationPolicy, PhaseRole, PhaseSpec, StudySpec
from qdip_dft.model.study_versions import translate_study
from qdip_dft.model.terms import Terms
from qdip_dft.results.migrations import read_stabilization
from tests.unit.report_documents import make_black, make_document, make_yellow

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
TERM = st.floats(-0.5, 0.5)
PLANES = ("100", "110", "111", "210")


@st.composite
def films(draw: st.DrawFn) -> list[CandidateResult]:
    """One to four planes of a black and of a yellow phase, of any thickness."""
    found = []
    for make in (make_black, make_yellow):
        for plane in PLANES[: draw(st.integers(1, len(PLANES)))]:
            terms = tuple(draw(TERM) for _ in range(4))
            size = {"n_formula_units": draw(st.integers(4, 60)), "area_ang2": draw(st.floats(80, 400))}
            found.append(make(plane=plane, terms_ev_per_fu=terms, is_selected=False, **size))
    return found


def ask(results: list[CandidateResult], coverage: object = "thinner-film", *, pinned: bool = False) -> StudySpec:
    """The study of these films; pinned: the last plane named stands for the black phase."""
    doc = make_document(*results, compared=(None, None))
    changes: dict[str, object] = {"coverage": coverage}
    if pinned:
        phases = [
            PhaseSpec(phase=p.phase, role=p.role, planes=p.planes[::-1], orientation=OrientationPolicy.PINNED)
            if p.role is PhaseRole.BLACK
            else p
            for p in doc.study.phases
        ]
        changes["phases"] = tuple(phases)
    return doc.study.model_copy(update=changes)


def solve(study: StudySpec, results: list[CandidateResult]) -> StabilizationDoc:
    """The document of these films, as a study's results are assembled."""
    coverage = choose_coverage(study, results, None)
    marked = select_candidates(study, results, coverage)
    answer = subtract_sides(choose_sides(marked, None, coverage), coverage)
    doc = make_document(*marked, compared=(None, None))
    return doc.model_copy(update={"study": study, "stabilization": answer})


@given(results=films(), coverage=st.one_of(st.just("thinner-film"), st.floats(0.01, 0.5)))
def test_selection_and_ranking_agree(results: list[CandidateResult], coverage: object) -> None:
    doc = solve(ask(results, coverage), results)
    rankings = rank_candidates(doc)
    assert {r.role for r in rankings} == set(PhaseRole)
    for ranking in rankings:
        assert ranking.coverage_fu_per_ang2 == doc.stabilization.coverage_fu_per_ang2
        assert ranking.candidates[0].result.is_selected
        assert not any(ranked.result.is_selected for ranked in ranking.candidates[1:])
    lowest = {ranking.role: ranking.candidates[0].total_ev_per_fu for ranking in rankings}
    difference = lowest[PhaseRole.BLACK] - lowest[PhaseRole.COMPETITOR]
    assert doc.stabilization.total_ev_per_fu == pytest.approx(difference, abs=1e-9)


@given(results=films(), coverage=st.one_of(st.just("thinner-film"), st.floats(0.01, 0.5)), seed=st.integers(0, 99))
def test_the_order_of_the_candidates_changes_nothing(
    results: list[CandidateResult], coverage: object, seed: int
) -> None:
    study = ask(results, coverage)
    shuffled = list(results)
    Random(seed).shuffle(shuffled)
    one, other = solve(study, results), solve(study, shuffled)
    assert one.stabilization == other.stabilization
    assert {r.candidate.label for r in one.candidates if r.is_selected} == {
        r.candidate.label for r in other.candidates if r.is_selected
    }


@given(tie=films(), seed=st.integers(0, 99))
def test_films_of_equal_energy_are_chosen_in_any_order_alike(tie: list[CandidateResult], seed: int) -> None:
    model = tie[0]
    names = Terms.model_fields
    equal = [
        r.model_copy(update={**{name: getattr(model, name) for name in names},
                             "n_formula_units": model.n_formula_units, "area_ang2": model.area_ang2})
        for r in tie
    ]  # fmt: skip
    shuffled = list(equal)
    Random(seed).shuffle(shuffled)
    study = ask(equal)
    assert solve(study, equal).stabilization == solve(study, shuffled).stabilization


def swap(results: list[CandidateResult]) -> list[CandidateResult]:
    other = {PhaseRole.BLACK: PhaseRole.COMPETITOR, PhaseRole.COMPETITOR: PhaseRole.BLACK}
    return [
        r.model_copy(update={"candidate": r.candidate.model_copy(update={"role": other[r.candidate.role]})})
        for r in results
    ]


@given(results=films(), coverage=st.one_of(st.just("thinner-film"), st.floats(0.01, 0.5)))
def test_the_answer_is_antisymmetric_in_black_and_competitor(results: list[CandidateResult], coverage: object) -> None:
    one = solve(ask(results, coverage), results).stabilization
    exchanged = swap(results)
    other = solve(ask(exchanged, coverage), exchanged).stabilization
    assert one.coverage_fu_per_ang2 == other.coverage_fu_per_ang2
    for name in Terms.model_fields:
        assert getattr(one, name) == pytest.approx(-getattr(other, name), abs=1e-9)
    assert one.interface is not None
    assert other.interface is not None
    assert one.interface.interface_mev_per_ang2 == pytest.approx(-other.interface.interface_mev_per_ang2, abs=1e-9)


def thicken(result: CandidateResult, factor: int) -> CandidateResult:
    """The film of so many times the formula units, with the faces it had: the limit of thick films."""
    changes = {name: getattr(result, name) / factor for name in ("surface_ev_per_fu", "binding_ev_per_fu")}
    total = sum((result.bulk_ev_per_fu, result.strain_ev_per_fu, *changes.values()))
    size = {"n_formula_units": factor * result.n_formula_units, "total_ev_per_fu": total}
    return result.model_copy(update={**changes, **size})


@given(results=films(), which=st.integers(0, 7), factor=st.integers(2, 5), coverage=st.floats(0.01, 0.5))
def test_doubling_one_film_moves_nothing_at_a_given_coverage(
    results: list[CandidateResult], which: int, factor: int, coverage: float
) -> None:
    study, index = ask(results, coverage), which % len(results)
    thicker = [thicken(r, factor) if i == index else r for i, r in enumerate(results)]
    one, other = solve(study, results), solve(study, thicker)
    assert one.stabilization.total_ev_per_fu == pytest.approx(other.stabilization.total_ev_per_fu, abs=1e-9)
    averages = [average_stabilization_ev_per_fu(doc) for doc in (one, other)]
    assert averages[0] == pytest.approx(averages[1], abs=1e-9)


@given(thin=st.integers(4, 20), thick=st.integers(21, 60), factor=st.integers(2, 5))
def test_doubling_the_thicker_of_two_films_moves_nothing(thin: int, thick: int, factor: int) -> None:
    """n* is that of the thinner one, before and after; the films' own totals differ by much."""
    black = make_black(n_formula_units=thin, is_selected=False)
    yellow = make_yellow(n_formula_units=thick, area_ang2=230.0, is_selected=False)
    study = ask([black, yellow])
    one, other = (solve(study, [black, film]).stabilization for film in (yellow, thicken(yellow, factor)))
    assert one.coverage_fu_per_ang2 == other.coverage_fu_per_ang2 == thin / 230.0
    assert one.total_ev_per_fu == pytest.approx(other.total_ev_per_fu, abs=1e-9)


@given(results=films())
def test_n_is_that_of_the_thinner_film_of_the_two_that_are_compared(results: list[CandidateResult]) -> None:
    """Where no pair of films is the lowest at the coverage of its thinner one, the thinnest candidate decides."""
    study = ask(results)
    doc = solve(study, results)
    n = doc.stabilization.coverage_fu_per_ang2
    own = sorted(r.coverage_fu_per_ang2 for r in results)
    thinner = min(side.coverage_fu_per_ang2 for side in find_sides(doc).films)
    if n == thinner:
        return
    assert n == own[0]
    for other in own:
        at_other = solve(study.model_copy(update={"coverage": other}), results)
        assert min(side.coverage_fu_per_ang2 for side in find_sides(at_other).films) != other


@given(results=films())
def test_a_candidate_that_is_never_the_lowest_does_not_move_the_answer(results: list[CandidateResult]) -> None:
    # At its own coverage of 1/230 Å² the others' faces, at most 60/80 eV/Å² together, cost less than 173 eV/f.u.
    poor = make_black(plane="311", terms_ev_per_fu=(999.0, 9.0, 9.0, 9.0), n_formula_units=1, is_selected=False)
    study = ask([*results, poor])
    before = solve(study, results)
    assume(before.stabilization.coverage_fu_per_ang2 == min(s.coverage_fu_per_ang2 for s in find_sides(before).films))
    assert solve(study, [*results, poor]).stabilization == before.stabilization


@given(results=films())
def test_a_pinned_plane_stands_for_its_phase_at_any_coverage(results: list[CandidateResult]) -> None:
    study = ask(results, pinned=True)
    black = next(p for p in study.phases if p.role is PhaseRole.BLACK)
    doc = solve(study, results)
    standing = find_sides(doc).black
    assert standing is not None
    assert standing.candidate.film_plane == black.planes[0]


@given(results=films())
def test_at_its_own_coverage_a_film_keeps_its_own_terms(results: list[CandidateResult]) -> None:
    for result in results:
        assert result.coverage_fu_per_ang2 is not None
        own = evaluate_terms(result, result.coverage_fu_per_ang2)
        for name in Terms.model_fields:
            assert getattr(own, name) == pytest.approx(getattr(result, name), abs=1e-9)


def test_a_film_without_its_area_has_no_faces_at_another_coverage() -> None:
    terms = evaluate_terms(make_black().model_copy(update={"area_ang2": None}), 0.05)
    assert (terms.surface_ev_per_fu, terms.binding_ev_per_fu, terms.total_ev_per_fu) == (None, None, None)


def test_without_a_valid_film_there_is_no_coverage() -> None:
    faulty = make_black(missing=("synthetic",), is_selected=False)
    study = ask([faulty])
    assert choose_coverage(study, [faulty], None) is None
    assert not any(r.is_selected for r in select_candidates(study, [faulty], None))


def test_dots_of_a_radius_at_a_loading_set_the_coverage() -> None:
    """R (1 − x) / (3 x v), with the volume of the relaxed black bulk."""
    results = [make_black(is_selected=False).model_copy(update={"volume_ang3_per_fu": 250.0}), make_yellow()]
    study = ask(results, DotCoverage(dot_radius_ang=20.0, loading=0.1))
    assert choose_coverage(study, results, None) == pytest.approx(20.0 * 0.9 / (3 * 0.1 * 250.0))
    assert choose_coverage(study, results[1:], None) is None


@pytest.mark.parametrize("coverage", [0.0, -0.1, "thicker-film", {"dot_radius_ang": 20.0, "loading": 1.0}])
def test_an_impossible_coverage_is_refused(coverage: object) -> None:
    content = make_document().study.model_dump()
    with pytest.raises(ValidationError, match="coverage"):
        StudySpec.model_validate(translate_study({**content, "coverage": coverage}))


PRODUCTS = DecompositionResult(
    label="FAI + PbI2", amounts={"FAI": 1.0, "PbI2": 1.0}, missing=(), bulk_ev_per_fu=-50.1, strain_ev_per_fu=0.0,
    surface_ev_per_fu=0.0, binding_ev_per_fu=0.0, total_ev_per_fu=-50.1, bulk_above_lowest_ev_per_fu=0.0,
    calculations={},
)  # fmt: skip


def test_products_off_the_dot_compete_with_their_bulk_at_any_coverage() -> None:
    black = make_black(is_selected=False)
    study = ask([black])
    coverage = choose_coverage(study, [black], PRODUCTS)
    assert coverage == black.coverage_fu_per_ang2
    marked = select_candidates(study, [black], coverage)
    answer = subtract_sides(choose_sides(marked, PRODUCTS, coverage), coverage)
    assert answer.competitor == "FAI + PbI2"
    assert answer.competitor_terms is not None
    assert answer.competitor_terms.total_ev_per_fu == pytest.approx(-50.1)
    assert evaluate_total(PRODUCTS, 1e-3) == evaluate_total(PRODUCTS, 10.0)


def stored(version: int) -> StabilizationDoc:
    path = GOLDEN / f"stabilization-{version}-size.json"
    return read_stabilization(json.loads(path.read_text(encoding="utf-8")))


def test_a_stored_capped_result_is_bracketed_by_both_of_its_coverages() -> None:
    """PbS(100)//CsPbI3: the old +0.056 eV/f.u. took 0.0505 f.u./Å² of γ and 0.0827 of δ."""
    doc = stored(3)
    sides = find_sides(doc)
    own = [side.coverage_fu_per_ang2 for side in sides.films]
    assert own == pytest.approx([0.0505, 0.0827], abs=5e-5)
    at_black, at_yellow = (subtract_sides(sides, n).total_ev_per_fu for n in own)
    assert at_black == pytest.approx(0.026, abs=1e-3)
    assert at_yellow == pytest.approx(0.078, abs=1e-3)
    assert at_black < doc.stabilization.total_ev_per_fu == pytest.approx(0.056, abs=5e-4)
    assert doc.stabilization.total_ev_per_fu < at_yellow


def test_the_same_result_made_anew_has_the_thinner_coverage_and_the_same_films() -> None:
    old, new = stored(3), stored(4)
    assert (old.formula_version, new.formula_version) == (1, 2)
    again = subtract_sides(find_sides(old), find_sides(old).films[0].coverage_fu_per_ang2)
    named = {"black_id", "competitor_id", "sentence"}
    assert new.stabilization.model_dump(exclude=named) == again.model_dump(exclude=named)
    for before, after in zip(old.candidates, new.candidates, strict=True):
        for name in Terms.model_fields:
            assert getattr(after, name) == pytest.approx(getattr(before, name), abs=1e-9)
    assert "n* = 0.0505 f.u./Å²" in new.stabilization.sentence
    assert "capped" in new.stabilization.sentence


def test_doubling_the_thickness_of_one_real_film_moves_less_than_three_mev() -> None:
    """The thickest of the stored series holds twice the formula units; before, its own total moved the answer by 50."""
    doc = stored(4)
    sides, n = find_sides(doc), doc.stabilization.coverage_fu_per_ang2
    assert doc.uncertainty is not None
    assert sides.black is not None
    assert sides.competitor is not None
    for side in (sides.black, sides.competitor):
        twice = next(
            s for s in doc.uncertainty.samples
            if s.film == side.candidate.label and s.n_formula_units == 2 * side.n_formula_units
        )  # fmt: skip
        moved = evaluate_total(twice, n) - evaluate_total(side, n)
        assert abs(moved) < 0.003
        assert abs(twice.total_ev_per_fu - side.total_ev_per_fu) > 0.02


def test_a_document_of_the_old_formula_is_shown_as_it_was() -> None:
    doc = stored(3)
    for side in find_sides(doc).films:
        assert compared_terms(doc, side).total_ev_per_fu == side.total_ev_per_fu
    terms = [compared_terms(doc, side) for side in find_sides(doc).films]
    assert (terms[0] - terms[1]).total_ev_per_fu == pytest.approx(doc.stabilization.total_ev_per_fu, abs=1e-9)


def test_sides_without_a_film_have_no_terms() -> None:
    answer = subtract_sides(Sides(None, None), 0.05)
    assert answer.total_ev_per_fu is None
    assert (answer.black, answer.competitor) == (None, None)


@given(results=films(), data=st.data())
def test_a_plane_without_a_valid_film_is_named(results: list[CandidateResult], data: st.DataObject) -> None:
    lost = data.draw(st.sets(st.sampled_from(range(len(results)))))
    left = [
        result.model_copy(update={"missing": ("film fell apart",)}) if index in lost else result
        for index, result in enumerate(results)
    ]
    study = ask(results)
    names = {f"{results[index].candidate.phase}({results[index].candidate.film_plane})" for index in lost}
    assert set(list_uncompared(study, left)) == names
    built = [result for index, result in enumerate(results) if index not in lost]
    assert list_uncompared(study, built) == list_uncompared(study, left)


def test_only_the_pinned_plane_is_asked_for() -> None:
    results = [make_black(plane="100"), make_black(plane="110"), make_yellow(plane="100")]
    study = ask(results, pinned=True)  # (110)
    assert list_uncompared(study, results[1:]) == ()
    assert list_uncompared(study, results[::2]) == (f"{results[1].candidate.phase}(110)",)
