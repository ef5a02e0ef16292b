"""The house: how large its folders are, and what must not come back."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COUNTING = runpy.run_path(str(ROOT / "scripts" / "count_code.py"))
MODULES = sorted((ROOT / "qdip_dft").rglob("*.py"))


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


@pytest.mark.parametrize("gone", ["integration", "reference_crystal", "sampled_crystals", "trajectories"])
def test_thermodynamic_integration_is_gone(gone: str) -> None:
    assert [path for path in MODULES if path.stem == gone] == []


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "qdip_dft" / "py.typed").is_file()
