"""Error bars, budget, thickness series and dots in tables, sentences and the map."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from qdip_dft.analysis.dot_size import Dots, DotsInHost
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.uncertainty import Uncertainty
from qdip_dft.report.error_tables import (
    list_error_tables,
    list_report_tables,
    tabulate_budget,
    tabulate_dots,
)
from qdip_dft.report.figure import FigureKind, render_figure
from qdip_dft.report.files import write_report
from qdip_dft.report.size_map import SizeMap, describe_size_map, draw_size_map, view_size_map
from qdip_dft.report.study_page import render_study_page
from qdip_dft.report.summary import summarise
from qdip_dft.report.words import list_remarks
from qdip_dft.results.migrations import read_stabilization
from tests.unit.report_documents import make_document

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "stabilization-4-size.json"
DOTS = DotsInHost(
    bulk_ev_per_fu=0.1,
    strain_ev_per_fu=0.02,
    interface_ev_per_ang2=-0.012,
    covariance=((4e-4, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.6e-5)),
    volume_ang3_per_fu=240.0,
    not_estimated=("model",),
)


@cache
def document() -> StabilizationDoc:
    return read_stabilization(json.loads(GOLDEN.read_text(encoding="utf-8")))


def stated() -> Uncertainty:
    found = document().uncertainty
    assert found is not None
    return found


def test_a_result_that_varied_nothing_has_no_error_tables() -> None:
    assert list_error_tables(make_document()) == ()
    assert view_size_map(make_document()) is None


def test_errors_stand_below_the_terms() -> None:
    titles = [table.title for table in list_report_tables(document())]
    assert titles[:3] == [
        "The four terms at n* = 0.0505 f.u./Å²",
        "Interface energies per area of dot",
        "Error bars of the terms",
    ]
    assert "Error budget of black − competitor" in titles


def test_the_budget_of_an_old_result_names_what_was_not_sampled_and_gives_it_no_number() -> None:
    rows = {row.name: row.cells for row in tabulate_budget(stated()).rows}
    assert all(cell.value is None for cell in rows["termination: not sampled"])
    assert all(cell.value is None for cell in rows["cation orientation: n/a"])
    assert all(cell.value is not None for cell in rows["film thickness"])


def test_the_combined_row_is_the_root_of_the_sum_of_squares() -> None:
    table = tabulate_budget(stated())
    counting = [row for row in table.rows if not row.name.startswith("(")]
    totals = [row.cells[-1].value for row in counting if row.cells[-1].value is not None]
    assert table.result is not None
    assert table.result.cells[-1].value == pytest.approx(float(np.sqrt(np.square(totals).sum())))


def test_the_report_says_how_sure_it_is_and_what_it_did_not_look_at() -> None:
    remarks = {remark.title: " ".join(remark.lines) for remark in list_remarks(document())}
    assert "not sampled, not in the error bar: termination" in remarks["How sure"]
    assert "one more layer changes" in remarks["How sure"]


def test_small_dots_at_high_loading_feel_the_interface_and_large_ones_the_bulk() -> None:
    assert DOTS.difference_ev_per_fu(Dots(10.0, 0.4)) < 0
    large = Dots(1e8, 1e-6)
    assert DOTS.difference_ev_per_fu(large) == pytest.approx(0.1, abs=1e-6)
    assert DOTS.uncertainty_ev_per_fu(large) == pytest.approx(0.02, abs=1e-6)


def test_the_table_of_dots_is_zero_at_its_critical_radius_and_loading() -> None:
    table = tabulate_dots(DOTS, "synthetic")
    assert "not sampled: model" in table.note
    for row, loading in zip(table.rows, (0.02, 0.05, 0.1, 0.2, 0.3), strict=True):
        radius = row.cells[-1].value
        assert radius is not None
        assert DOTS.difference_ev_per_fu(Dots(radius, loading)) == pytest.approx(0.0, abs=1e-9)
    assert table.result is not None
    loading = table.result.cells[2].value
    assert loading is not None
    assert DOTS.difference_ev_per_fu(Dots(20.0, loading)) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("sigma", [-0.012, 0.012])
def test_the_map_is_drawn_with_and_without_a_change_of_sign(sigma: float) -> None:
    view = SizeMap(replace(DOTS, interface_ev_per_ang2=sigma), "FAPbI3-alpha(100)", "PbS(111)")
    assert render_figure(draw_size_map(view), FigureKind.SVG).startswith(b"<?xml")
    assert "eV per formula unit" in describe_size_map(view)


def test_the_page_and_the_folder_hold_the_map_and_the_sources_of_error(tmp_path: Path) -> None:
    page = render_study_page(document(), {})
    assert "How sure" in page
    assert "root mean square" in page
    figures = {path.name for path in write_report(document(), tmp_path).figures}
    assert {"size-map.svg", "size-map.pdf"} <= figures


def test_the_numbers_for_programs_hold_the_error_bars() -> None:
    written = summarise(document())["uncertainty"]
    assert isinstance(written, dict)
    assert written["difference"] == stated().difference.model_dump(mode="json")
    assert summarise(make_document())["uncertainty"] is None
