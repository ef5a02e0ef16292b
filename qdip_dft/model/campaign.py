"""What a user asks about many pairs at once: dots × hosts × facets × engines in one file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from qdip_dft.model.base import WrittenRecord
from qdip_dft.model.engine import EngineSpec
from qdip_dft.model.study import DecompositionSpec, PhaseSpec, Plane

CHOSEN_BY_CAMPAIGN = ("schema_version", "name", "variant", "dot", "host", "phases", "decomposition", "engine")
"""Keys of a study that follow from the entries of a campaign."""


class CampaignDot(WrittenRecord):
    """One dot of a campaign.

    Parameters
    ----------
    material
        Catalogue id or structure file.
    facets
        Its facets, each a study of its own; none: those of the campaign.
    min_thickness_ang, passivation
        As in a study.
    """

    material: str
    facets: tuple[Plane, ...] = ()
    min_thickness_ang: float = Field(default=10.0, gt=0, le=200)
    passivation: str | None = None


class CampaignHost(WrittenRecord):
    """One host of a campaign.

    Parameters
    ----------
    host, phases, decomposition
        As in a study.
    """

    host: str
    phases: tuple[PhaseSpec, ...] = Field(min_length=1)
    decomposition: DecompositionSpec | None = None


class CampaignSpec(WrittenRecord):
    """A campaign: one study for every dot, facet, host and engine.

    Parameters
    ----------
    name
        Short name; the studies are called ``NAME-dot-facet-host``, such as ``salts-pbs-100-cspbi3``.
    question
        What the campaign answers, in words.
    dots, hosts
        What is combined.
    facets
        Facets of the dots that name none.
    engines
        Engines; with more than one, the engine's name, and its preset where that is needed, becomes the variant.
    study
        Everything else that a study may say, such as ``matching``, ``film`` and ``vacuum_ang``; holds for all.
    """

    schema_version: Literal[1, 2] = 2
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,31}$")
    question: str = ""
    dots: tuple[CampaignDot, ...] = Field(min_length=1)
    hosts: tuple[CampaignHost, ...] = Field(min_length=1)
    facets: tuple[Plane, ...] = ()
    engines: tuple[EngineSpec, ...] = Field(default=(EngineSpec(name="mlip"),), min_length=1)
    study: dict[str, JsonValue] = {}

    @field_validator("study")
    @classmethod
    def _leaves_the_entries_alone(cls, study: dict[str, JsonValue]) -> dict[str, JsonValue]:
        wrong = [key for key in study if key in CHOSEN_BY_CAMPAIGN]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} follows from dots, hosts, facets and engines")
        return study

    @model_validator(mode="after")
    def _every_dot_has_facets(self) -> CampaignSpec:
        without = [dot.material for dot in self.dots if not dot.facets and not self.facets]
        if without:
            raise ValueError(f"dot {', '.join(without)} has no facets, and the campaign names none for all dots")
        return self
