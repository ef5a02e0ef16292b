"""Candidates of a phase against each other: weights, averages, pinned planes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdip_dft.analysis.ranking import average_stabilization_ev_per_fu, rank_candidates, weigh
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.study import EnsembleSpec, StudySpec
from qdip_dft.model.study_versions import translate_study
from qdip_dft.report.tables import list_tables
from qdip_dft.report.words import list_remarks
from qdip_dft.units import BOLTZMANN_EV_PER_K
from tests.unit import studies
from tests.unit.report_documents import make_black, make_document, make_yellow
from tests.unit.studies import assemble

TWO_PLANES = (
    make_black(),
    make_black(plane="110", terms_ev_per_fu=(0.05, 0.04, 0.21, -0.39), is_selected=False),
    make_yellow(),
)


def at(doc: StabilizationDoc, **changes: float) -> StabilizationDoc:
    """Return a document whose study asks for another ensemble."""
    return doc.model_copy(update={"study": doc.study.model_copy(update={"ensemble": EnsembleSpec(**changes)})})


@given(
    energies=st.lists(st.floats(-50, 50), min_size=1, max_size=8),
    shift=st.floats(-100, 100),
    temperature_k=st.floats(50, 1500),
)
def test_weights_add_up_and_know_no_zero_of_energy(energies: list[float], shift: float, temperature_k: float) -> None:
    weights = weigh(energies, temperature_k=temperature_k)
    assert sum(weights) == pytest.approx(1.0)
    moved = weigh([energy + shift for energy in energies], temperature_k=temperature_k)
    assert moved == pytest.approx(weights, abs=1e-6)
    assert weights[energies.index(min(energies))] == max(weights)


def test_a_patch_that_costs_kt_more_is_e_times_rarer() -> None:
    low, high = weigh([0.0, BOLTZMANN_EV_PER_K * 300.0], temperature_k=300.0)
    assert low / high == pytest.approx(2.718281828)


def test_the_ranking_is_by_energy_for_the_same_amount_of_host() -> None:
    (black, yellow) = rank_candidates(make_document(*TWO_PLANES))
    assert [ranked.result.candidate.film_plane for ranked in black.candidates] == ["100", "110"]
    assert black.candidates[1].above_ev_per_fu == pytest.approx(0.03)
    density = black.coverage_fu_per_ang2
    assert black.candidates[1].above_mev_per_ang2 == pytest.approx(1000 * 0.03 * density)
    (alone,) = yellow.candidates
    assert (alone.weight, alone.above_ev_per_fu) == (1.0, 0.0)


def test_a_thicker_film_of_the_same_faces_and_strain_ranks_the_same() -> None:
    """Twice the formula units halve surface and binding per formula unit, not what the faces cost."""
    thick = make_black(plane="110", terms_ev_per_fu=(0.05, 0.03, 0.1, -0.2), n_formula_units=36, is_selected=False)
    black, _ = rank_candidates(make_document(make_black(), thick, make_yellow()))
    assert black.candidates[0].weight == pytest.approx(0.5)
    assert black.candidates[1].above_ev_per_fu == pytest.approx(0.0, abs=1e-12)


def test_heat_mixes_and_large_patches_separate() -> None:
    doc = make_document(*TWO_PLANES)
    cold, hot = (rank_candidates(at(doc, temperature_k=t))[0].candidates[0].weight for t in (100.0, 1500.0))
    small, large = (rank_candidates(at(doc, patch_area_ang2=a))[0].candidates[0].weight for a in (1.0, 4000.0))
    assert 0.5 < hot < cold
    assert 0.5 < small < large == pytest.approx(1.0)


def test_the_average_approaches_the_answer_when_it_is_cold() -> None:
    doc = at(make_document(*TWO_PLANES), temperature_k=1.0)
    assert average_stabilization_ev_per_fu(doc) == pytest.approx(doc.stabilization.total_ev_per_fu, abs=1e-9)


def test_an_average_needs_both_sides() -> None:
    assert average_stabilization_ev_per_fu(make_document(make_black())) is None


def test_the_ranking_is_shown_where_there_is_a_choice() -> None:
    titles = [table.title for table in list_tables(make_document(*TWO_PLANES))]
    assert "Ranking of the candidates" in titles
    assert "Ranking of the candidates" not in [table.title for table in list_tables(make_document())]


PLANES = {"phase": "CsPbI3-alpha", "role": "black", "planes": ["100", "210"]}


def answer(**phase: object) -> StabilizationDoc:
    """Carry out a study of two planes with the toy potential."""
    steps = studies.make_steps(
        phases=[{**PLANES, **phase}], film={"min_thickness_ang": 6, "registries": [[0, 0]]},
        matching={"max_area_ang2": 300, "max_strain": 0.08},
    )  # fmt: skip
    *_, last = studies.stages(steps, RECORDS)
    return assemble(steps, last)


RECORDS: studies.Records = {}


def test_a_pinned_plane_stands_for_its_phase_even_if_another_is_lower() -> None:
    lowest = answer()
    (selected,) = (result for result in lowest.candidates if result.is_selected)
    other = next(plane for plane in PLANES["planes"] if plane != selected.candidate.film_plane)
    pinned = answer(orientation="pinned", planes=[other, selected.candidate.film_plane])
    (standing,) = (result for result in pinned.candidates if result.is_selected)
    assert standing.candidate.film_plane == other
    assert pinned.stabilization.black == standing.candidate.label
    (ranking,) = rank_candidates(pinned)
    assert [ranked.result.candidate.film_plane for ranked in ranking.candidates] == [
        selected.candidate.film_plane, other,
    ]  # fmt: skip
    remarks = {remark.title: remark.lines for remark in list_remarks(pinned)}
    assert "whose plane the study pins" in remarks["Other candidates"][0]


def test_the_policy_is_one_of_two_words() -> None:
    with pytest.raises(ValueError, match="'lowest' or 'pinned'"):
        StudySpec.model_validate(translate_study({**studies.TINY_STUDY, "phases": [{**PLANES, "orientation": "best"}]}))


def test_an_invalid_pinned_plane_leaves_its_phase_without_a_film_and_says_so() -> None:
    """The toy potential does not keep the (111) film of the cubic phase; the (100) film does not step in."""
    doc = answer(orientation="pinned", planes=["111", "100"])
    by_plane = {result.candidate.film_plane: result for result in doc.candidates}
    assert (by_plane["111"].is_valid, by_plane["100"].is_valid) == (False, True)
    assert doc.stabilization.black is None
    assert "the study pins another plane" in doc.stabilization.sentence
