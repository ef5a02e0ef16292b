"""The bulk term from references: whose they are, what they move, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from qdip_dft.analysis.comparison import compare_results
from qdip_dft.analysis.coverage import evaluate_terms, find_bulk
from qdip_dft.analysis.sides import find_sides
from qdip_dft.analysis.verdict import Verdict, judge
from qdip_dft.errors import StructureError
from qdip_dft.flows.anchoring import find_reference_error
from qdip_dft.flows.engines import StudyEngines
from qdip_dft.flows.study_results import assemble_study, resolve_study
from qdip_dft.library.collections import load_catalogue
from qdip_dft.library.references import _read_references, identify_phases, load_references
from qdip_dft.model.reference import References
from qdip_dft.model.resolution import default_model_error_ev_per_fu, find_limit_ev_per_fu
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.uncertainty import ErrorPart, TermErrors
from qdip_dft.report.latex import write_latex
from qdip_dft.results.migrations import migrate
from qdip_dft.results.retracing import list_contradictions
from tests.unit.crystals import load
from tests.unit.studies import Records, calculate, make_steps, stiff_engine

ROOT = Path(__file__).resolve().parents[2]

GAMMA = {"phase": "CsPbI3-gamma", "role": "black", "planes": ["110"], "termination": "PbI2"}
ALPHA = {"phase": "CsPbI3-alpha", "role": "black", "planes": ["100"], "termination": "PbI2"}
DELTA = {"phase": "CsPbI3-delta", "role": "competitor", "planes": ["100"]}
REFERENCE_EV_PER_FU = 0.1383
LOOSE = replace(stiff_engine().relaxation, force_threshold_ev_per_ang=1e3, stress_threshold_ev_per_ang3=1e3)
ENGINE = replace(stiff_engine(), relaxation=LOOSE)
"""A toy potential that claims to be DFT and leaves every structure as it is, so that every phase keeps its network."""
ENGINES = StudyEngines(ENGINE)
FILM = {"min_thickness_ang": 6, "registries": [[0, 0]]}


@cache
def records() -> Records:
    return {}


@cache
def answer(*phases: str, bulk: str = "anchored") -> StabilizationDoc:
    """The answer of a study of these phases."""
    known: dict[str, dict[str, Any]] = {"alpha": ALPHA, "gamma": GAMMA, "delta": DELTA}
    steps = make_steps(
        phases=[known[phase] for phase in phases],
        bulk=bulk,
        film=FILM,
        matching={"max_area_ang2": 170, "max_strain": 0.15},
    )
    while (state := resolve_study(steps, ENGINES, records().get)).unfinished:
        for step, task in state.ready.items():
            records()[state.keys[step]] = calculate(task, state.keys[step], ENGINE)
    (document,) = assemble_study(steps, state, engines=ENGINES)
    return document


def test_every_reference_is_between_two_polymorphs_of_the_library_and_has_a_source() -> None:
    catalogue = load_catalogue()
    for each in load_references():
        entries = [catalogue.find_entry(name) for name in (each.phase, each.relative_to)]
        assert len({entry.material for entry in entries if entry is not None}) == 1
        assert each.source
        assert "uncertainty" in each.note
        for entry, volume in zip(entries, each.volumes_ang3_per_fu or (), strict=False):
            assert entry is not None
            assert volume == pytest.approx(entry.volume_ang3_per_fu, rel=0.06)


def test_the_references_are_those_of_the_published_minima() -> None:
    values = {(each.phase, each.relative_to): each.value_mev_per_fu for each in load_references()}
    assert values["CsPbI3-gamma", "CsPbI3-delta"] == pytest.approx(18.0 + 120.4, abs=0.15)
    assert values["FAPbI3-orthorhombic", "FAPbI3-delta"] == 55.4


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ("CsPbI3-delta", "two phases of one material"),
        ("CsPbI3-omega", "two phases of one material"),
        ("FAPbI3-delta", "two phases of one material"),
    ],
)
def test_a_reference_of_other_phases_is_refused(change: str, remedy: str, tmp_path: Path) -> None:
    phase = "MAPbI3-cubic" if change == "CsPbI3-delta" else "CsPbI3-gamma"
    path = tmp_path / "references.yaml"
    entry = f"{{phase: {phase}, relative_to: {change}, value_mev_per_fu: 1, uncertainty_mev_per_fu: 1, level: PBE, "
    path.write_text(f"schema_version: 1\nreferences:\n- {entry}temperature_k: 0, source: nowhere}}\n", "utf-8")
    with pytest.raises(StructureError, match=remedy):
        _read_references(path)


@pytest.mark.parametrize("spoilt", ["uncertainty_mev_per_fu: 0", "relative_to: CsPbI3-gamma", "value_mev_per_fu: .nan"])
def test_a_reference_without_meaning_is_refused_with_the_remedy(spoilt: str, tmp_path: Path) -> None:
    text = (ROOT / "structures" / "references.yaml").read_text("utf-8")
    name = spoilt.partition(":")[0]
    lines = [f"  {spoilt}" if line.strip().startswith(f"{name}:") else line for line in text.splitlines()]
    path = tmp_path / "references.yaml"
    path.write_text("\n".join(lines), "utf-8")
    with pytest.raises(StructureError, match="qdip structures list"):
        _read_references(path)


def test_one_pair_has_one_reference() -> None:
    first = load_references()[0]
    turned = first.model_copy(update={"phase": first.relative_to, "relative_to": first.phase})
    with pytest.raises(ValueError, match="two references for one pair"):
        References(references=(first, turned))


def test_phases_are_known_by_their_atoms_and_not_by_their_names() -> None:
    own = {f"mine {entry.id}": load(entry.id) for entry in load_catalogue().list_phases("CsPbI3")}
    renamed = {name: crystal.model_copy(update={"id": name}) for name, crystal in own.items()}
    assert identify_phases(renamed) == {
        "mine CsPbI3-gamma": "CsPbI3-gamma",
        "mine CsPbI3-gamma-Pnam": "CsPbI3-gamma",
        "mine CsPbI3-delta": "CsPbI3-delta",
    }
    assert identify_phases({"it": load("CsPbI3-alpha").model_copy(update={"id": "CsPbI3-gamma"})}) == {}


def test_an_anchored_answer_has_the_reference_for_its_bulk_and_the_engine_for_all_else() -> None:
    anchored, plain = answer("gamma", "delta"), answer("gamma", "delta", bulk="engine")
    assert anchored.stabilization.bulk_ev_per_fu == pytest.approx(REFERENCE_EV_PER_FU, abs=1e-12)
    assert plain.stabilization.bulk_ev_per_fu != pytest.approx(REFERENCE_EV_PER_FU, abs=1e-3)
    shift = REFERENCE_EV_PER_FU - (plain.stabilization.bulk_ev_per_fu or 0.0)
    assert anchored.stabilization.total_ev_per_fu == pytest.approx((plain.stabilization.total_ev_per_fu or 0.0) + shift)
    for term in ("strain", "surface", "binding"):
        assert anchored.stabilization[term] == plain.stabilization[term]
    assert [r.bulk_ev_per_fu for r in anchored.candidates] == [r.bulk_ev_per_fu for r in plain.candidates]
    assert anchored.bulk_basis is not None
    (pair,) = anchored.bulk_basis.pairs
    assert pair.engine_ev_per_fu == plain.stabilization.bulk_ev_per_fu


def test_the_line_against_the_size_goes_to_the_reference() -> None:
    document = answer("gamma", "delta")
    black, competitor = find_sides(document).films
    for n in (0.01, 0.1):
        difference = evaluate_terms(black, n) - evaluate_terms(competitor, n)
        assert difference.bulk_ev_per_fu == pytest.approx(REFERENCE_EV_PER_FU)
    assert document.uncertainty is not None
    assert document.uncertainty.critical is not None
    strain = document.stabilization.strain_ev_per_fu or 0.0
    assert document.uncertainty.critical.strained_ev_per_fu == pytest.approx(REFERENCE_EV_PER_FU + strain)


def test_the_reference_and_the_bulk_of_the_engine_stand_in_sentence_and_tables() -> None:
    document = answer("gamma", "delta")
    assert "bulk anchored to PBE-D3(BJ)" in document.stabilization.sentence
    tables = write_latex(document)
    assert r"0.138 $\pm$ 0.015 eV/f.u." in tables
    assert "the engine's own" in tables
    assert "bulk of the engine" in answer("gamma", "delta", bulk="engine").stabilization.sentence


@pytest.mark.parametrize(
    ("phases", "why"),
    [
        (("alpha", "delta"), "no reference links CsPbI3-alpha and CsPbI3-delta with each other"),
        (("alpha", "gamma", "delta"), "no reference links CsPbI3-alpha"),
    ],
)
def test_a_reference_stands_for_its_own_pair_alone(phases: tuple[str, ...], why: str) -> None:
    document = answer(*phases)
    assert document.bulk_basis is not None
    assert not document.bulk_basis.is_anchored
    assert why in document.bulk_basis.finding
    assert all(result.bulk_shift_ev_per_fu is None for result in document.candidates)
    assert find_reference_error(document.bulk_basis, find_sides(document)) is None


def test_anchored_and_engine_bulks_are_not_subtracted() -> None:
    one, other = answer("gamma", "delta"), answer("gamma", "delta", bulk="engine")
    comparison = compare_results([one, other.model_copy(update={"id": "engine"})])
    (obstacle,) = comparison.obstacles
    assert obstacle is not None
    assert "bulk: engine" in obstacle.remedy


def test_a_shift_that_was_altered_contradicts_the_reference() -> None:
    document = answer("gamma", "delta")
    assert list_contradictions(document) == ()
    films = tuple(film.model_copy(update={"bulk_shift_ev_per_fu": 0.0}) for film in document.candidates)
    found = list_contradictions(document.model_copy(update={"candidates": films}))
    assert any("their reference is +0.138300" in words for words in found)


def test_a_result_of_version_4_keeps_the_bulk_of_the_engine() -> None:
    old = answer("gamma", "delta", bulk="engine").model_dump(mode="json", exclude={"bulk_basis"})
    study = {name: value for name, value in old["study"].items() if name != "bulk"}
    read = StabilizationDoc.model_validate(migrate(StabilizationDoc, {**old, "study": study, "schema_version": 4}))
    assert read.study.bulk == "engine"
    assert [find_bulk(result) for result in read.candidates] == [result.bulk_ev_per_fu for result in read.candidates]


def test_the_error_of_the_reference_stands_for_that_of_the_bulk() -> None:
    anchored, plain = answer("gamma", "delta").uncertainty, answer("gamma", "delta", bulk="engine").uncertainty
    assert anchored is not None
    assert plain is not None
    errors = {
        each.name: each.difference.total_ev_per_fu
        for each in (*anchored.components, *plain.components)
        if each.part is ErrorPart.MODEL and each.difference is not None
    }
    assert errors == pytest.approx({"reference bulk": 0.015, "bulk of the engine": 0.02, "strain and interfaces": 0.02})
    assert plain.model_error is not None
    assert plain.model_error.total_ev_per_fu == pytest.approx(default_model_error_ev_per_fu("dft"))


def test_what_was_not_sampled_counts_with_a_size_and_is_named() -> None:
    document = answer("gamma", "delta")
    assert document.uncertainty is not None
    unsampled = [each for each in document.uncertainty.components if each.name in document.uncertainty.not_estimated]
    assert {each.name for each in unsampled} >= {"film thickness", "termination"}
    assert all(each.difference is not None and each.difference.total_ev_per_fu > 0 for each in unsampled)
    assert f"not sampled: {', '.join(document.uncertainty.not_estimated)}" in document.stabilization.sentence


@pytest.mark.parametrize(("model_ev_per_fu", "verdict"), [(0.04, Verdict.UNDECIDED), (0.01, Verdict.BLACK)])
def test_a_difference_of_50_mev_is_decided_by_a_good_model_alone(model_ev_per_fu: float, verdict: Verdict) -> None:
    document = answer("gamma", "delta")
    assert document.uncertainty is not None
    sure = document.uncertainty.model_copy(
        update={
            "difference": TermErrors(total_ev_per_fu=0.015),
            "model_error": TermErrors(total_ev_per_fu=model_ev_per_fu),
        }
    )
    difference = document.stabilization.model_copy(update={"total_ev_per_fu": -0.05})
    assert judge(document.model_copy(update={"uncertainty": sure, "stabilization": difference})) is verdict


def test_the_limit_holds_both_parts_in_quadrature() -> None:
    assert find_limit_ev_per_fu("screening", numerical_ev_per_fu=0.03, model_ev_per_fu=0.04) == pytest.approx(0.1)
    assert find_limit_ev_per_fu("screening") == pytest.approx(2 * default_model_error_ev_per_fu("screening"))
