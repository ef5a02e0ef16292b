"""Results that nobody calculated, clearly marked, in any number: for tests and benchmarks of stores and queries."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

MARK = "SYNTHETIC"
DOTS = ("PbS", "PbSe", "PbTe", "CdSe", "CdTe", "InAs", "InP", "Ag2S", "CuInSe2", "SnS")
HOSTS = ("FAPbI3", "CsPbI3", "MAPbI3", "CsPbBr3", "MAPbBr3", "FASnI3", "CsSnI3", "Cs2AgBiBr6")
FACETS = ("100", "110", "111", "210", "211")
ENGINES = (
    ("mlip", "screening"),
    ("espresso", "dft"),
    ("gpaw", "dft"),
    ("vasp", "dft"),
    ("cp2k", "dft"),
    ("testing", "test"),
)

_GOLDEN = Path(__file__).parent / "data" / "golden" / "stabilization-1-quickstart.json"


def make_results(count: int, *, seed: int = 20200206) -> Iterator[dict[str, Any]]:
    """Yield stabilization documents of the size and shape of a real one, with random materials and energies."""
    template = json.loads(_GOLDEN.read_text(encoding="utf-8"))
    chance = random.Random(seed)
    for index in range(count):
        yield _make_result(template, index, chance)


def _make_result(template: dict[str, Any], index: int, chance: random.Random) -> dict[str, Any]:
    dot, host, facet = chance.choice(DOTS), chance.choice(HOSTS), chance.choice(FACETS)
    engine, level = chance.choice(ENGINES)
    document = deepcopy(template)
    document["id"] = f"synthetic-{index:06d}"
    document["dot_plane"] = facet
    document["level"] = level
    document["created_at"] = (
        f"20{20 + index % 7}-{1 + index % 12:02d}-{1 + index % 28:02d}T12:{index % 60:02d}:00+00:00"
    )
    document["study"]["name"] = document["id"]
    document["study"]["question"] = f"{MARK}: none, these numbers are random"
    document["study"]["dot"].update(material=dot, facets=[facet])
    document["study"]["host"] = host
    document["study"]["engine"]["name"] = engine
    document["theory"].update(level=level, engine=engine)
    total = chance.gauss(0.0, 0.3)
    document["stabilization"].update(total_ev_per_fu=total, sentence=f"{MARK}: {dot} on {host}, {total:+.3f} eV/f.u.")
    return document
