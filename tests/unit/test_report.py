"""The report says what the document says: terminal, JSON, table and figure, on synthetic documents."""

from __future__ import annotations

import csv
import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from qdip_dft.errors import ResultsError
from qdip_dft.model.calculation import Level
from qdip_dft.model.interface import DroppedCandidate, InterfaceLabel
from qdip_dft.model.orientation import count_surface_cells
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.term_names import TERM_FIELDS, TOTAL_FIELD
from qdip_dft.report.figure import STAGES, FigureKind, draw_levels, list_series, place_labels, render_figure
from qdip_dft.report.files import TABLE_COLUMNS, tabulate, write_report
from qdip_dft.report.summary import FORMULAE, summarise
from qdip_dft.report.terminal import print_report
from tests.unit.report_documents import (
    LOST_PHASE,
    PASSED,
    THIN,
    make_black,
    make_document,
    make_result,
    make_yellow,
)

KEYS = (*TERM_FIELDS, TOTAL_FIELD)
TOO_STRAINED = DroppedCandidate(
    title=InterfaceLabel(dot="PbS", dot_plane="111", film="FAPbI3-alpha", film_plane="111"),
    phase="FAPbI3-alpha",
    reason="synthetic: no cell within 5 % strain",
)


def make_decided() -> StabilizationDoc:
    return make_document()


def make_yellow_wins() -> StabilizationDoc:
    return make_document(make_black(terms_ev_per_fu=(0.05, 0.08, 0.31, -0.25)), make_yellow())


def make_crowded() -> StabilizationDoc:
    """Return two black phases, losers, a lost phase, a warning and a candidate that was not built."""
    return make_document(
        make_black(),
        make_black(plane="110", is_selected=False, terms_ev_per_fu=(0.05, 0.1, 0.25, -0.35), checks=(PASSED, THIN)),
        make_result(phase="FAPbI3-gamma", plane="001", terms_ev_per_fu=(0.02, 0.05, 0.22, -0.33)),
        make_yellow(),
        make_yellow(plane="100", is_selected=False, checks=(LOST_PHASE,)),
        dropped=(TOO_STRAINED,),
    )


def make_undecided() -> StabilizationDoc:
    unfinished = make_black(
        is_selected=False, terms_ev_per_fu=(0.05, 0.03, None, None), missing=("synthetic: film slab did not converge",)
    )
    return make_document(unfinished, make_yellow(), dropped=(TOO_STRAINED,), sentence="Synthetic: undecided.")


def make_empty() -> StabilizationDoc:
    return make_document(
        make_black(is_selected=False, missing=("synthetic: failed",)),
        make_yellow(is_selected=False, missing=("synthetic: failed",)),
        level=Level.TEST,
    )


DOCUMENTS = (make_decided(), make_yellow_wins(), make_crowded(), make_undecided(), make_empty())


def print_text(doc: StabilizationDoc, *, width: int) -> str:
    text = StringIO()
    print_report(doc, Console(file=text, width=width))
    return text.getvalue()


def write_words(doc: StabilizationDoc) -> str:
    """Return the terminal report with every run of blanks as one."""
    return " ".join(print_text(doc, width=120).split())


# JSON


def test_the_summary_has_the_same_five_keys_for_phases_and_stabilization() -> None:
    summary = summarise(make_decided())
    assert set(summary["phases"]) == {"FAPbI3-alpha", "FAPbI3-delta"}
    for terms in (*summary["phases"].values(), summary["stabilization"]):
        assert set(KEYS) <= set(terms)
    assert summary["level"] == "screening"


@pytest.mark.parametrize("doc", DOCUMENTS)
def test_the_printed_terms_add_up_to_the_printed_total(doc: StabilizationDoc) -> None:
    summary = json.loads(json.dumps(summarise(doc)))
    for terms in (*summary["phases"].values(), *summary["candidates"], summary["stabilization"]):
        if terms["total_ev_per_fu"] is not None:
            assert sum(terms[key] for key in TERM_FIELDS) == pytest.approx(terms["total_ev_per_fu"], abs=1e-9)


@given(st.lists(st.floats(-3, 3), min_size=8, max_size=8))
def test_stabilization_is_black_minus_competitor_for_any_terms(values: list[float]) -> None:
    doc = make_document(make_black(terms_ev_per_fu=tuple(values[:4])), make_yellow(terms_ev_per_fu=tuple(values[4:])))
    summary = summarise(doc)
    black, yellow = summary["phases"]["FAPbI3-alpha"], summary["phases"]["FAPbI3-delta"]
    for key in KEYS:
        assert summary["stabilization"][key] == pytest.approx(black[key] - yellow[key], abs=1e-9)


