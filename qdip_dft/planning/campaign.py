"""From a campaign to its studies, and how many calculations they have in common."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qdip_dft.errors import MatchError, QdipError, SlabError, StudyError
from qdip_dft.library.collections import find_study
from qdip_dft.model.campaign import CampaignDot, CampaignHost, CampaignSpec
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.keys import job_id
from qdip_dft.model.study import StudySpec
from qdip_dft.planning.mistakes import list_mistakes
from qdip_dft.planning.named_files import find_named_files
from qdip_dft.planning.plan import PlannedCalculation, StudyPlan, plan_study
from qdip_dft.planning.study_files import read_study, read_written_yaml, use_engine, validate_study
from qdip_dft.yaml_text import NOT_WRITTEN, Location, WrittenYaml


@dataclass(frozen=True, slots=True)
class Counts:
    """The calculations of several studies.

    Parameters
    ----------
    n_total
        Sum over the studies.
    n_shared
        Those among them that another study of the same list asks for as well, each counted once less than it is asked.
    n_stored
        Different calculations that are stored.
    n_claimed
        Different calculations that somebody else is making.
    n_new
        Different calculations that are left.
    """

    n_total: int
    n_shared: int
    n_stored: int
    n_claimed: int
    n_new: int


@dataclass(frozen=True, slots=True)
class Planned:
    """The studies that a list of files comes to.

    Parameters
    ----------
    plans
        What can be carried out.
    left_out
        The combinations of campaigns for which no interface can be built, by result id, with the reason.
    """

    plans: tuple[StudyPlan, ...]
    left_out: dict[str, str]


def plan_all(names: Iterable[str], *, engine: str | None = None, preset: str | None = None) -> Planned:
    """Return the plans of studies and campaigns, in their order.

    A combination of a campaign without a common cell or a neutral film is left out, with the reason: among many pairs
    some do not fit.  A single study that cannot be built is an error.

    Parameters
    ----------
    names
        Files, or names of ready-made studies and campaigns.
    engine, preset
        Taken instead of those in the files, if given.

    Raises
    ------
    QdipError
        If a file is wrong, or nothing in it can be planned; the entry is named.
    """
    plans: dict[str, StudyPlan] = {}
    refusals: dict[str, QdipError] = {}
    for name in names:
        for entry, study in read_studies(name):
            asked = use_engine(study, engine=engine, preset=preset)
            try:
                plans[asked.id] = _plan(asked, entry)
            except (MatchError, SlabError) as error:
                refusals[asked.id] = error
    if not plans:
        raise next(iter(refusals.values()))
    return Planned(tuple(plans.values()), {name: str(error.what) for name, error in refusals.items()})


def read_studies(name_or_path: str) -> Iterator[tuple[str, StudySpec]]:
    """Yield the studies of a file with the entry of the campaign that each comes from, empty for a single study."""
    path = find_study(name_or_path)
    if is_campaign(path):
        yield from expand(read_campaign(path), written=read_written_yaml(path), folder=path.parent)
    else:
        yield "", read_study(name_or_path)


def is_campaign(path: Path) -> bool:
    """Return whether a file asks for many pairs: it names ``dots`` where a study names one ``dot``."""
    content = read_written_yaml(path).content
    return isinstance(content, dict) and "dots" in content


def read_campaign(path: Path) -> CampaignSpec:
    """Return the campaign of a YAML file.

    Raises
    ------
    StudyError
        With the place and the cure of the first mistakes.
    """
    written = read_written_yaml(path)
    find_named_files(written.content, path.parent)  # refuses a file that lies in the working directory alone
    try:
        return CampaignSpec.model_validate(written.content)
    except ValidationError as error:
        raise StudyError(
            f"{path.name} is not a valid campaign ({'; '.join(list_mistakes(error, written)[:5])})",
            limit=f"known keys are {', '.join(CampaignSpec.model_fields)}",
            why="a misread key would silently change what is calculated",
            remedy="correct the named entries; docs/campaigns.md lists all keys",
        ) from error


def expand(
    campaign: CampaignSpec, *, written: WrittenYaml = NOT_WRITTEN, folder: Path = Path()
) -> Iterator[tuple[str, StudySpec]]:
    """Yield every study of a campaign with the words that name its entry.

    Parameters
    ----------
    campaign
        The campaign.
    written
        Its file, for the line numbers of errors.
    folder
        Where the paths of its files start from.

    Raises
    ------
    StudyError
        If two entries would give results of the same id, or a study is not valid.
    """
    seen: dict[str, str] = {}
    numbered = enumerate(campaign.dots), enumerate(campaign.hosts), enumerate(campaign.engines)
    for (i, dot), (j, host), (k, engine) in product(*numbered):
        for facet in dot.facets or campaign.facets:
            entry = f"dot {dot.material}({facet}), host {host.host}, engine {engine.name} {engine.preset}"
            content = _compose_study(campaign, dot, facet, host, engine)
            places: dict[str, Location] = {key: ("study", key) for key in campaign.study}
            places |= {key: ("hosts", j, key) for key in ("host", "phases", "decomposition")}
            places |= {"dot": ("dots", i), "engine": ("engines", k)}
            source, own = f"{campaign.name}, {entry}", written.rearrange(content, places)
            study = validate_study(content, source=source, written=own, folder=folder)
            if study.id in seen:
                raise _same_id(study.id, seen[study.id], entry)
            seen[study.id] = entry
            yield entry, study


def count_calculations(
    planned: Iterable[Collection[PlannedCalculation]], *, claimed: Collection[str] = frozenset()
) -> Counts:
    """Return what several studies ask for together.

    Parameters
    ----------
    planned
        The calculations of each study.
    claimed
        Ids of jobs that somebody else is making.
    """
    found = [calculation for calculations in planned for calculation in calculations]
    different = {calculation.identity: calculation for calculation in found}
    stored = [calculation for calculation in different.values() if calculation.is_stored]
    taken = [c for c in different.values() if not c.is_stored and c.key is not None and job_id(c.key) in claimed]
    return Counts(
        n_total=len(found),
        n_shared=len(found) - len(different),
        n_stored=len(stored),
        n_claimed=len(taken),
        n_new=len(different) - len(stored) - len(taken),
    )


def _compose_study(
    campaign: CampaignSpec, dot: CampaignDot, facet: str, host: CampaignHost, engine: EngineSpec
) -> dict[str, Any]:
    content: dict[str, Any] = {
        "schema_version": campaign.schema_version,
        "question": campaign.question,
        **campaign.study,
        "name": "-".join(map(_slug, (campaign.name, dot.material, facet, host.host))),
        "variant": _name_variant(engine, campaign.engines),
        "dot": {**dot.model_dump(mode="json"), "facets": [facet]},
        **host.model_dump(mode="json"),
        "engine": engine.model_dump(mode="json"),
    }
    if isinstance(charges := content.get("formal_charges"), dict):
        products = () if host.decomposition is None else host.decomposition.products
        named = {dot.material, *(phase.phase for phase in host.phases), *products}
        content["formal_charges"] = {name: charges[name] for name in charges if name in named}
    return content


def _name_variant(engine: EngineSpec, engines: tuple[EngineSpec, ...]) -> str:
    """Return what sets an engine apart from the others of a campaign."""
    if len(engines) == 1:
        return ""
    is_alone = sum(other.name == engine.name for other in engines) == 1
    return engine.name if is_alone else f"{engine.name}-{engine.preset}"


def _slug(text: str) -> str:
    """Return a material, plane or file as part of a name: ``1-10`` and ``cspbi3`` are kept apart from other signs."""
    stem = Path(text).stem if "/" in text or text.endswith((".cif", ".vasp", ".xyz")) else text
    if stem.upper() in {"POSCAR", "CONTCAR"}:  # the folder tells them apart
        stem = f"{Path(text).parent.name}-{stem}"
    return re.sub(r"[^a-z0-9.-]+", "-", stem.lower()).strip("-")


def _plan(study: StudySpec, entry: str) -> StudyPlan:
    """Return the plan of a study; the candidates of a campaign's are searched at once, and its entry is named."""
    if not entry:
        return plan_study(study)
    try:
        plan = plan_study(study)
        plan.steps  # noqa: B018 (searches the candidates)
    except QdipError as error:
        raise type(error)(f"{entry}: {error.what}", limit=error.limit, why=error.why, remedy=error.remedy) from error
    return plan


def _same_id(result_id: str, first: str, second: str) -> StudyError:
    return StudyError(
        f"{first} and {second} are both called {result_id}",
        limit="every combination of a campaign has a result id of its own",
        why="one result would replace the other",
        remedy="name every dot, host and engine once; two thicknesses of one dot are two campaigns",
    )
