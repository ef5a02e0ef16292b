"""The page of a result without a browser: what it says, what it refuses, how it is made again and how large it is."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import JsonValue

from qdip_dft.analysis.thickness import ThicknessLine
from qdip_dft.analysis.verdict import Verdict
from qdip_dft.model.calculation import CalculationRecord, CalculationTask, EngineResult, Freedom, Level
from qdip_dft.model.stabilization import CandidateResult, ChemicalPotentials, StabilizationDoc
from qdip_dft.model.structure import StructureRecord
from qdip_dft.planning.study_files import write_study
from qdip_dft.report.citations import list_citations
from qdip_dft.report.latex import write_latex
from qdip_dft.report.notation import escape_latex
from qdip_dft.report.page import read_asset
from qdip_dft.report.study_page import SIZE_LIMIT_BYTES, list_settings, render_study_page, weigh
from qdip_dft.report.thickness_figure import ThicknessView, draw_thickness, view_thickness
from tests.unit.hostile_documents import make_hostile
from tests.unit.report_documents import (
    LOST_PHASE,
    LOWEST_BULK_EV_PER_FU,
    PASSED,
    THIN,
    make_black,
    make_document,
    make_result,
    make_yellow,
)
from tests.unit.test_sentence import sure

EDGE_ANG = 6.0
BULK_FORMULA_UNITS = 20


class Reader(HTMLParser):
    """Collect the elements of a page, their attributes and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def make_grid(n_atoms: int, *, species: str = "Pb") -> StructureRecord:
    """Return a synthetic slab: a simple cubic grid with vacuum above it."""
    edge = 10 * EDGE_ANG
    places = [(0.1 * (i % 10), 0.1 * (i // 10 % 10), 0.05 * (i // 100)) for i in range(n_atoms)]
    lattice = ((edge, 0.0, 0.0), (0.0, edge, 0.0), (0.0, 0.0, 20 * EDGE_ANG))
    return StructureRecord(lattice_ang=lattice, species=(species,) * n_atoms, frac_coords=tuple(places))


def make_record(key: str, structure: StructureRecord, doc: StabilizationDoc, **changes: JsonValue) -> CalculationRecord:
    assert doc.theory is not None
    energy_ev = BULK_FORMULA_UNITS * LOWEST_BULK_EV_PER_FU
    values = {"energy_ev": energy_ev, "is_converged": True, "n_steps": 7, "corrections": (), "warnings": (), **changes}
    result = EngineResult(
        structure=structure,
        forces_ev_per_ang=(),
        stress_ev_per_ang3=None,
        max_force_ev_per_ang=0.01,
        wall_time_s=1.0,
        **values,  # type: ignore[arg-type]
    )
    task = CalculationTask(label=key, freedom=Freedom.POSITIONS, structure=structure)
    return CalculationRecord(
        key=key, task=task, theory=doc.theory, result=result, finished_at="2000-01-01T00:00:00+00:00"
    )


def name_calculations(result: CandidateResult, number: int) -> CandidateResult:
    parts = ("interface", "dot slab", "bulk", "strained bulk")
    return result.model_copy(update={"calculations": {part: f"synthetic-{part}-{number}" for part in parts}})


def make_computed(
    *, n_atoms: int = 200, n_candidates: int = 2, bulk_ev_per_fu: float = 0.05
) -> tuple[StabilizationDoc, dict[str, CalculationRecord]]:
    """Return a document with its calculations: half of every interface is dot, half film."""
    black = make_black(terms_ev_per_fu=(bulk_ev_per_fu, 0.03, 0.2, -0.4))
    losers = (make_black(plane="110", is_selected=False) for _ in range(n_candidates - 2))
    results = [name_calculations(r, n) for n, r in enumerate((black, make_yellow(), *losers))]
    doc = make_document(*results)
    records = {}
    for result in results:
        for part, key in result.calculations.items():
            size = n_atoms if part == "interface" else n_atoms // 2
            records[key] = make_record(key, make_grid(size), doc)
    return doc, records


def test_a_page_gives_the_answer_and_every_number_of_the_tables() -> None:
    page = Reader(render_study_page(make_document(), {}))
    assert "Synthetic: the black phase wins." in page.text
    for number in ("+0.050", "−0.400", "−0.120", "−0.180", "−31.3", "−0.502", "230.0"):
        assert number in page.text


@pytest.mark.parametrize("level", list(Level))
def test_a_page_says_how_far_its_numbers_may_be_trusted(level: Level) -> None:
    page = Reader(render_study_page(make_document(level=level), {}))
    assert f"level: {level.value}" in page.text
    assert ("not for publication without a DFT check" in page.text) is (level is Level.SCREENING)


def test_losers_dropped_candidates_and_warnings_are_on_the_page() -> None:
    doc = make_document(
        make_black(),
        make_black(plane="110", is_selected=False, checks=(PASSED, THIN)),
        make_yellow(),
        make_yellow(plane="100", is_selected=False, checks=(LOST_PHASE,)),
    )
    text = Reader(render_study_page(doc, {})).text
    assert "left out: phase identity: synthetic: octahedra share edges" in text
    assert "α-FAPbI₃(110), film thickness: synthetic: 9.0 Å, 12 Å are usual" in text


def test_hostile_texts_become_no_elements() -> None:
    hostile, harmless = (Reader(render_study_page(doc, {})) for doc in (make_hostile(), make_document()))
    for tag in ("script", "style", "title", "img", "iframe"):
        assert hostile.count(tag) == harmless.count(tag), tag
    assert not any(name.startswith("on") for _, attributes in hostile.elements for name in attributes)
    assert not any((attributes.get("href") or "").startswith("javascript:") for _, attributes in hostile.elements)
    assert "{{ 7 * 7 }}" in hostile.text


def test_only_scripts_named_by_their_hash_are_on_the_page() -> None:
    doc, records = make_computed(n_atoms=20)
    page = render_study_page(doc, records)
    policy = next(a["content"] for tag, a in Reader(page).elements if tag == "meta" and a.get("http-equiv"))
    scripts = [a for tag, a in Reader(page).elements if tag == "script" and a.get("type") != "application/json"]
    assert policy is not None
    assert policy.count("'sha256-") == len(scripts) == 3
    assert not any("src" in attributes for attributes in scripts)


def test_the_page_refers_to_nothing_outside_of_it() -> None:
    doc, records = make_computed(n_atoms=20)
    for tag, attributes in Reader(render_study_page(doc, records)).elements:
        for name in ("src", "href", "srcset", "action", "data"):
            address = attributes.get(name) or "#"
            assert address.startswith(("#", "data:")), f"<{tag} {name}={address[:60]}>"


def test_without_structures_the_page_is_light_and_says_the_same() -> None:
    doc, records = make_computed(n_atoms=20)
    bare, full = render_study_page(doc, {}), render_study_page(doc, records)
    assert len(bare) < 200_000 < len(full)
    assert doc.stabilization.sentence in bare
    assert "3Dmol" not in Reader(bare).text.partition("What to cite")[0]


def test_a_page_with_sixty_large_interfaces_stays_below_its_limit_and_says_what_it_leaves_out() -> None:
    doc, records = make_computed(n_atoms=600, n_candidates=60)
    page = render_study_page(doc, records)
    assert len(page.encode()) < SIZE_LIMIT_BYTES
    assert "Not shown, to keep this file small" in page
    assert page.count('<article class="interface">') > 10


def test_corrections_and_warnings_of_calculations_are_on_the_page() -> None:
    doc, records = make_computed(n_atoms=20)
    key = doc.candidates[0].calculations["interface"]
    records[key] = make_record(key, make_grid(20), doc, corrections=["synthetic: mixing 0.2"], is_converged=False)
    text = Reader(render_study_page(doc, records)).text
    assert "corrected: synthetic: mixing 0.2" in text
    assert "not converged" in text


def test_the_study_file_asks_the_same_as_the_study() -> None:
    import yaml

    doc = make_document()
    assert type(doc.study).model_validate(yaml.safe_load(write_study(doc.study))) == doc.study


def test_settings_carry_hashes_versions_and_every_value_of_the_method() -> None:
    settings = dict(list_settings(make_document()))
    assert settings["SHA-256 of weights or pseudopotentials"] == "0" * 64
    assert settings["force_threshold_ev_per_ang"] == "0.05"
    assert settings["version of qdip_dft"] == "0.0.0-synthetic"
    assert settings["matching: max_strain"] == "0.05"


def test_the_potential_the_dispersion_and_the_structures_are_cited() -> None:
    citations = {citation.key: citation for citation in list_citations(make_document())}
    assert {"qdip_dft", "masi_2020", "sevennet_2024", "d3_2010", "d3bj_2011"} <= set(citations)
    assert {"structure_PbS", "structure_FAPbI3_alpha", "structure_FAPbI3_delta"} <= set(citations)
    assert "chgnet_2023" not in citations
    assert "Acta Cryst. C43 (1987) 1443" in citations["structure_PbS"].bibtex
    assert "0.0.0-synthetic" in citations["qdip_dft"].bibtex


def test_every_bibtex_entry_can_be_read_and_has_a_key_of_its_own() -> None:
    from pybtex.database import parse_string

    citations = list_citations(make_document())
    entries = parse_string("\n\n".join(citation.bibtex for citation in citations), "bibtex").entries
    assert list(entries) == [citation.key for citation in citations]
    for key in re.findall(r"@\w+\{(\w+),", read_asset("references.bib")):
        assert re.fullmatch(r"[a-z0-9_]+", key)


def test_latex_escapes_what_it_would_take_for_commands() -> None:
    assert escape_latex("50 % of A_b & {c} \\d") == r"50 \% of A\_b \& \{c\} \textbackslash{}d"


def test_the_latex_tables_have_labels_of_their_own_and_chemical_formulas() -> None:
    text = write_latex(make_document())
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(labels) == len(set(labels)) == text.count(r"\begin{table}")
    assert r"$\alpha$-\ce{FAPbI3}(100)" in text
    assert "PbI3-" not in text.partition("\n\n")[2]


def test_the_card_beside_the_answer_weighs_it() -> None:
    assert weigh(make_document()).parts == ()
    document = make_document().model_copy(update={"uncertainty": sure(0.03, model_ev_per_fu=0.04)})
    card = weigh(document)
    error, numerical, model = (float(part.value.removeprefix("± ")) for part in card.parts)
    assert (error, numerical, model) == (0.05, 0.03, 0.04)
    total = document.stabilization.total_ev_per_fu
    assert total is not None
    assert (card.verdict == Verdict.UNDECIDED) == (abs(total) < 2 * error)
    assert f"{abs(total) / error:.1f} standard uncertainties" in card.reason


def test_the_latex_tables_have_the_rows_of_the_report() -> None:
    text = write_latex(make_document())
    assert text.count("\\begin{table}") == text.count("\\end{tabular}") == 3
    assert r"black $\alpha$-\ce{FAPbI3}(100) & +0.050 & +0.030 & +0.200 & $-$0.400 & $-$0.120 \\" in text
    assert "black $-$ competitor & +0.050 & $-$0.030 & +0.050 & $-$0.250 & $-$0.180 \\\\" in text
    assert text.isascii()


def test_the_thickness_of_the_film_follows_from_the_volume_of_its_strained_bulk() -> None:
    doc, records = make_computed(n_atoms=200, bulk_ev_per_fu=0.0)
    view = view_thickness(doc, records)
    assert view is not None
    volume_ang3 = (10 * EDGE_ANG) ** 2 * 20 * EDGE_ANG  # of the 100 atoms of the strained bulk, as many as in the bulk
    assert view.volume_ang3_per_fu == pytest.approx(volume_ang3 / BULK_FORMULA_UNITS)
    assert view.to_nm(0.05) == pytest.approx(0.05 * volume_ang3 / BULK_FORMULA_UNITS / 10)


def test_the_critical_thickness_is_said() -> None:
    doc, records = make_computed(n_atoms=20)
    view = view_thickness(doc, records)
    assert view is not None
    assert view.critical_nm is not None
    assert f"{view.critical_nm:.1f} nm" in view.sentence()


@pytest.mark.parametrize(("slope_ev_per_ang2", "is_reached"), [(-0.001, False), (-0.02, True)])
def test_a_critical_thickness_of_less_than_a_layer_is_out_of_reach(slope_ev_per_ang2: float, is_reached: bool) -> None:
    line = ThicknessLine(
        strained_ev_per_fu=0.2, interface_ev_per_ang2=slope_ev_per_ang2, computed_per_ang2=(0.05, 0.07)
    )
    view = ThicknessView(line, volume_ang3_per_fu=250.0, black="black", competitor="yellow", facet="PbS(111)")
    assert view.critical_nm == pytest.approx(-slope_ev_per_ang2 / 0.2 * 250.0 / 10)
    assert view.layer_nm == pytest.approx(0.63, abs=0.01)
    assert view.is_reached is is_reached
    assert ("less than one layer" in view.sentence()) is not is_reached
    drawn = [text.get_text() for text in draw_thickness(view).axes[0].texts]
    assert drawn == (["2.5 nm"] if is_reached else [])


def test_without_a_critical_thickness_the_winner_is_named() -> None:
    black = name_calculations(make_black(terms_ev_per_fu=(0.0, 0.0, 0.1, -0.4)), 0)
    doc = make_document(black, name_calculations(make_yellow(terms_ev_per_fu=(0.2, 0.0, 0.1, -0.1)), 1))
    _, records = make_computed(n_atoms=20)
    view = view_thickness(doc, records)
    assert view is not None
    assert view.critical_nm is None
    assert "FAPbI3-alpha(100) is favoured" in view.sentence()


def test_the_answer_at_the_other_bound_of_the_chemical_potentials_is_on_the_page() -> None:
    doc = make_document()
    potentials = ChemicalPotentials(
        ax="FAI", bx2="PbI2", host_ev_per_fu=-50.0, window_ev=0.1,
        ax_rich_ev={"FAI": -30.0, "PbI2": -20.0}, bx2_rich_ev={"FAI": -30.1, "PbI2": -19.9},
    )  # fmt: skip
    other = doc.stabilization.model_copy(update={"sentence": "Synthetic: the other bound decides otherwise."})
    both = doc.model_copy(update={"chemical_potentials": potentials, "bx2_rich": other})
    text = Reader(render_study_page(both, {})).text
    assert "At the PbI₂-rich bound of the chemical potentials: Synthetic: the other bound decides otherwise." in text
    assert "The four terms, PbI₂-rich" in text
    assert "PbI₂-rich" not in Reader(render_study_page(doc, {})).text


def test_the_kept_library_is_the_released_one(repository: Path) -> None:
    from hashlib import sha256

    content = (repository / "qdip_dft" / "report" / "assets" / "3Dmol-min.js").read_bytes()
    assert sha256(content).hexdigest() == "f7cc78921ae72e7623e89cdd111434f58c2efddd2ffda1cd212644b406fb8016"
    assert (repository / "qdip_dft" / "report" / "assets" / "3Dmol-LICENSE.txt").exists()


def test_the_result_of_three_phases_without_competitor_has_a_page_too() -> None:
    lonely = make_document(make_black(), make_result(phase="FAPbI3-gamma", plane="001"), sentence="Synthetic: alone.")
    assert "Synthetic: alone." in Reader(render_study_page(lonely, {})).text