def test_the_summary_says_units_signs_definitions_and_how_it_was_made() -> None:
    doc = make_decided()
    summary = summarise(doc)
    assert summary["units"] == doc.units
    assert "negative: the black phase is favoured" in summary["sign_convention"]
    assert {key.removesuffix("_ev_per_fu") for key in KEYS} <= set(summary["formulae"]) == set(FORMULAE)
    assert summary["theory"]["code"] == "SevenNet-0"
    assert summary["settings"]["matching"]["max_strain"] == doc.study.matching.max_strain
    assert summary["versions"] == {"qdip_dft": "0.0.0-synthetic"}
    assert summary["calculations"] == sorted(
        {*doc.candidates[0].calculations.values(), *doc.candidates[1].calculations.values()}
    )


def test_every_number_of_a_summary_names_a_unit_of_the_table() -> None:
    summary = summarise(make_decided())
    endings = tuple(ending for ending in summary["units"] if ending.startswith("_"))
    unitless = ("n_", "strain_partition", "_strains")
    for key, value in summary["phases"]["FAPbI3-alpha"].items():
        if isinstance(value, float):
            assert key.endswith((*endings, "_ev")) or key.startswith(unitless), key


def test_the_two_units_of_an_energy_per_area_agree() -> None:
    phase = summarise(make_decided())["phases"]["FAPbI3-alpha"]
    for name in ("surface", "binding", "work_of_separation", "interface"):
        assert phase[f"{name}_j_per_m2"] == pytest.approx(phase[f"{name}_mev_per_ang2"] * 0.01602176634)
    assert phase["work_of_separation_j_per_m2"] == -phase["binding_j_per_m2"] > 0


def test_a_phase_without_a_valid_candidate_has_nulls_and_reasons() -> None:
    phase = summarise(make_undecided())["phases"]["FAPbI3-alpha"]
    assert [phase[key] for key in KEYS] == [None] * 5
    assert phase["missing"] == [
        "PbS(111)//FAPbI3-alpha(100): synthetic: film slab did not converge",
        "PbS(111)//FAPbI3-alpha(111): synthetic: no cell within 5 % strain",
    ]


def test_a_phase_without_a_valid_candidate_has_the_same_keys_as_any_other() -> None:
    phases = summarise(make_undecided())["phases"]
    assert set(phases["FAPbI3-alpha"]) == set(phases["FAPbI3-delta"])


def test_a_failed_decisive_check_is_given_as_the_reason() -> None:
    doc = make_document(make_black(), make_yellow(is_selected=False, checks=(LOST_PHASE,)))
    assert "octahedra share edges" in summarise(doc)["phases"]["FAPbI3-delta"]["missing"][0]


def test_all_candidates_and_what_was_dropped_stay_visible() -> None:
    summary = summarise(make_crowded())
    assert [candidate["is_valid"] for candidate in summary["candidates"]] == [True, True, True, True, False]
    assert summary["dropped"] == [TOO_STRAINED.model_dump()]


def test_the_number_of_surface_cells_is_the_determinant_without_its_sign() -> None:
    assert count_surface_cells(((3, 0), (1, 3))) == 9
    assert count_surface_cells(((0, 2), (2, 0))) == 4


# Terminal


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("doc", DOCUMENTS)
def test_the_terminal_report_fits_its_width_and_cuts_no_word(doc: StabilizationDoc, width: int) -> None:
    text = print_text(doc, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [80, 120])
def test_names_and_numbers_stand_on_one_line_at_every_width(width: int) -> None:
    lines = print_text(make_crowded(), width=width).splitlines()
    rows = [line.split() for line in lines]
    assert ["black", "FAPbI3-alpha(100)", "+0.050", "+0.030", "+0.200", "-0.400", "-0.120"] in rows
    assert ["yellow", "FAPbI3-delta(001)", "0.000", "+0.060", "+0.150", "-0.150", "+0.060"] in rows
    assert ["black", "−", "competitor", "+0.050", "-0.030", "+0.050", "-0.250", "-0.180"] in rows
    assert ["FAPbI3-alpha(100)", "+15.7", "+0.251", "-31.3", "-0.502", "-15.7", "-0.251"] in rows
    assert ["FAPbI3-alpha(100)", "9:16", "230.0", "-4.8,", "-1.0", "0.0,", "0.0", "18", "312"] in rows


def test_the_numbers_of_a_column_end_below_each_other() -> None:
    lines = print_text(make_crowded(), width=80).splitlines()
    table = [line for line in lines if line.startswith(("black", "yellow", "phase")) and len(line.split()) > 5][:5]
    assert len({len(line.rstrip()) for line in table}) == 1


