"""Presets: named sets of inputs in YAML that build on each other through ``parent``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import JsonValue, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from qdip_dft.engines.base import RelaxationSettings
from qdip_dft.errors import EngineError
from qdip_dft.model.base import Record
from qdip_dft.model.engine import Dispersion, PresetName, Restart
from qdip_dft.model.ranges import require_in_range
from qdip_dft.units import EV_PER_ANG3_IN_GPA
from qdip_dft.yaml_text import parse_yaml


class Preset(Record):
    """What one word such as ``fast`` means; the same in every code.

    Parameters
    ----------
    k_spacing_per_ang
        Largest distance between k-points in Å⁻¹, with the factor 2π.  Not used by interatomic potentials.
    smearing
        Occupation of the bands.  Not used by interatomic potentials.
    smearing_width_ev
        Width of the smearing in eV.  Not used by interatomic potentials.
    cutoff_ev
        Kinetic-energy cutoff of the plane waves in eV by engine: pseudopotentials of different kinds need different
        ones for the same error; that of ``cp2k`` belongs to the grid for the density.
    relative_cutoff_ev
        Cutoff in eV of the grid that carries a Gaussian of exponent 1 bohr⁻².  Used by ``cp2k`` alone.
    basis_set
        Family of basis sets.  Used by ``cp2k`` alone.
    dispersion
        Correction for van der Waals attraction.
    restart
        What a code may reuse of an earlier calculation.  Not part of the level of theory.
    force_threshold_ev_per_ang
        Largest force of a relaxed structure in eV/Å.
    stress_threshold_gpa
        Largest stress of a relaxed cell in GPa.
    max_steps
        Number of force evaluations after which a relaxation is given up.
    search_tries
        How often a relaxed structure is annealed and relaxed again.  Used by interatomic potentials alone.
    """

    k_spacing_per_ang: PositiveFloat
    smearing: Literal["gaussian"]
    smearing_width_ev: PositiveFloat
    cutoff_ev: dict[str, PositiveFloat]
    relative_cutoff_ev: PositiveFloat
    basis_set: str
    dispersion: Dispersion
    restart: Restart
    force_threshold_ev_per_ang: PositiveFloat
    stress_threshold_gpa: PositiveFloat
    max_steps: PositiveInt
    search_tries: NonNegativeInt = 0


@cache
def load_preset(name: PresetName) -> Preset:
    """Return a preset with everything that it inherits from its parents."""
    return Preset.model_validate(_read_with_parents(name.value))


RELAXATION_SETTINGS = frozenset({"force_threshold_ev_per_ang", "stress_threshold_gpa", "max_steps"})
"""The settings that mean something to every engine, interatomic potentials included."""

POTENTIAL_SETTINGS = RELAXATION_SETTINGS | {"search_tries"}
"""Those of interatomic potentials, whose forces are cheap enough to search for the lowest minimum."""


def override_preset(preset: Preset, settings: Mapping[str, JsonValue], *, allowed: frozenset[str]) -> Preset:
    """Return the preset with single values replaced.

    Parameters
    ----------
    preset
        Where to start.
    settings
        The values to replace, from the study.
    allowed
        The settings that mean something to the engine.

    Raises
    ------
    EngineError
        If a setting means nothing to the engine or its value is impossible.
    """
    for unknown in sorted(settings.keys() - allowed):
        raise _setting_error(f"{unknown!r} is not one of its settings", allowed)
    require_in_range(_flatten_cutoff(settings), place=lambda name: f"engine.settings.{name}")
    try:
        return Preset.model_validate({**preset.model_dump(mode="json"), **settings})
    except ValidationError as failure:
        first = failure.errors()[0]
        raise _setting_error(f"{first['loc'][0]!r} is {first['input']!r}: {first['msg']}", allowed) from failure


def _flatten_cutoff(settings: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The settings with the cutoff as one number: an engine files it under its own name."""
    return {name: next(iter(v.values())) if isinstance(v, dict) and len(v) == 1 else v for name, v in settings.items()}


def _setting_error(what: str, allowed: frozenset[str]) -> EngineError:
    return EngineError(
        f"the engine cannot use its `settings`: {what}",
        limit=f"it knows {', '.join(sorted(allowed))}",
        why="a setting that is ignored would make the result another one than asked for",
        remedy="correct the `settings` of the engine in the study",
    )


def relaxation_settings_of(preset: Preset, *, optimiser: str) -> RelaxationSettings:
    """Return when a relaxation with this preset is done."""
    return RelaxationSettings(
        force_threshold_ev_per_ang=preset.force_threshold_ev_per_ang,
        stress_threshold_ev_per_ang3=preset.stress_threshold_gpa / EV_PER_ANG3_IN_GPA,
        max_steps=preset.max_steps,
        optimiser=optimiser,
        search_tries=preset.search_tries,
    )


def _read_with_parents(name: str) -> dict[str, JsonValue]:

    text = (files("qdip_dft.engines") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    values: dict[str, JsonValue] = parse_yaml(text)
    parent = values.pop("parent", None)
    return values if parent is None else {**_read_with_parents(str(parent)), **values}
