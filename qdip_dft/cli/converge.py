"""`qdip converge`: refine one setting at a time until the stabilization stays."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qdip_dft.analysis.convergence import SETTINGS_OF, Ladder, Quantity
from qdip_dft.cli.options import DEFAULT_RESULTS, AsJson, Results, StudyName
from qdip_dft.cli.output import progress_console, write_json, write_line
from qdip_dft.cli.studies import EngineName, PresetWord, make_plan
from qdip_dft.errors import ResultsError, StudyError
from qdip_dft.model.term_names import TERM_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qdip_dft.execution.convergence import Refinement
    from qdip_dft.model.study import StudySpec
    from qdip_dft.model.terms import Terms

NOT_CONVERGED = 1
"""Exit code when a setting is not converged."""

_TARGET = re.compile(r"(?P<number>\d+(\.\d*)?|\.\d+)\s*(?P<unit>meV|eV)")
_EV_OF = {"meV": 1e-3, "eV": 1.0}


def converge(
    study: StudyName,
    what: Annotated[Quantity, typer.Option("--what", help="layers, vacuum, kpoints or cutoff.")],
    target: Annotated[str, typer.Option("--to", help="Largest change per formula unit, such as 5meV.")] = "5meV",
    results: Results = DEFAULT_RESULTS,
    engine: EngineName = None,
    preset: PresetWord = None,
    max_steps: Annotated[int, typer.Option("--max-steps", min=3, max=20, help="Largest number of values.")] = 6,
    file: Annotated[
        Path | None, typer.Option("--write", help="Study file to write; NAME-WHAT.yaml if not given.")
    ] = None,
    is_quiet: Annotated[bool, typer.Option("--quiet", help="No progress of the calculations.")] = False,
    as_json: AsJson = False,
) -> None:
    """Refine one setting at a time until the stabilization changes by less than a target in two successive steps.

    The stabilization counts, not a total energy.  Every value is a variant of the study, calculated once and stored; an
    interrupted ladder continues with the same command.  The converged settings are written as a study file.

    Example: qdip converge quickstart --what layers --to 5meV
    """
    from qdip_dft.execution.convergence import Refinement, require_setting

    planned = make_plan(study, engine, preset)
    target_ev = read_target(target)
    for setting in SETTINGS_OF[what]:
        require_setting(planned, what, setting)
    path = choose_file(study, planned.study, what, file)
    progress = None if is_quiet else progress_console()
    ladders = []
    for setting in SETTINGS_OF[what]:
        refinement = Refinement(planned.study, setting, target_ev, max_steps)
        steps = refinement.climb(results=results, console=progress)
        ladders.append(_follow(refinement, steps, is_silent=as_json))
    is_converged = all(ladder.converged_value is not None for ladder in ladders)
    if is_converged:
        _write_study(path, planned.study, what, ladders)
    _report(ladders, path if is_converged else None, as_json=as_json)
    if not is_converged:
        sys.exit(NOT_CONVERGED)


def read_target(text: str) -> float:
    """Return the target in eV per formula unit.

    Raises
    ------
    StudyError
        If it is no energy with a unit.
    """
    found = _TARGET.fullmatch(text.strip())
    value_ev = float(found["number"]) * _EV_OF[found["unit"]] if found else 0.0
    if value_ev > 0:
        return value_ev
    raise StudyError(
        f"{text!r} is no target",
        limit="an energy per formula unit above zero with its unit, meV or eV",
        why="without the unit a change of a thousandth or of a thousand would be accepted",
        remedy="write --to 5meV",
    )


def choose_file(name_or_path: str, study: StudySpec, what: Quantity, file: Path | None) -> Path:
    """Return where the converged study goes: beside the study file, or into the working directory.

    Raises
    ------
    ResultsError
        If the file exists: nothing is overwritten.
    """
    folder = Path(name_or_path).parent if Path(name_or_path).is_file() else Path()
    path = file or folder / f"{study.id.replace('+', '-')}-{what}.yaml"
    if not path.exists():
        return path
    raise ResultsError(
        f"{path} exists",
        limit="converged settings go to a new file",
        why="the settings of an earlier result would be lost",
        remedy="give another file with --write FILE, or move this one away",
    )


def _follow(refinement: Refinement, steps: Iterable[Ladder], *, is_silent: bool) -> Ladder:
    """Return the finished ladder, printing each rung as soon as it is known."""
    heading = "".join(f"{name:>10}" for name in TERM_COLUMNS)
    ladder = Ladder(refinement.setting, refinement.target_ev_per_fu)
    if not is_silent:
        target = f"{1000 * ladder.target_ev_per_fu:g} meV/f.u."
        write_line(f"{refinement.setting.key}: until black − competitor changes by less than {target} twice (eV/f.u.)")
        write_line(f"{refinement.setting.unit:>10}  {'facet':<6}{heading}{'change':>10}")
    for ladder in steps:
        if not is_silent:
            _print_last_rung(ladder)
    return ladder


def _print_last_rung(ladder: Ladder) -> None:
    from qdip_dft.analysis.numbers import write_signed

    rung = ladder.rungs[-1]
    change = ladder.changes_ev_per_fu[-1] if len(ladder.rungs) > 1 else None
    for facet, terms in rung.terms.items():
        numbers = "".join(f"{write_signed(_value(terms, name), decimals=4):>10}" for name in TERM_COLUMNS)
        write_line(f"{rung.value:>10g}  {facet:<6}{numbers}{write_signed(change, decimals=4):>10}")


def _value(terms: Terms | None, name: str) -> float | None:
    return None if terms is None else terms[name]


def _report(ladders: list[Ladder], path: Path | None, *, as_json: bool) -> None:
    if as_json:
        write_json({"settings": [_as_json(ladder) for ladder in ladders], "study": None if path is None else str(path)})
        return
    for ladder in ladders:
        write_line(ladder.describe())
    if path is not None:
        write_line(f"Study: {path}")


def _as_json(ladder: Ladder) -> dict[str, Any]:
    changes = (None, *ladder.changes_ev_per_fu)
    return {
        "setting": ladder.setting.key,
        "unit": ladder.setting.unit,
        "target_ev_per_fu": ladder.target_ev_per_fu,
        "converged_value": ladder.converged_value,
        "sentence": ladder.describe(),
        "rungs": [
            {
                "value": rung.value,
                "change_ev_per_fu": change,
                "terms": {facet: None if t is None else t.model_dump(mode="json") for facet, t in rung.terms.items()},
                "missing": rung.reasons,
            }
            for rung, change in zip(ladder.rungs, changes, strict=True)
        ],
    }


def _write_study(path: Path, study: StudySpec, what: Quantity, ladders: list[Ladder]) -> None:
    """Write the study with the converged values; the result of it has an id of its own."""
    from qdip_dft.execution.convergence import set_value
    from qdip_dft.planning.study_files import write_study
    from qdip_dft.results.writing import open_whole

    for ladder in ladders:
        if ladder.converged_value is not None:
            study = set_value(study, ladder.setting, ladder.converged_value)
    converged = study.model_copy(update={"variant": "-".join(filter(None, [study.variant, what.value]))})
    notes = "".join(f"# {ladder.describe()}\n" for ladder in ladders)
    with open_whole(path) as stream:
        stream.write(f"{notes}{write_study(converged, folder=path.parent)}".encode())
