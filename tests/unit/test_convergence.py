"""Ladders of one setting: when the stabilization has stopped changing, and what a finer value is."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest

from qdip_dft.analysis.convergence import CUTOFF, DOT, FILM, K_SPACING, VACUUM, Ladder, Rung, express_for, make_rung
from qdip_dft.builders.candidates import find_candidates
from qdip_dft.cli.converge import read_target
from qdip_dft.engines.code_run import count_k_points
from qdip_dft.errors import StudyError
from qdip_dft.execution.convergence import Refinement, change_setting, read_setting, set_value
from qdip_dft.flows.building import preview_structures
from qdip_dft.flows.steps import Part
from qdip_dft.model.study import StudySpec
from qdip_dft.model.study_versions import translate_study
from qdip_dft.model.terms import Terms
from qdip_dft.planning.plan import StudyPlan
from tests.unit.report_documents import make_black, make_document, make_terms, make_yellow
from tests.unit.studies import TINY_STUDY

TARGET_EV = 0.005


def ladder_of(*totals: float | None) -> Ladder:
    """Return a ladder with these totals at 10, 20, 30, … Å."""
    rungs = tuple(
        Rung(10.0 * (i + 1), {"111": None if total is None else make_terms(total, 0.0, 0.0, 0.0)}, {})
        for i, total in enumerate(totals)
    )
    return Ladder(VACUUM, TARGET_EV, rungs)


def make_study(**changes: object) -> StudySpec:
    return StudySpec.model_validate(translate_study({**TINY_STUDY, **changes}))


def test_two_small_changes_in_a_row_are_convergence() -> None:
    ladder = ladder_of(-0.10, -0.08, -0.079, -0.080)
    assert ladder.changes_ev_per_fu == pytest.approx((0.02, 0.001, -0.001))
    assert ladder.converged_value == 20.0
    assert ladder.is_finished


@pytest.mark.parametrize(
    "totals", [(-0.1,), (-0.1, -0.1), (-0.1, -0.1, -0.08), (-0.1, -0.08, -0.08), (-0.10, -0.105, -0.11)]
)
def test_one_small_change_is_none(totals: tuple[float, ...]) -> None:
    assert ladder_of(*totals).converged_value is None
    assert not ladder_of(*totals).is_finished


def test_a_missing_result_ends_the_ladder() -> None:
    ladder = ladder_of(-0.1, None)
    assert ladder.is_finished
    assert ladder.converged_value is None


def test_the_worst_facet_decides() -> None:
    def rung(value: float, one: float, other: float) -> Rung:
        return Rung(value, {"100": make_terms(one, 0, 0, 0), "111": make_terms(other, 0, 0, 0)}, {})

    ladder = Ladder(VACUUM, TARGET_EV, (rung(10, 0, 0), rung(15, 0, 0.2), rung(20, 0, 0.1)))
    assert ladder.changes_ev_per_fu == pytest.approx((0.2, -0.1))


def test_a_thicker_film_with_the_same_faces_changes_nothing() -> None:
    """Surface and binding per formula unit halve when the film is twice as thick; the faces are the same."""
    thin = make_document(make_black(), make_yellow())
    thick = make_document(
        make_black(terms_ev_per_fu=(0.05, 0.03, 0.1, -0.2), n_formula_units=36),
        make_yellow(terms_ev_per_fu=(0.0, 0.06, 0.075, -0.075), n_formula_units=72),
    )
    expressed = express_for(thick, thin)
    assert isinstance(expressed, Terms)
    for name in Terms.model_fields:
        assert getattr(expressed, name) == pytest.approx(getattr(thin.stabilization, name), abs=1e-12)


def test_another_film_in_the_comparison_is_no_convergence() -> None:
    first = make_document()
    other = make_document(make_black(plane="110"), make_yellow())
    rung = make_rung(20.0, [other], [first])
    assert not rung.is_complete
    assert "one plane per phase" in rung.reasons["111"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [(FILM, 40.0), (DOT, 40.0), (VACUUM, 40.0), (K_SPACING, 0.25), (CUTOFF, 400.0)],
    ids=lambda value: getattr(value, "word", ""),
)
def test_a_variant_differs_in_its_setting_and_its_id_only(setting, value) -> None:
    study = make_study()
    variant = change_setting(study, setting, value)
    assert read_setting(variant, setting) == value
    assert variant.id == f"tiny+{setting.word}-{value:g}"
    place = setting.key.split(".")[0]
    same = set(StudySpec.model_fields) - {place, "variant"}
    assert all(getattr(variant, name) == getattr(study, name) for name in same)
    assert set_value(study, setting, value).id == "tiny"


def test_the_first_variant_is_the_study_itself() -> None:
    assert next(Refinement(make_study(), VACUUM, TARGET_EV, 3).list_variants()) == make_study()


@pytest.mark.parametrize("setting", [FILM, DOT], ids=lambda setting: setting.word)
def test_every_step_of_a_thickness_adds_lattice_planes_to_every_film_or_to_the_dot(setting) -> None:
    variants = list(islice(Refinement(make_study(), setting, TARGET_EV, 3).list_variants(), 3))
    counts = []
    for study in variants:
        plan = StudyPlan(study, PLAN.crystals, PLAN.engine)
        candidates, _ = find_candidates(study, plan.crystals)
        counts.append([c.n_film_planes if setting is FILM else c.dot_cut.n_planes for c in candidates])
    for before, after in pairwise(counts):
        assert all(fewer < more for fewer, more in zip(before, after, strict=True))


def test_every_step_of_the_k_points_gives_every_reference_another_mesh() -> None:
    from qdip_dft.execution.convergence import find_next_value

    structures = preview_structures(PLAN.steps)
    references = [record for step, record in structures.items() if step.part is Part.STRAINED_BULK]
    value = 0.3
    for _ in range(3):
        finer = find_next_value(PLAN, K_SPACING, value)
        assert finer < value
        for reference in references:
            assert count_k_points(reference, finer) != count_k_points(reference, value)
        value = finer


def test_a_cutoff_grows_and_so_does_a_vacuum() -> None:
    from qdip_dft.execution.convergence import find_next_value

    assert find_next_value(PLAN, CUTOFF, 500.0) == 600.0
    assert find_next_value(PLAN, VACUUM, 12.0) == 17.0


@pytest.mark.parametrize(("text", "target_ev"), [("5meV", 0.005), ("0.01 eV", 0.01), (".5meV", 0.0005)])
def test_a_target_has_a_unit(text: str, target_ev: float) -> None:
    assert read_target(text) == pytest.approx(target_ev)


@pytest.mark.parametrize("text", ["5", "0meV", "-1meV", "5 kcal", ""])
def test_a_target_without_a_unit_or_above_nothing_is_refused(text: str) -> None:
    with pytest.raises(StudyError, match="write --to 5meV"):
        read_target(text)


def _make_plan() -> StudyPlan:
    from qdip_dft.planning.plan import plan_study

    return plan_study(make_study())


PLAN = _make_plan()


def test_error_bars_are_left_out_while_a_setting_is_refined() -> None:
    varied = make_study(film={"min_thickness_ang": 6, "thicknesses": 3}, uncertainty={"preset": "balanced"})
    first = next(Refinement(varied, VACUUM, TARGET_EV, 3).list_variants())
    assert (first.film.thicknesses, first.uncertainty.preset) == (1, None)
    assert first.id == "tiny+bare"
