"""Results side by side: differences where they are energies of something, and a refusal with reasons elsewhere."""

from __future__ import annotations

import csv
from io import StringIO
from typing import Any

import pytest

from qdip_dft.analysis.comparability import find_obstacle
from qdip_dft.analysis.comparison import Comparison, Line, Section, compare_results
from qdip_dft.analysis.sides import Sides, subtract_sides
from qdip_dft.errors import LevelOfTheoryError, ResultsError
from qdip_dft.model.base import Record
from qdip_dft.model.stabilization import CandidateResult, StabilizationDoc
from qdip_dft.report.comparison import (
    list_refusals,
    render_comparison_page,
    say_agreement,
    summarise_comparison,
    tabulate_section,
    tabulate_settings,
    write_comparison_csv,
)
from tests.unit.report_documents import LOWEST_BULK_EV_PER_FU, make_black, make_document, make_yellow

HOSTILE = "</title><script>alert(1)</script>"


def make_result(result_id: str, *candidates: CandidateResult, **changes: Any) -> StabilizationDoc:
    """Return a document with another id; the changes go into document, study or theory, wherever the field is."""
    document = make_document(*candidates)
    assert document.theory is not None
    study = document.study.model_copy(update=_keep_fields(changes, document.study))
    theory = document.theory.model_copy(update=_keep_fields(changes, document.theory))
    rest = {k: v for k, v in changes.items() if k in {"formula_version"}}
    return document.model_copy(update={"id": result_id, "study": study, "theory": theory, **rest})


def _keep_fields(changes: dict[str, Any], record: Record) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if name in type(record).model_fields}


def lines(section: Section) -> dict[tuple[str, str], Line]:
    return {(line.name, line.unit): line for line in section.lines}


def all_lines(comparison: Comparison) -> list[Line]:
    return [line for section in (comparison.stabilization, *comparison.phases) for line in section.lines]


STRONGER = make_black(terms_ev_per_fu=(0.05, 0.03, 0.2, -0.7))


def test_the_difference_is_the_second_minus_the_first() -> None:
    comparison = compare_results([make_result("a"), make_result("b", STRONGER, make_yellow())])
    black = lines(comparison.phases[0])
    assert comparison.phases[0].title == "black FAPbI3-alpha"
    assert black["binding", "eV/f.u."].values == pytest.approx((-0.4, -0.7))
    assert black["binding", "eV/f.u."].differences == pytest.approx((-0.3,))
    assert lines(comparison.stabilization)["total", "eV/f.u."].differences == pytest.approx((-0.3,))


def test_swapping_the_results_flips_every_difference() -> None:
    documents = [make_result("a"), make_result("b", STRONGER, make_yellow())]
    forwards, backwards = compare_results(documents), compare_results(documents[::-1])
    for there, back in zip(all_lines(forwards), all_lines(backwards), strict=True):
        assert there.differences[0] == pytest.approx(-back.differences[0])


def test_every_difference_is_that_of_the_numbers_beside_it() -> None:
    lower = make_yellow(terms_ev_per_fu=(-0.2, 0.06, 0.15, -0.15))  # another zero of the bulk terms
    comparison = compare_results([make_result("a"), make_result("b", make_black(), lower)])
    for line in all_lines(comparison):
        assert line.differences[0] == pytest.approx(line.values[1] - line.values[0])


def test_bulk_is_counted_from_the_lowest_bulk_of_all_that_may_be_subtracted() -> None:
    lower = make_yellow(terms_ev_per_fu=(-0.2, 0.06, 0.15, -0.15))
    comparison = compare_results([make_result("a"), make_result("b", make_black(), lower)])
    assert lines(comparison.phases[1])["bulk", "eV/f.u."].values == pytest.approx((0.2, 0.0))


def test_terms_differ_by_what_the_total_differs() -> None:
    comparison = compare_results([make_result("a"), make_result("b", STRONGER, make_yellow())])
    for section in (comparison.stabilization, *comparison.phases):
        found = lines(section)
        parts = [found[name, "eV/f.u."].differences[0] for name in ("bulk", "strain", "surface", "binding")]
        assert sum(parts) == pytest.approx(found["total", "eV/f.u."].differences[0], abs=1e-9)


