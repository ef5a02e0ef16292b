"""Which perovskite phase does a quantum dot stabilize, by how much, and why?  The public names, loaded when used.

>>> import qdip_dft as qd
>>> run = qd.run_study(qd.plan_study(qd.read_study("my-study.yaml")), results="qdip-results")
>>> run.has_answer  # run.documents[0].stabilization says it in numbers and in a sentence
True

Energies are in eV per formula unit of the host; stabilization = black − competitor, negative: black is favoured.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from qdip_dft.version import __version__

if TYPE_CHECKING:
    from qdip_dft.execution.local import run_study
    from qdip_dft.library.crystals import load_crystal
    from qdip_dft.model.stabilization import StabilizationDoc
    from qdip_dft.model.study import StudySpec
    from qdip_dft.planning.matching import match, rank_planes
    from qdip_dft.planning.plan import plan_study
    from qdip_dft.planning.stabilization import StabilizationMaker
    from qdip_dft.planning.study_files import read_study, use_engine
    from qdip_dft.report.figure import draw_levels
    from qdip_dft.report.files import write_report
    from qdip_dft.results.query import query_results
    from qdip_dft.storage.location import open_results

__all__ = [
    "StabilizationDoc",
    "StabilizationMaker",
    "StudySpec",
    "__version__",
    "draw_levels",
    "load_crystal",
    "match",
    "open_results",
    "plan_study",
    "query_results",
    "rank_planes",
    "read_study",
    "run_study",
    "use_engine",
    "write_report",
]

_PLACES = {
    "StabilizationDoc": "model.stabilization",
    "StabilizationMaker": "planning.stabilization",
    "StudySpec": "model.study",
    "draw_levels": "report.figure",
    "load_crystal": "library.crystals",
    "match": "planning.matching",
    "open_results": "storage.location",
    "plan_study": "planning.plan",
    "query_results": "results.query",
    "rank_planes": "planning.matching",
    "read_study": "planning.study_files",
    "run_study": "execution.local",
    "use_engine": "planning.study_files",
    "write_report": "report.files",
}


def __getattr__(name: str) -> Any:
    """Import the module that holds a public name."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """Return the public names, whether they are loaded or not."""
    return __all__
