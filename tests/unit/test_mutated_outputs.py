"""Mutated outputs of codes: lines cut, numbers starred, runs appended, units changed.  Never a wrong energy.

None of these damages writes another energy, so that whatever is still read must be the one that the run had.
``QDIP_MUTATIONS=500`` tries more of them; the seeds are fixed.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from qdip_dft.by_hand.imports import _read
from qdip_dft.engines.cp2k.output import read_evaluation
from qdip_dft.units import HARTREE_IN_EV, RYDBERG_IN_EV
from tests.unit.test_finished_outputs import ATOMS, ENERGY, new_words, old_words, pw_output, write_pw
from tests.unit.test_finished_vasp import write_potcar

N_MUTATIONS = int(os.environ.get("QDIP_MUTATIONS", "60"))

UNITS = ("kcalmol", "furlong", "GPa", "bar", "kbar", "keV/furlong")

VASPRUN = (files("ase") / "test" / "testdata" / "vasp" / "vasprun_dfpt.xml").read_text(encoding="ISO-8859-1")


def mutate(text: str, other: str, chance: random.Random) -> str:
    """Damage an output in one to three ways; the other one is a run with another energy."""
    for _ in range(chance.randint(1, 3)):
        text = chance.choice((cut_lines, cut_lines, star_number, change_unit, end_early))(text, chance)
    return chance.choice((text, text, other + text, text + other[: chance.randrange(len(other) * 9 // 10)]))


def cut_lines(text: str, chance: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    start = chance.randrange(len(lines))
    return "".join(lines[:start] + lines[start + chance.choice((1, 1, 2, 5, 20)) :])


def star_number(text: str, chance: random.Random) -> str:
    numbers = list(re.finditer(r"-?\d+\.\d+", text))
    if not numbers:
        return text
    number = chance.choice(numbers)
    return text[: number.start()] + "*" * len(number[0]) + text[number.end() :]


def change_unit(text: str, chance: random.Random) -> str:
    words = list(re.finditer(r"\[[\w./]+\]|\b(?:Ry|ev|hartree)\b", text))
    if not words:
        return text
    word = chance.choice(words)
    unit = chance.choice(UNITS)
    return text[: word.start()] + (f"[{unit}]" if word[0].startswith("[") else unit) + text[word.end() :]


def end_early(text: str, chance: random.Random) -> str:
    return text[: chance.randrange(len(text))] if chance.random() < 0.3 else text


def try_cp2k(seed: int, folder: Path) -> float | None:
    chance = random.Random(seed)
    write = chance.choice((old_words, new_words))
    (folder / "cp2k.out").write_text(mutate(write(), write(energy=-1.0), chance), encoding="utf-8")
    try:
        return read_evaluation(folder / "cp2k.out", ATOMS, has_stress=True).energy_ev
    except Exception:  # noqa: BLE001 (an import refuses the folder, whatever it is)
        return None


def try_espresso(seed: int, folder: Path) -> float | None:
    text = mutate(pw_output(), pw_output(energy_ry=-14.0), random.Random(seed))
    run = _read(write_pw(folder / "run", text))
    return None if isinstance(run, str) else run.evaluation.energy_ev


def try_vasp(seed: int, folder: Path) -> float | None:
    other = VASPRUN.replace("e_fr_energy", "e_fr_energy").replace("-27.", "-26.")
    (folder / "vasprun.xml").write_text(mutate(VASPRUN, other, random.Random(seed)), encoding="ISO-8859-1")
    run = _read(folder)
    return None if isinstance(run, str) else run.evaluation.energy_ev


@pytest.mark.parametrize("attempt", [try_cp2k, try_espresso, try_vasp])
def test_a_mutated_output_never_gives_a_wrong_energy(
    attempt: Callable[[int, Path], float | None], tmp_path: Path
) -> None:
    write_potcar(tmp_path)
    right_ev = {try_cp2k: ENERGY * HARTREE_IN_EV, try_espresso: -15.5 * RYDBERG_IN_EV}.get(attempt)
    if right_ev is None:
        shutil.copy(str(files("ase") / "test" / "testdata" / "vasp" / "vasprun_dfpt.xml"), tmp_path / "vasprun.xml")
        run = _read(tmp_path)
        assert not isinstance(run, str)
        right_ev = run.evaluation.energy_ev
    found = {seed: attempt(seed, tmp_path) for seed in range(N_MUTATIONS)}
    wrong = {seed: energy for seed, energy in found.items() if energy is not None and abs(energy - right_ev) > 1e-3}
    assert wrong == {}
    assert sum(energy is None for energy in found.values()) > 0.2 * N_MUTATIONS