def test_every_table_states_its_units() -> None:
    text = write_words(make_decided())
    assert text.count("eV/f.u. eV/f.u. eV/f.u. eV/f.u. eV/f.u.") == 1
    assert "meV/Å² J/m² meV/Å² J/m² meV/Å² J/m²" in text
    assert "Å² % % f.u. atoms" in text


def test_the_reference_of_the_bulk_column_and_the_sign_are_said() -> None:
    text = write_words(make_decided())
    assert "above the most stable bulk, FAPbI3-delta (−50.000 eV/f.u.)" in text
    assert "black − competitor is FAPbI3-alpha(100) − FAPbI3-delta(001); negative favours the black phase" in text


def test_a_screening_result_is_not_for_publication() -> None:
    assert "not for publication without a DFT check" in write_words(make_decided())
    assert "no physical meaning" in write_words(make_empty())
    assert "not for publication" not in write_words(make_document(level=Level.DFT))


def test_losers_dropped_candidates_and_warnings_are_listed_with_reasons() -> None:
    text = write_words(make_crowded())
    assert "FAPbI3-alpha(110): total +0.050 eV/f.u., +0.170 against FAPbI3-alpha(100)" in text
    assert "FAPbI3-delta(100): left out: phase identity: synthetic: octahedra share edges" in text
    assert "PbS(111)//FAPbI3-alpha(111): synthetic: no cell within 5 % strain" in text
    assert "FAPbI3-alpha(110), film thickness: synthetic: 9.0 Å, 12 Å are usual" in text


def test_the_sentence_is_printed() -> None:
    assert "Synthetic: the black phase wins." in write_words(make_decided())


def test_a_missing_phase_is_shown_with_dashes_and_named() -> None:
    text = write_words(make_undecided())
    assert "black FAPbI3-alpha — — — — —" in text
    assert "left out: synthetic: film slab did not converge" in text


def test_labels_are_never_read_as_markup() -> None:
    doc = make_document(sentence="Synthetic [bold]label[/bold] of a [file].")
    assert "[bold]label[/bold] of a [file]" in write_words(doc)


# Figure


def find_texts(doc: StabilizationDoc) -> list[str]:
    figure = draw_levels(doc)
    axes = figure.axes[0]
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    legend = axes.get_legend()
    entries = [text.get_text() for text in legend.get_texts()] if legend else []
    return [text.get_text() for text in (*figure.texts, *axes.texts)] + ticks + entries


def test_each_compared_phase_has_four_bars_at_its_running_sums() -> None:
    axes = draw_levels(make_decided()).axes[0]
    levels = {round(float(line.get_ydata()[0]), 9) for line in axes.lines if line.get_linewidth() > 2}
    assert sorted(levels) == pytest.approx([-0.12, 0.0, 0.05, 0.06, 0.08, 0.21, 0.28])


def test_the_bars_are_joined_by_thin_dashed_lines() -> None:
    axes = draw_levels(make_decided()).axes[0]
    dashed = [line for line in axes.lines if line.is_dashed()]
    assert len(dashed) == 2 * (len(STAGES) - 1)


def test_the_difference_is_written_at_every_stage_with_its_sign() -> None:
    texts = find_texts(make_decided())
    expected = ("+0.050", "+0.020", "+0.070", "−0.180")
    assert [f"{stage}\nΔ = {value}" for stage, value in zip(STAGES, expected, strict=True)] == texts[-6:-2]


def test_the_last_difference_of_the_figure_is_the_stabilization() -> None:
    doc = make_yellow_wins()
    black, yellow = list_series(doc)
    difference = black.levels_ev_per_fu[-1] - yellow.levels_ev_per_fu[-1]
    assert difference == pytest.approx(doc.stabilization.total_ev_per_fu, abs=1e-9)


def test_the_figure_names_facet_planes_cells_and_level() -> None:
    texts = find_texts(make_decided())
    assert "α-FAPbI₃(100) against δ-FAPbI₃(001) on PbS(111)" in texts
    assert any("screening level: not for publication" in text for text in texts)
    assert "black  α-FAPbI₃(100)\ncell 9:16, film strain −4.8, −1.0 %" in texts


def test_a_second_black_phase_is_drawn_paler_and_thinner() -> None:
    first, yellow, other = list_series(make_crowded())
    assert (first.is_compared, yellow.is_compared, other.is_compared) == (True, True, False)
    assert other.colour != first.colour
    assert other.line_width < first.line_width


@pytest.mark.parametrize("doc", [make_undecided(), make_empty()])
def test_an_undecided_figure_says_so_and_shows_no_difference(doc: StabilizationDoc) -> None:
    texts = find_texts(doc)
    assert "FAPbI₃ on PbS(111): undecided" in texts
    assert all(f"{stage}\nΔ = —" in texts for stage in STAGES)


