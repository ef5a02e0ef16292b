"""Campaigns: every combination once, with a result id of its own, and mistakes named by their entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from qdip_dft.errors import QdipError, SlabError, StructureError, StudyError
from qdip_dft.library.collections import list_campaigns
from qdip_dft.model.campaign import CampaignSpec
from qdip_dft.planning.campaign import Counts, count_calculations, expand, is_campaign, plan_all, read_campaign
from qdip_dft.planning.study_files import read_study

TOY_CAMPAIGN = Path(__file__).parents[1] / "data" / "toy-campaign.yaml"
TOY_STUDY = TOY_CAMPAIGN.with_name("toy-study.yaml")


@pytest.fixture
def content() -> dict[str, Any]:
    return dict(yaml.safe_load(TOY_CAMPAIGN.read_text(encoding="utf-8")))


@pytest.fixture
def write(tmp_path):
    def write_yaml(content: dict[str, Any]) -> str:
        path = tmp_path / "campaign.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return str(path)

    return write_yaml


def names_of(content: dict[str, Any]) -> list[str]:
    return [study.id for _, study in expand(CampaignSpec.model_validate(content))]


def test_every_combination_is_a_study_with_an_id_of_its_own(content):
    content["facets"] = ["100", "1-10"]
    content["engines"] = [{"name": "testing", "preset": "fast"}, {"name": "testing", "preset": "precise"}]
    content["hosts"].append(
        {"host": "CsPbBr3", "phases": [{"phase": "CsPbBr3-cubic", "role": "black", "planes": ["100"]}]}
    )
    names = names_of(content)
    assert len(names) == len(set(names)) == 2 * 2 * 2 * 2
    assert "toys-pbte-1-10-cspbbr3+testing-precise" in names


def test_a_study_of_a_campaign_asks_what_its_own_file_would_ask(content):
    _, study = next(expand(CampaignSpec.model_validate(content)))
    single = read_study(str(TOY_STUDY))
    changed = {"name": study.name, "question": study.question}
    assert study == single.model_copy(update=changed)


def test_a_dot_with_facets_of_its_own_leaves_those_of_the_campaign(content):
    content["dots"][1]["facets"] = ["111"]
    assert names_of(content) == ["toys-pbte-100-cspbi3", "toys-pbse-111-cspbi3"]


def test_an_entry_given_twice_is_refused(content):
    content["dots"].append({"material": "PbTe", "min_thickness_ang": 9})
    with pytest.raises(StudyError, match="name every dot, host and engine once") as caught:
        names_of(content)
    assert "dot PbTe(100), host CsPbI3" in caught.value.what


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"dots": [{"material": "PbTe"}, {"material": "PbSe", "facet": "100"}]}, "dots.1 (PbSe).facet"),
        ({"facets": []}, "dot PbTe, PbSe has no facets"),
        ({"study": {"engine": {"name": "mlip"}}}, "engine follows from dots"),
        ({"engines": []}, "engines"),
        ({"name": "Too Loud"}, "name"),
    ],
)
def test_a_mistake_is_named_by_its_entry(content, write, change, place):
    path = write({**content, **change})
    with pytest.raises(StudyError, match="correct the named entries") as caught:
        read_campaign(Path(path))
    assert place in caught.value.what


def test_a_wrong_setting_of_all_studies_is_refused(content, write):
    content["study"]["vacuum"] = 12
    with pytest.raises(StudyError, match="correct the named keys") as caught:
        plan_all([write(content)])
    assert "toys, dot PbTe(100), host CsPbI3" in caught.value.what


def test_an_unknown_crystal_is_named_with_its_entry(content, write):
    content["dots"][1]["material"] = "PbSo"
    with pytest.raises(StructureError, match="PbS") as caught:
        plan_all([write(content)])
    assert caught.value.what.startswith("dot PbSo(100), host CsPbI3, engine testing fast: ")


def test_a_combination_that_cannot_be_built_is_left_out_with_the_reason(content, write):
    content["dots"][0]["facets"] = ["111"]  # polar, and no passivation
    found = plan_all([write(content)])
    assert [plan.study.name for plan in found.plans] == ["toys-pbse-100-cspbi3"]
    assert "PbTe(111)" in found.left_out["toys-pbte-111-cspbi3"]


def test_a_campaign_without_any_possible_combination_is_refused(content, write):
    content["facets"] = ["111"]
    with pytest.raises(SlabError, match="passivation"):
        plan_all([write(content)])


def test_studies_and_campaigns_may_be_named_together():
    found = plan_all([str(TOY_STUDY), str(TOY_CAMPAIGN), str(TOY_STUDY)])
    assert [plan.study.name for plan in found.plans] == ["toy-study", "toys-pbte-100-cspbi3", "toys-pbse-100-cspbi3"]


def test_equal_studies_share_everything_and_other_engines_nothing(content, write):
    one, two = (plan_all([str(path)]).plans[0] for path in (TOY_STUDY, TOY_CAMPAIGN))
    planned = [plan.list_calculations(lambda _: None) for plan in (one, two)]
    n_total = len(planned[0])
    assert count_calculations(planned) == Counts(2 * n_total, n_total, 0, 0, n_total)
    content["engines"][0]["preset"] = "precise"
    finer = plan_all([write(content)]).plans[0].list_calculations(lambda _: None)
    assert count_calculations([planned[0], finer]).n_shared == 0


@pytest.mark.parametrize("path", list_campaigns(), ids=lambda path: path.stem)
def test_every_ready_made_campaign_is_valid(path):
    assert is_campaign(path)
    try:
        found = plan_all([f"campaigns/{path.stem}"])
    except QdipError as error:
        pytest.fail(str(error))
    assert found.plans