def test_a_difference_below_the_resolution_is_not_marked() -> None:
    slightly = make_black(terms_ev_per_fu=(0.05, 0.03, 0.2, -0.42))
    for changed, is_marked in ((slightly, False), (STRONGER, True)):
        comparison = compare_results([make_result("a"), make_result("b", changed, make_yellow())])
        assert lines(comparison.phases[0])["binding", "eV/f.u."].is_marked == (is_marked,)
        assert lines(comparison.phases[0])["binding", "J/m²"].is_marked == (is_marked,)


def test_a_marked_difference_shows_without_colour() -> None:
    comparison = compare_results([make_result("a"), make_result("b", STRONGER, make_yellow())])
    binding = tabulate_section(comparison, comparison.phases[0]).rows[3]
    assert binding.name == "binding, eV/f.u."
    assert [cell.text for cell in binding.cells] == ["−0.400", "−0.700", "−0.300 *"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"code": "chgnet"}, "code: SevenNet-0 and chgnet"),
        ({"dispersion": "none"}, "dispersion: d3bj and none"),
        ({"weights_hash": "1" * 64}, "weights_hash: 000000000000 and 111111111111"),
        ({"settings": {}}, "force_threshold_ev_per_ang: 0.05 and not set"),
    ],
)
def test_levels_of_theory_are_not_subtracted_and_the_setting_is_named(change: dict[str, Any], expected: str) -> None:
    comparison = compare_results([make_result("a"), make_result("b", STRONGER, make_yellow(), **change)])
    assert all(line.differences == (None,) for line in all_lines(comparison))
    (refusal,) = list_refusals(comparison)
    assert expected in refusal
    assert "--engine" in refusal
    with pytest.raises(LevelOfTheoryError, match="stabilizations side by side"):
        raise comparison.obstacles[0] or AssertionError


def test_stabilizations_of_two_levels_stand_side_by_side() -> None:
    comparison = compare_results([make_result("a"), make_result("b", STRONGER, make_yellow(), code="chgnet")])
    table = tabulate_section(comparison, comparison.stabilization)
    assert [column.name for column in table.columns] == ["A", "B"]
    rows = {row.name: [cell.text for cell in row.cells] for row in table.rows}
    assert rows["total, eV/f.u."] == ["−0.180", "−0.480"]
    assert rows["σ, meV/Å²"] == ["−15.7", "−39.1"]


def test_two_hosts_are_shown_by_their_sides_and_not_subtracted() -> None:
    other = make_result(
        "b", make_black(phase="CsPbI3-gamma"), make_yellow(phase="CsPbI3-delta", plane="010"), host="CsPbI3"
    )
    comparison = compare_results([make_result("a"), other])
    assert [section.title for section in comparison.phases] == ["black", "competitor"]
    assert comparison.phases[1].films == ("FAPbI3-delta(001)", "CsPbI3-delta(010)")
    assert all(line.differences == (None,) for line in all_lines(comparison))
    with pytest.raises(ResultsError, match="side by side"):
        raise comparison.obstacles[0] or AssertionError


def test_only_the_result_of_another_level_is_left_out_of_three() -> None:
    results = [make_result("a"), make_result("b", code="chgnet"), make_result("c", STRONGER, make_yellow())]
    comparison = compare_results(results)
    table = tabulate_section(comparison, comparison.phases[0])
    assert [column.name for column in table.columns] == ["A", "B", "C", "C − A"]
    assert len(list_refusals(comparison)) == 1


def test_a_level_of_theory_keeps_its_own_zero() -> None:
    far = (
        make_black(terms_ev_per_fu=(-400.0, 0.03, 0.2, -0.4)),
        make_yellow(terms_ev_per_fu=(-400.1, 0.06, 0.15, -0.15)),
    )
    comparison = compare_results([make_result("a"), make_result("b", *far, code="chgnet")])
    assert lines(comparison.phases[0])["bulk", "eV/f.u."].values == pytest.approx((0.05, 0.1))


