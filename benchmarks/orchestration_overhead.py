"""How much of a study's time is not spent in the potential: building, keys, storing, jobflow, the optimiser.

    python benchmarks/orchestration_overhead.py [STUDY] [--engine testing]

Runs the study into a fresh folder and prints the wall time, the time inside the potential (network, D3, neighbour
lists; its loading apart) and the share of everything else.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from qdip_dft.engines.mlip import MlipEngine
from qdip_dft.execution.local import run_study
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study


class Stopwatch:
    """Adds up the time inside the wrapped functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time added up."""

        def timed(*arguments: Any, **options: Any) -> Any:
            start = perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += perf_counter() - start

        return timed


def main() -> None:
    """Run the study and print where its time went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", default="pbs-fapbi3")
    given = parser.parse_args()

    loading, evaluating = Stopwatch(), Stopwatch()
    load_potential = MlipEngine.load_potential

    def load_timed(engine: MlipEngine) -> Callable[..., Any]:
        return evaluating.wrap(loading.wrap(load_potential)(engine))

    MlipEngine.load_potential = load_timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        start = perf_counter()
        summary = run_study(plan_study(read_study(given.study)), results=Path(folder) / "results")
        total = perf_counter() - start
    rest = total - loading.seconds - evaluating.seconds
    print(f"study {given.study}: {summary.n_calculated} calculations")
    for document in summary.documents:
        print(f"stabilization {document.stabilization.total_ev_per_fu} eV/f.u.")
    print(f"wall time                {total:8.1f} s")
    print(f"loading the potential    {loading.seconds:8.1f} s")
    print(f"potential and D3         {evaluating.seconds:8.1f} s")
    print(f"everything else          {rest:8.1f} s = {rest / total:.1%} of the wall time")


if __name__ == "__main__":
    main()
