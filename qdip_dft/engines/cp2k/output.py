"""What stands in an output of CP2K, in the units that it names.

The words are those of the releases since 8.1: up to 2024 energies and forces are in ``a.u.``, the stress in GPa; from
2025.1 on in ``hartree``, ``hartree/bohr`` and ``bar``, the forces in a table without elements.  An input may ask for
other units of force and stress, so that a unit is always read; one that is not known is refused.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from qdip_dft.engines.evaluation import Evaluation, FloatArray
from qdip_dft.engines.programs import last_run, read_text, require_same_atoms, unusable_output
from qdip_dft.model.structure import Arrangement
from qdip_dft.units import BOHR_IN_ANG, EV_PER_ANG3_IN_GPA, HARTREE_IN_EV, RYDBERG_IN_EV

BANNER = "CP2K| version string"

END = "PROGRAM ENDED AT"

KNOWN_MAJOR_VERSIONS = ("8", "9", "2022", "2023", "2024", "2025", "2026")
"""Releases whose words are known."""

FORCES_TITLE = re.compile(r"ATOMIC FORCES in \[(?P<old>[^\]]+)\]|FORCES\| Atomic forces \[(?P<new>[^\]]+)\]")

STRESS_TITLE = re.compile(r"STRESS\| Analytical stress tensor \[([^\]]+)\]")

ENERGY_LINE = re.compile(r"ENERGY\| Total FORCE_EVAL \([^)]*\) energy [\[(]([^\])]+)[\])]:?\s+(\S+)")

ENERGIES_IN_EV = {"a.u.": HARTREE_IN_EV, "hartree": HARTREE_IN_EV, "ry": RYDBERG_IN_EV, "ev": 1.0}

LENGTHS_IN_ANG = {"bohr": BOHR_IN_ANG, "angstrom": 1.0}

PRESSURES_IN_GPA = {"gpa": 1.0, "mpa": 1e-3, "pa": 1e-9, "kbar": 0.1, "bar": 1e-4, "atm": 1.01325e-4}


def read_evaluation(output: Path, arrangement: Arrangement, *, has_stress: bool) -> Evaluation:
    r"""Energy, forces and stress of the last run in an output file of CP2K.

    CP2K prints the stress :math:`-dE/d\varepsilon / V`, positive under pressure, and keeps the order of atoms.

    Parameters
    ----------
    output
        The file; CP2K writes a repeated run behind the one before it.
    arrangement
        What was asked.
    has_stress
        Whether the run was to give one.

    Raises
    ------
    EngineError
        If something of this is missing, in an unknown unit, or about other atoms.
    """
    text = last_run(read_text(output), BANNER)
    if text.count(END) != 1:
        raise unusable_output(output, "its last run is cut short, or the head of one is lost: it ends not once")
    try:
        return Evaluation(
            energy_ev=_energy_ev(text, output),
            forces_ev_per_ang=_forces_ev_per_ang(text, arrangement, output),
            stress_ev_per_ang3=_stress_ev_per_ang3(text, output) if has_stress else None,
        )
    except ValueError as error:
        raise unusable_output(output, f"a number in it cannot be read ({error})") from error


def _energy_ev(text: str, output: Path) -> float:
    found = ENERGY_LINE.findall(text)
    if not found:
        raise unusable_output(output, "it has no energy")
    unit, number = found[-1]
    return float(number) * _factor(unit, ENERGIES_IN_EV, output)


def _forces_ev_per_ang(text: str, arrangement: Arrangement, output: Path) -> FloatArray:
    titles = list(FORCES_TITLE.finditer(text))
    if not titles:
        raise unusable_output(output, "it has no forces: print them with &FORCE_EVAL &PRINT &FORCES")
    title = titles[-1]
    table = text[title.end() :]
    if title["old"] is not None:
        rows = _rows(r" *\d+ +\d+ +([A-Z][a-z]?) +(\S+) +(\S+) +(\S+) *", table.split("SUM OF ATOMIC FORCES")[0])
        species = [row[0] for row in rows]
    else:
        rows = _rows(r" *FORCES\| +(\d+) +(\S+) +(\S+) +(\S+) +\S+ *", table.split("FORCES| Sum")[0])
        species = _listed_species(text)
    require_same_atoms(species or arrangement.species, arrangement, output)
    if len(rows) != arrangement.n_atoms:
        raise unusable_output(output, f"it has forces on {len(rows)} of {arrangement.n_atoms} atoms")
    forces = np.array([row[1:] for row in rows], dtype=np.float64)
    return np.asarray(forces * _force_factor(title["old"] or title["new"], output))


def _rows(pattern: str, table: str) -> list[tuple[str, ...]]:
    return re.findall(rf"^{pattern}$", table, flags=re.MULTILINE)


def _listed_species(text: str) -> list[str]:
    """Elements of the table of coordinates at the start; nothing where the print level leaves it out."""
    table = re.split(r"ATOMIC COORDINATES IN ANGSTROM", text, flags=re.IGNORECASE)
    if len(table) == 1:
        return []
    rows = _rows(r" +\d+ +\d+ +([A-Z][a-z]?) +(\d+)(?: +\S+){5} *", table[1].split("SCF PARAMETERS")[0])
    return [row[0] for row in rows]


def _stress_ev_per_ang3(text: str, output: Path) -> FloatArray:
    titles = list(STRESS_TITLE.finditer(text))
    if not titles:
        raise unusable_output(output, "it has no stress: print it with &FORCE_EVAL &PRINT &STRESS_TENSOR")
    rows = _rows(r" *STRESS\| +([xyz]) +(\S+) +(\S+) +(\S+) *", text[titles[-1].end() :])[:3]
    if [row[0] for row in rows] != ["x", "y", "z"]:
        raise unusable_output(output, "its stress is not complete")
    stress_gpa = np.array([row[1:] for row in rows], dtype=np.float64)
    return np.asarray(-stress_gpa * _factor(titles[-1][1], PRESSURES_IN_GPA, output) / EV_PER_ANG3_IN_GPA)


def _force_factor(unit: str, output: Path) -> float:
    """Factor to eV/Å of ``a.u.`` or of an energy over a length."""
    energy, slash, length = unit.strip().lower().partition("/")
    if not slash:
        return HARTREE_IN_EV / BOHR_IN_ANG * _factor(unit, {"a.u.": 1.0}, output)
    return _factor(energy, ENERGIES_IN_EV, output, said=unit) / _factor(length, LENGTHS_IN_ANG, output, said=unit)


def _factor(unit: str, known: dict[str, float], output: Path, *, said: str = "") -> float:
    factor = known.get(unit.strip().lower())
    if factor is None:
        raise unusable_output(output, f"its unit [{said or unit}] is not known")
    return factor
