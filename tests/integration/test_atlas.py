"""The atlas of the systems: every row has a result or a reason, belongs to the study file, and is found again."""

from __future__ import annotations

import re
import runpy
import sys
from math import hypot
from pathlib import Path

import pytest

from qdip_dft.analysis.sides import find_sides, list_uncompared
from qdip_dft.analysis.verdict import Verdict, judge
from qdip_dft.errors import MatchError
from qdip_dft.execution.local import run_study
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.study import StudySpec
from qdip_dft.model.terms import Terms
from qdip_dft.planning.campaign import read_studies
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
ATLAS = runpy.run_path(str(ROOT / "scripts" / "write_atlas.py"))
sys.path.remove(str(ROOT / "scripts"))
DOCS: dict[str, StabilizationDoc] = ATLAS["read_documents"]("documents")
PAIRS: dict[str, StabilizationDoc] = ATLAS["read_documents"]("campaign")
PAGE = (ROOT / "docs" / "atlas.md").read_text(encoding="utf-8")
SAME_EV_PER_FU = 0.005
"""A relaxation that ends at 0.05 eV/Å leaves some meV between two processors."""


def test_every_study_of_a_system_has_a_result_or_a_reason() -> None:
    studies = {study for studies in ATLAS["SYSTEMS"].values() for study in studies}
    without = studies - {doc.study.name for doc in DOCS.values()}
    assert not {study for study in without if f"`{study}`: " not in PAGE}


def test_the_tables_are_those_of_the_documents() -> None:
    assert ATLAS["write_page"](PAGE) == PAGE


@pytest.mark.parametrize("name", DOCS)
def test_a_document_belongs_to_the_study_file_of_today_and_adds_up(name: str) -> None:
    doc = DOCS[name]
    assert doc.study == read_study(doc.study.name)
    if doc.stabilization.total_ev_per_fu is not None:
        parts = [getattr(doc.stabilization, field) for field in Terms.model_fields if not field.startswith("total")]
        assert sum(parts) == pytest.approx(doc.stabilization.total_ev_per_fu, abs=1e-9)
    assert all(result.missing or abs(result.identity_residual_ev or 0.0) < 1e-6 for result in doc.candidates)


def test_the_pairs_are_those_of_the_campaign() -> None:
    asked = {study.id: study for _, study in read_studies(ATLAS["CAMPAIGN"])}
    assert {name: doc.study for name, doc in PAIRS.items()} == {name: asked[name] for name in PAIRS}
    for name in set(asked) - set(PAIRS):
        with pytest.raises(MatchError, match="no cell within"):
            _ = plan_study(asked[name]).steps


@pytest.mark.parametrize("name", {**DOCS, **PAIRS})
def test_an_answer_names_the_planes_that_it_leaves_out(name: str) -> None:
    doc = {**DOCS, **PAIRS}[name]
    if judge(doc) not in (Verdict.INCOMPLETE, Verdict.ALONE):
        left_out = ", ".join(list_uncompared(doc.study, doc.candidates))
        assert (f"not compared: {left_out}" if left_out else "") in doc.stabilization.sentence
        assert bool(left_out) == ("not compared" in doc.stabilization.sentence)


def test_the_words_name_no_other_total_than_the_table() -> None:
    table = re.compile(r"<!-- \w+ -->.*?<!-- end -->", re.DOTALL)
    total = re.compile(r"[+−]\d\.\d{3} ± \d\.\d{3}")
    assert set(total.findall(table.sub("", PAGE))) <= set(total.findall("".join(table.findall(PAGE))))


def reduce_study(doc: StabilizationDoc) -> StudySpec:
    """The two films that are compared, and they alone: no other plane, no variation."""
    sides = find_sides(doc)
    planes = {side.candidate.phase: side.candidate.film_plane for side in sides.films}
    phases = tuple(
        phase.model_copy(update={"planes": (planes[phase.phase],)})
        for phase in doc.study.phases
        if phase.phase in planes
    )
    once = {"thicknesses": 1}
    return doc.study.model_copy(
        update={
            "phases": phases,
            "dot": doc.study.dot.model_copy(update=once),
            "film": doc.study.film.model_copy(update=once),
            "check_minima": False,
        }
    )


def test_a_whole_study_gives_its_row_again(tmp_path: Path) -> None:
    doc = DOCS["pbs-nai"]
    (again,) = run_study(plan_study(doc.study), results=tmp_path, workers=1).documents
    found, stored = again.candidates[0], doc.candidates[0]
    for field in ("strain_ev_per_fu", "surface_ev_per_fu", "binding_ev_per_fu"):
        assert getattr(found, field) == pytest.approx(getattr(stored, field), abs=SAME_EV_PER_FU)
    assert judge(again) == judge(doc)


@pytest.mark.parametrize("name", ["pbse-cspbbr3", "pbs-cspbbr2i"])
def test_the_two_films_alone_give_the_answer_within_its_error(name: str, tmp_path: Path) -> None:
    doc = DOCS[name]
    (again,) = run_study(plan_study(reduce_study(doc)), results=tmp_path, workers=1).documents
    error = doc.uncertainty
    assert error is not None
    assert error.model_error is not None
    numerical, model = error.difference.total_ev_per_fu, error.model_error.total_ev_per_fu
    assert again.stabilization.total_ev_per_fu == pytest.approx(
        doc.stabilization.total_ev_per_fu, abs=hypot(numerical or 0.0, model or 0.0)
    )
    assert again.stabilization.interface is not None
    assert doc.stabilization.interface is not None
    found, stored = (d.stabilization.interface.interface_mev_per_ang2 for d in (again, doc))
    assert found == pytest.approx(stored, abs=1.0)
