"""YAML text read by libyaml where it is compiled in: the crystal library in a tenth of the time."""

from __future__ import annotations

from typing import Any


def parse_yaml(text: str) -> Any:
    """Return the plain values of a YAML text; no object is ever made.

    Raises
    ------
    yaml.YAMLError
        If it is not YAML.
    """
    import yaml

    # PyYAML may be built without libyaml; its own parser gives the same values.
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
