"""Mutated outputs of codes: lines cut, numbers starred, runs appended, units changed.  Never a wrong energy.

None of these damages writes another energy, so that whatever is still read must be the one that the run had.
``QDIP_MUTATIONS=500`` tries more of them; the seeds are fixed.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from qdip_dft.by_hand.imports import _read
from qdip_dft.engines.cp2k.output import read_evaluation
from qdip_dft.units import HARTREE_IN_EV, RYDBERG_IN_EV
from tests.unit import gpaw_26
from tests.unit.test_finished_outputs import ATOMS, ENERGY, new_words, old_words, pw_output, write_pw
from tests.unit.test_finished_vasp import write_potcar
from tests.unit.vasp_5 import ENERGIES_EV, write_vasprun

N_MUTATIONS = int(os.environ.get("QDIP_MUTATIONS", "60"))

UNITS = ("kcalmol", "furlong", "GPa", "bar", "kbar", "keV/furlong")


def mutate(text: str, other: str, chance: random.Random) -> str:
    """Damage an output in one to three ways; the other one is a run with another energy."""
    for _ in range(chance.randint(1, 3)):
        text = chance.choice((cut_lines, cut_lines, star_number, change_unit, end_early))(text, chance)
    return chance.choice((text, text, other + text, text + other[: chance.randrange(len(other) * 9 // 10)]))


def cut_lines(text: str, chance: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    start = chance.randrange(len(lines) or 1)
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
    return text[: chance.randrange(len(text) or 1)] if chance.random() < 0.3 else text


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
    write_potcar(folder)
    text = mutate(write_vasprun(), write_vasprun(shift_ev=1.0), random.Random(seed))
    (folder / "vasprun.xml").write_text(text, encoding="ISO-8859-1")
    run = _read(folder)
    return None if isinstance(run, str) else run.evaluation.energy_ev


def try_gpaw(seed: int, folder: Path) -> float | None:
    """Damage the log, or the answer with the energy in all its digits."""
    chance = random.Random(seed)
    run_folder = gpaw_26.write_folder(folder / "run", gpaw_26.write_log())
    damaged = chance.choice((run_folder / "gpaw.txt", run_folder / "gpaw.txt", run_folder / "answer.json"))
    other = gpaw_26.write_folder(folder / "other", gpaw_26.write_log(energy_ev=5.0), energy_ev=5.0) / damaged.name
    damaged.write_text(mutate(damaged.read_text(encoding="utf-8"), other.read_text(encoding="utf-8"), chance))
    run = _read(run_folder)
    return None if isinstance(run, str) else run.evaluation.energy_ev


RIGHT_EV: dict[Callable[[int, Path], float | None], float] = {
    try_cp2k: ENERGY * HARTREE_IN_EV,
    try_espresso: -15.5 * RYDBERG_IN_EV,
    try_vasp: ENERGIES_EV[-1],
    try_gpaw: gpaw_26.ENERGY_EV,
}


@pytest.mark.parametrize("attempt", RIGHT_EV)
def test_a_mutated_output_never_gives_a_wrong_energy(
    attempt: Callable[[int, Path], float | None], tmp_path: Path
) -> None:
    right_ev = RIGHT_EV[attempt]
    found = {seed: attempt(seed, tmp_path) for seed in range(N_MUTATIONS)}
    wrong = {seed: energy for seed, energy in found.items() if energy is not None and abs(energy - right_ev) > 1e-3}
    assert wrong == {}
    assert 0.2 * N_MUTATIONS < sum(energy is None for energy in found.values()) < 0.95 * N_MUTATIONS