@pytest.mark.parametrize(
    "doc", [*DOCUMENTS, make_document(make_black(terms_ev_per_fu=(0.0, 0.06, 0.15, -0.15)), make_yellow())]
)
def test_no_number_of_the_figure_touches_another_or_a_bar(doc: StabilizationDoc) -> None:
    figure = draw_levels(doc)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()[-1].isdigit()]
    bars = [line.get_window_extent() for line in axes.lines if not line.is_dashed() and line.get_linewidth() > 1]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    assert not any(box.overlaps(bar) for box in boxes for bar in bars)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=6).map(sorted))
def test_labels_keep_the_order_of_the_levels_and_their_distance(levels: list[float]) -> None:
    height = 0.05
    places = place_labels(levels, height=height)
    assert all(above - below >= 0.99 * height for below, above in pairwise(places))
    assert all(place >= level for place, level in zip(places[1:], levels[1:], strict=True))


@pytest.mark.parametrize("kind", list(FigureKind))
def test_the_same_document_gives_the_same_picture_bytes(kind: FigureKind) -> None:
    first, second = (render_figure(draw_levels(make_crowded()), kind) for _ in range(2))
    assert first == second


def test_the_svg_is_valid_and_holds_its_text_as_text() -> None:
    root = ElementTree.fromstring(render_figure(draw_levels(make_decided()), FigureKind.SVG))
    words = {"".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"+ binding", "Δ = −0.180", "α-FAPbI₃(100) against δ-FAPbI₃(001) on PbS(111)"} <= words


def test_drawing_leaves_the_users_matplotlib_settings_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    render_figure(draw_levels(make_decided()), FigureKind.SVG)
    assert dict(mpl.rcParams) == before


# Files


def test_the_report_has_a_page_json_tables_and_figures_for_print(tmp_path: Path) -> None:
    doc = make_crowded()
    files = write_report(doc, tmp_path / "synthetic" / "report")
    assert json.loads(files.json.read_text()) == summarise(doc)
    assert files.csv.read_text() == tabulate(doc)
    assert (files.folder / "levels.png").read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(files.folder / "levels.svg").getroot().tag.endswith("svg")
    assert {path.name for path in files.folder.iterdir()} == {
        "report.html",
        "report.json",
        "table.csv",
        "tables.tex",
        "levels.pdf",
        "levels.png",
        "levels.svg",
    }


def test_the_png_has_300_pixels_per_inch(tmp_path: Path) -> None:
    from PIL import Image

    with Image.open(write_report(make_decided(), tmp_path).folder / "levels.png") as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_writing_twice_gives_the_same_files(tmp_path: Path) -> None:
    first, second = (write_report(make_decided(), tmp_path / name) for name in ("first", "second"))
    assert [path.name for path in first.figures] == [path.name for path in second.figures]
    for path in first.folder.iterdir():
        assert path.read_bytes() == (second.folder / path.name).read_bytes(), path.name


def test_the_table_has_a_row_per_candidate_and_the_difference_last() -> None:
    doc = make_crowded()
    rows = list(csv.DictReader(StringIO(tabulate(doc))))
    assert tuple(rows[0]) == TABLE_COLUMNS
    assert [row["candidate"] for row in rows[:-1]] == [result.candidate.label for result in doc.candidates]
    assert float(rows[0]["film_strain_min"]) == -0.0477
    assert float(rows[-1]["total_ev_per_fu"]) == doc.stabilization.total_ev_per_fu
    assert rows[-1]["candidate"] == "black - competitor"


def test_a_missing_term_is_an_empty_field() -> None:
    row = next(csv.DictReader(StringIO(tabulate(make_undecided()))))
    assert row["surface_ev_per_fu"] == row["total_ev_per_fu"] == ""
    assert row["is_valid"] == "False"


@pytest.fixture
def smallest_files() -> Iterator[None]:
    """Let no file grow beyond 1 kB, as a full quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("smallest_files")
def test_a_report_that_does_not_fit_says_so_and_leaves_no_half_file(tmp_path: Path) -> None:
    old = tmp_path / "report.json"
    old.write_text("synthetic old report")
    with pytest.raises(ResultsError, match="free some space and run the same command again"):
        write_report(make_decided(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    assert old.read_text() == "synthetic old report"


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(descriptor))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ResultsError, match=r"disk or quota is full \(No space left on device\).*free some space"):
        write_report(make_decided(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("synthetic")
    with pytest.raises(ResultsError, match="correct the permissions or the path"):
        write_report(make_decided(), tmp_path / "file")


def test_importing_the_report_does_not_load_matplotlib_or_rich() -> None:
    code = "import sys, qdip_dft.report.files; sys.exit(bool({'matplotlib', 'rich', 'pymatgen'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
