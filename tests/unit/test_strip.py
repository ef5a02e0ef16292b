"""Films over the strip of chemical potentials: straight lines, their lower envelope, and the crossings."""

from __future__ import annotations

from functools import cache

import pytest

from qdip_dft.analysis.strip import Strip, survey_strip
from qdip_dft.errors import SlabError
from qdip_dft.model.stabilization import ChemicalPotentials, StabilizationDoc
from qdip_dft.model.study import PhaseRole, StudySpec
from qdip_dft.model.study_versions import translate_study
from qdip_dft.model.terms import Terms
from qdip_dft.report.figure import FigureKind, render_figure
from qdip_dft.report.strip_figure import describe_strip, draw_strip
from qdip_dft.report.tables import list_tables, tabulate_strip
from tests.unit import studies
from tests.unit.report_documents import LOWEST_BULK_EV_PER_FU, make_black, make_document
from tests.unit.studies import assemble

WINDOW_EV = 0.4
FRACTIONS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
FURTHER = ("CsI|CsI", "PbI2|PbI2")


def synthetic(window_ev: float = WINDOW_EV) -> StabilizationDoc:
    """Two films of one phase: one with an excess of FAI that wins where FAI is rich, and a stoichiometric one."""
    rich = make_black(plane="110", terms_ev_per_fu=(0.05, 0.03, 0.18, -0.4), is_selected=False)
    poor = Terms(
        bulk_ev_per_fu=LOWEST_BULK_EV_PER_FU + 0.05, strain_ev_per_fu=0.03, surface_ev_per_fu=0.26,
        binding_ev_per_fu=-0.4, total_ev_per_fu=LOWEST_BULK_EV_PER_FU - 0.06,
    )  # fmt: skip
    doc = make_document(make_black(), rich.model_copy(update={"bx2_rich": poor}))
    potentials = ChemicalPotentials(
        ax="FAI", bx2="PbI2", host_ev_per_fu=LOWEST_BULK_EV_PER_FU, window_ev=window_ev,
        ax_rich_ev={"FAI": -30.0, "PbI2": -20.0},
        bx2_rich_ev={"FAI": -30.0 - window_ev, "PbI2": -20.0 + window_ev},
    )  # fmt: skip
    return doc.model_copy(update={"chemical_potentials": potentials})


def surveyed(doc: StabilizationDoc) -> Strip:
    strip = survey_strip(doc)
    assert strip is not None
    return strip


def test_the_winner_changes_where_two_lines_have_one_energy() -> None:
    strip = surveyed(synthetic())
    (phase,) = strip.phases
    first, second = phase.reigns
    assert [reign.line.result.candidate.film_plane for reign in phase.reigns] == ["100", "110"]
    crossing = 1.0 + first.end_ev / strip.width_ev
    assert first.line.at(crossing) == pytest.approx(second.line.at(crossing))
    assert crossing == pytest.approx(0.75)  # 0.26 falls to 0.18, the other stays at 0.20
    assert (first.start_ev, second.end_ev) == pytest.approx((-WINDOW_EV, 0.0))


def test_nothing_lies_below_the_winners() -> None:
    for strip in (surveyed(synthetic()), surveyed(computed())):
        for phase in strip.phases:
            for fraction in FRACTIONS:
                delta_mu_ev = (fraction - 1.0) * strip.width_ev
                reigning = next(r for r in phase.reigns if r.start_ev <= delta_mu_ev <= r.end_ev)
                lowest = min(line.at(fraction) for line in phase.lines)
                assert reigning.line.at(fraction) == pytest.approx(lowest, abs=1e-6)


def test_an_empty_strip_has_no_films() -> None:
    assert survey_strip(synthetic(window_ev=-0.1)) is None
    assert survey_strip(make_document()) is None


@cache
def computed() -> StabilizationDoc:
    """Three terminations of one plane with the toy potential."""
    black = {
        "phase": "CsPbI3-alpha", "role": "black", "planes": ["100"], "termination": "PbI2",
        "further_terminations": FURTHER,
    }  # fmt: skip
    film = {"min_thickness_ang": 6, "registries": [[0, 0]], "reservoirs": {"ax": "CsI", "bx2": "PbI2"}}
    steps = studies.make_steps(phases=[black], film=film)
    *_, last = studies.stages(steps, {})
    return assemble(steps, last)


def test_further_terminations_are_candidates_with_names_of_their_own() -> None:
    doc = computed()
    films = {result.candidate.title.film_side: result.candidate.termination for result in doc.candidates}
    assert films == {
        "CsPbI3-alpha(100)": "PbI2|CsI",
        "CsPbI3-alpha(100) CsI|CsI": "CsI|CsI",
        "CsPbI3-alpha(100) PbI2|PbI2": "PbI2|PbI2",
    }
    assert all(result.is_valid for result in doc.candidates), [result.missing for result in doc.candidates]


def test_the_slope_of_a_line_is_the_excess_per_area() -> None:
    """dg/dμ(CsI) = −Δn/A for an excess of CsI, +Δn/A for one of PbI2 (one of each makes the host), 0 without."""
    strip = surveyed(computed())
    (phase,) = strip.phases
    for line in phase.lines:
        excess, area = line.result.candidate.excess, line.result.area_ang2
        expected = 1000 * (excess.get("PbI2", 0) - excess.get("CsI", 0)) / area
        slope = (line.ax_rich_mev_per_ang2 - line.bx2_rich_mev_per_ang2) / strip.width_ev
        assert slope == pytest.approx(expected, abs=1e-6)


def test_table_and_figure_name_every_winner() -> None:
    strip = surveyed(synthetic())
    table = tabulate_strip(strip)
    assert [row.name.split(",")[0] for row in table.rows] == ["black FAPbI3-alpha(100)", "black FAPbI3-alpha(110)"]
    assert "to −0.100 eV" in describe_strip(strip)
    svg = render_figure(draw_strip(strip, facet="PbS(111)"), FigureKind.SVG).decode()
    assert "Δμ(FAI)" in svg
    assert "PbI₂-rich" in svg
    assert table.title in [shown.title for shown in list_tables(synthetic())]


def test_a_further_termination_that_does_not_exist_is_refused_with_what_there_is() -> None:
    black = {"phase": "CsPbI3-alpha", "role": PhaseRole.BLACK, "planes": ["100"], "further_terminations": ["Cs|Cs"]}
    with pytest.raises(SlabError, match="name one of these as termination"):
        studies.make_steps(phases=[black])


def test_the_same_termination_twice_is_refused() -> None:
    black = {"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"], "further_terminations": ["CsI", "CsI"]}
    with pytest.raises(ValueError, match="must differ from each other"):
        StudySpec.model_validate(translate_study({**studies.TINY_STUDY, "phases": [black]}))