def test_another_definition_of_the_terms_is_not_subtracted() -> None:
    first, second = make_result("a"), make_result("b", formula_version=1)
    with pytest.raises(ResultsError, match="qdip db upgrade, or run the older study again"):
        raise find_obstacle(first, second) or AssertionError


def test_a_phase_that_only_one_study_has_is_missing_in_the_other() -> None:
    gamma = make_black(phase="FAPbI3-beta", plane="001")
    comparison = compare_results([make_result("a"), make_result("b", gamma, make_yellow())])
    titles = [section.title for section in comparison.phases]
    assert titles == ["black FAPbI3-alpha", "black FAPbI3-beta", "competitor FAPbI3-delta"]
    assert comparison.phases[1].films == (None, "FAPbI3-beta(001)")
    assert lines(comparison.phases[1])["total", "eV/f.u."].differences == (None,)


def test_a_missing_term_has_no_difference() -> None:
    broken = make_black(terms_ev_per_fu=(0.05, 0.03, None, None), missing=("film slab failed",), is_selected=False)
    comparison = compare_results([make_result("a"), make_result("b", broken, make_yellow())])
    assert "—" in [cell.text for row in tabulate_section(comparison, comparison.phases[0]).rows for cell in row.cells]
    assert say_agreement(comparison) == "The answers differ (A: undecided; B: incomplete)."


def test_settings_that_differ_are_marked_and_equal_ones_left_out() -> None:
    table = tabulate_settings(compare_results([make_result("a"), make_result("b", vacuum_ang=20.0)]))
    rows = {row.name: [cell.text for cell in row.cells] for row in table.rows}
    assert rows["≠ vacuum_ang"] == ["15.0", "20.0"]
    assert rows["host"] == ["FAPbI3", "FAPbI3"]
    assert not [name for name in rows if "seed" in name]


@pytest.mark.parametrize("ids", [["a"], ["a", "a"]])
def test_fewer_than_two_results_are_refused(ids: list[str]) -> None:
    with pytest.raises(ResultsError, match="name two results"):
        compare_results([make_result(result_id) for result_id in ids])


def test_csv_and_json_hold_the_numbers_in_full() -> None:
    comparison = compare_results([make_result("a"), make_result("b", STRONGER, make_yellow())])
    rows = list(csv.DictReader(StringIO(write_comparison_csv(comparison))))
    total = next(row for row in rows if row["phase"] == "black - competitor" and row["quantity"] == "total")
    assert float(total["b - a"]) == float(total["b"]) - float(total["a"])
    quantities = summarise_comparison(comparison)["stabilization"]["quantities"]  # type: ignore[index,call-overload]
    assert [q["differences"][0] for q in quantities if q["name"] == "total"] == [float(total["b - a"])]  # type: ignore[index,union-attr,call-overload]
    assert str(LOWEST_BULK_EV_PER_FU) not in write_comparison_csv(comparison)


def test_the_page_shows_hostile_text_as_text() -> None:
    page = render_comparison_page(compare_results([make_result(HOSTILE), make_result("b", host=HOSTILE)]))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "http://" not in page
    assert "https://" not in page


def test_results_of_two_coverages_are_subtracted_at_the_smaller_one() -> None:
    """The same two films, asked for at two coverages: nothing is left of the difference."""
    films = [make_black(), make_yellow()]
    answers = []
    for name, coverage in (("a", 0.05), ("b", 0.02)):
        doc = make_result(name)
        answer = subtract_sides(Sides(films[0], films[1]), coverage)
        answers.append(doc.model_copy(update={"stabilization": answer}))
    comparison = compare_results(answers)
    assert comparison.coverages_fu_per_ang2 == (0.02, 0.02)
    for section in (comparison.stabilization, *comparison.phases):
        for line in section.lines:
            assert line.differences == (pytest.approx(0.0, abs=1e-9),)
    total = next(line for line in comparison.stabilization.lines if line.name == "total")
    assert total.values[0] == pytest.approx(answers[1].stabilization.total_ev_per_fu)
