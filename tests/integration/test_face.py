"""`import qdip_dft`: about a dozen names, loaded when they are used, whose examples run; results show themselves."""

from __future__ import annotations

import ast
import doctest
import inspect
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import qdip_dft
from qdip_dft.execution.local import RunSummary
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.planning.plan import StudyPlan

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"pymatgen", "jobflow", "torch", "numpy", "pydantic", "pandas", "matplotlib", "ase", "maggma", "yaml"}
OBJECTS = [getattr(qdip_dft, name) for name in qdip_dft.__all__ if name != "__version__"]
METHODS = [StabilizationDoc.to_dataframe, StudyPlan.to_dataframe]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunSummary, StudyPlan]:
    """The folder of a study with the toy potential, what its run gave, and its plan."""
    folder = tmp_path_factory.mktemp("face")
    study = Path(shutil.copy(ROOT / "tests" / "data" / "toy-study.yaml", folder / "my-study.yaml"))
    plan = qdip_dft.plan_study(qdip_dft.read_study(str(study)))
    return folder, qdip_dft.run_study(plan, results=str(folder / "qdip-results"), workers=1), plan


def test_importing_the_face_loads_nothing_and_takes_less_than_a_tenth_of_a_second() -> None:
    script = (
        "import sys, time; before = set(sys.modules); start = time.process_time(); import qdip_dft;"
        "print(time.process_time() - start, *{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    runs = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
            for _ in range(3)]  # fmt: skip
    assert min(float(words[0]) for words in runs) < 0.1
    assert not HEAVY & set(runs[0])


def test_every_public_name_is_there_and_none_other_is_promised() -> None:
    assert dir(qdip_dft) == qdip_dft.__all__ == sorted(qdip_dft.__all__)
    assert set(qdip_dft._PLACES) | {"__version__"} == set(qdip_dft.__all__)
    assert all(each.__doc__ for each in OBJECTS)
    with pytest.raises(AttributeError, match="no attribute 'stabilise'"):
        _ = qdip_dft.stabilise


def test_what_a_type_checker_sees_is_what_is_loaded() -> None:
    tree = ast.parse((ROOT / "qdip_dft" / "__init__.py").read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: str(node.module).removeprefix("qdip_dft.") for node in imports for alias in node.names}
    assert seen == qdip_dft._PLACES


@pytest.mark.parametrize("shown", [qdip_dft, *OBJECTS, *METHODS], ids=lambda each: each.__name__)
def test_the_examples_in_the_docstrings_run(
    shown: object, run: tuple[Path, RunSummary, StudyPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, summary, plan = run
    monkeypatch.chdir(folder)
    names = {name: getattr(qdip_dft, name) for name in qdip_dft.__all__}
    names |= {"Path": Path, "run": summary, "plan": plan, "document": summary.documents[0]}
    example = doctest.DocTestParser().get_doctest(inspect.getdoc(shown) or "", names, str(shown), None, None)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=said.append)
    assert "".join(said) == ""


@pytest.mark.parametrize("function", [each for each in OBJECTS if inspect.isfunction(each)], ids=lambda f: f.__name__)
def test_every_public_function_has_an_example(function: object) -> None:
    assert "Examples\n" in (inspect.getdoc(function) or "")


def test_a_table_holds_the_terms_of_the_answer(run: tuple[Path, RunSummary, StudyPlan]) -> None:
    document = run[1].documents[0]
    table = document.to_dataframe()
    terms = [f"{name}_ev_per_fu" for name in ("bulk", "strain", "surface", "binding")]
    assert (table[terms].sum(axis=1) - table["total_ev_per_fu"]).abs().max() < 1e-9
    black, competitor, difference = table.drop(columns="film").to_numpy(float)
    assert black - competitor == pytest.approx(difference, abs=1e-9)
    assert table["bulk_ev_per_fu"][:2].min() == 0


def test_what_is_missing_stays_missing_and_a_foreign_id_stays_text(run: tuple[Path, RunSummary, StudyPlan]) -> None:
    document = run[1].documents[0]
    nothing = {"black_terms": None, "competitor_terms": None, "total_ev_per_fu": None}
    answer = document.stabilization.model_copy(update={**nothing, "black": "<script>x</script>"})
    changed = document.model_copy(update={"id": "<img src=x>", "stabilization": answer})
    assert math.isnan(changed.to_dataframe()["total_ev_per_fu"]["black"])
    shown = changed._repr_html_()
    assert "missing" in shown
    assert "<script>" not in shown
    assert "<img" not in shown
    assert shown in RunSummary(documents=(changed,), n_calculated=0, n_reused=0)._repr_html_()
