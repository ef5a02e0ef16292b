"""The house: the size of its folders, no import in a circle, what must not come back, pages that name what is there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import grimp
import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).resolve().parents[1]
COUNTING = runpy.run_path(str(ROOT / "scripts" / "count_code.py"))
MODULES = sorted((ROOT / "qdip_dft").rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "structures").glob("*.md")])


EXAMPLE = '''
"""What it is."""

SIZE = 3  # Å
"""Of a cell."""


def name() -> str:
    """Doc."""
    # why
    return "x"
'''


def test_only_code_counts_as_code() -> None:
    assert COUNTING["count_code"](EXAMPLE) == 3


@pytest.mark.parametrize(("folder", "count"), sorted(COUNTING["count_folders"]().items()))
def test_no_folder_is_too_large_to_know(folder: str, count: int) -> None:
    assert count <= {"execution": 2000}.get(folder, 4500)


def test_no_module_imports_itself_through_others() -> None:
    """Imports in functions and for annotations count as well."""
    graph = grimp.build_graph("qdip_dft", exclude_type_checking_imports=False)
    names = sorted(graph.modules)
    imports = np.array([[graph.direct_import_exists(importer=one, imported=other) for other in names] for one in names])
    _, groups = connected_components(imports, connection="strong")
    together = [[name for name, group in zip(names, groups, strict=True) if group == one] for one in set(groups)]
    assert [circle for circle in together if len(circle) > 1] == []


def test_nothing_is_recovered_from_a_display_name() -> None:
    """But from documents of earlier versions, which held nothing else."""
    cuts = ('partition("//")', 'split("//")')
    texts = {path: path.read_text(encoding="utf-8").replace("'", '"') for path in MODULES}
    found = {str(path.relative_to(ROOT)) for path, text in texts.items() if any(cut in text for cut in cuts)}
    assert found <= {"qdip_dft/results/migrations.py"}


def test_spglib_finds_symmetry_in_one_place() -> None:
    """Another package may switch how it reports errors; the tables of the space groups are constants."""
    asking = {path.relative_to(ROOT).as_posix() for path in MODULES if "import spglib" in path.read_text("utf-8")}
    assert asking == {"qdip_dft/model/symmetry.py", "qdip_dft/library/space_groups.py"}


@pytest.mark.parametrize("gone", ["integration", "reference_crystal", "sampled_crystals", "trajectories"])
def test_thermodynamic_integration_is_gone(gone: str) -> None:
    assert [path for path in MODULES if path.stem == gone] == []


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "qdip_dft" / "py.typed").is_file()


def is_there(name: str) -> bool:
    """Return whether a dotted name leads to a module, or to a word in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        module = next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)
        if module is not None:
            rest = parts[length : length + 1]
            return not rest or re.search(rf"\b{rest[0]}\b", module.read_text(encoding="utf-8")) is not None
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_modules_and_files_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    names = re.findall(r"\bqdip_dft(?:\.[A-Za-z_]\w*)+", text)
    files = re.findall(r"\b(?:qdip_dft|scripts|tests|benchmarks)/[\w/]+\.\w+", text)
    assert [name for name in names if not is_there(name)] == []
    assert [name for name in files if not (ROOT / name).exists()] == []
