"""Finished calculations of GPAW: its log, and the energy of `qdip inputs`' answer, a trajectory of ASE or a .gpw file.

The log says what GPAW did: version, functional, cutoff, k-points, occupation, boundaries and the checksum of every
data set.  Energies, forces and places come with all digits from ``answer.json``, else from the trajectory (the only
file with the start of a relaxation), else from the .gpw file; the log must end with the same energy.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from qdip_dft.engines.code_run import Setting
from qdip_dft.engines.evaluation import Evaluation
from qdip_dft.engines.gpaw.engine import DATA_SETS, NAMES_IN_LIBXC, GpawEngine, data_set_folders, find_data_set
from qdip_dft.engines.gpaw.engine import NUMERICS as OWN_NUMERICS
from qdip_dft.engines.gpaw.worker import SYMMETRY_TOLERANCE_ANG
from qdip_dft.engines.programs import last_run, unusable_output
from qdip_dft.finished.finished_run import (
    DISPERSION,
    NO_DISPERSION,
    PACKED,
    FinishedRun,
    Settings,
    Value,
    describe_mesh,
    find_file,
    find_one,
    monkhorst_offset,
    read_all,
    require_convergence,
    require_equal,
)
from qdip_dft.model.structure import Arrangement

if TYPE_CHECKING:
    from ase import Atoms

MARK = r"|__||  | ||/\| - "

FORMER_MARK = " |__ |  _|___|_____| "
"""The head of a log by GPAW's former backend: the only one up to 25.7, ``legacy_gpaw=True`` in later versions."""

NUMERICS = frozenset(
    {"basis", "eigensolver", "maxiter", "mixer", "nbands", "parallel", "random", "symmetry", "verbose"}
)

READ_ELSEWHERE = frozenset({
    "charge", "convergence", "kpts", "mode", "occupations", "poissonsolver", "setups", "spinpol", "txt", "xc",
})  # fmt: skip
"""Parameters whose meaning is read where the log says what became of them."""

LOG_DIGITS_EV = 2e-6


@dataclass(frozen=True, slots=True)
class _Source:
    """Where energies and places stand."""

    start: Arrangement
    final: Arrangement
    evaluation: Evaluation
    n_steps: int
    is_relaxation: bool
    held: frozenset[int]


def find_output(folder: Path) -> Path | None:
    """Return GPAW's log in a folder; None if there is none."""
    return find_one(folder, MARK, what="GPAW log") or find_one(folder, FORMER_MARK, what="GPAW log")


def read_run(folder: Path) -> FinishedRun:
    """Return the finished calculation of a folder, as `readers.read_run` does."""
    log = find_output(folder) or folder / "gpaw.txt"
    whole = read_all(log)
    if FORMER_MARK in whole:
        raise unusable_output(log, "it is a log of GPAW's former backend, whose words are not read")
    text = last_run(whole, MARK)
    energies_ev = [float(word) for word in re.findall(r"^ *Free energy: +(\S+)$", text, flags=re.MULTILINE)]
    if not energies_ev:
        raise unusable_output(log, "it is missing or cut short")
    source = _read_source(folder, log)
    tables = re.split(r"^SCF iterations", text, flags=re.MULTILINE)
    if "Converged in" not in tables[-1] or "Did not converge" in text:
        raise unusable_output(log, "its density is not self-consistent")
    require_equal("the energy", source.evaluation.energy_ev, energies_ev[-1], output=log, tolerance=LOG_DIGITS_EV)
    require_convergence(last_change_ev(tables[-1]), source.start.n_atoms, log)
    return FinishedRun(
        folder=folder,
        engine=GpawEngine.name,
        code_version=re.findall(rf"{re.escape(MARK)}(\S+)", text)[-1],
        start=source.start,
        final=source.final,
        evaluation=source.evaluation,
        settings=_settings(text, log),
        n_steps=source.n_steps,
        is_relaxation=source.is_relaxation,
        held=source.held,
    )


def last_change_ev(table: str) -> float:
    """Largest difference of the last three energies of a density, in eV; infinite where there are fewer.

    Parameters
    ----------
    table
        What the log says of one density.
    """
    energies_ev = [float(word) for word in re.findall(r"iter: *\d+\|[^|]*\| *(-?\d+\.\d+)c? *\|", table)][-3:]
    return max(energies_ev) - min(energies_ev) if len(energies_ev) == 3 else float("inf")


def expected_settings(engine: GpawEngine, setting: Setting, arrangement: Arrangement) -> Settings:
    """Return the settings that the engine itself would run an arrangement with (mesh and vacuum in `setting`)."""
    folders = data_set_folders()
    family = DATA_SETS[engine.functional]
    files = {symbol: find_data_set(folders, symbol, family) for symbol in sorted(set(arrangement.species))}
    is_slab = setting.vacuum is not None
    return Settings(
        physics={
            "functional": NAMES_IN_LIBXC.get(engine.functional, engine.functional),
            "k-points": describe_mesh(setting.k_mesh),
            "mode": "pw",
            "ecut (eV)": engine.cutoff_ev,
            "occupations": "methfessel-paxton of order 0",
            "width (eV)": engine.smearing_width_ev,
            "charge": 0.0,
            "spin components": 1,
            "periodic": "yes yes no" if is_slab else "yes yes yes",
            "dipole layer": "xy" if is_slab else "none",
            DISPERSION: NO_DISPERSION,
            **{f"data set of {symbol} (MD5)": _md5(path) for symbol, path in files.items()},
        },
        numerics={
            "symmetry": f"Symmetry(tolerance={SYMMETRY_TOLERANCE_ANG})",
            **{name: str(value) for name, value in OWN_NUMERICS.items()},
        },
    )


def _md5(path: Path) -> str:
    """Return the checksum that GPAW prints: that of the data set, not compressed."""
    content = path.read_bytes()
    plain = gzip.decompress(content) if path.suffix == ".gz" else content
    return hashlib.md5(plain, usedforsecurity=False).hexdigest()


def _read_source(folder: Path, log: Path) -> _Source:
    question, answer = (find_file(folder / name) for name in ("question.json", "answer.json"))
    if question.is_file() and answer.is_file():
        return _read_answer(json.loads(read_all(question)), json.loads(read_all(answer)), answer)
    trajectories, states = (_list_files(folder, ending) for ending in (".traj", ".gpw"))
    if len(trajectories) > 1 or (not trajectories and len(states) != 1):
        raise unusable_output(
            folder,
            f"it holds {len(trajectories)} trajectories and {len(states)} .gpw files beside {log.name}, one is needed",
        )
    with _unpacked((trajectories or states)[0]) as path:
        return _read_trajectory(path) if trajectories else _read_state(path)


def _list_files(folder: Path, ending: str) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.name.endswith((ending, *(ending + p for p in PACKED)))]


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """A file that ASE can read: itself, or what it was compressed from, under the same name."""
    from monty.io import zopen

    if path.suffix not in PACKED:
        yield path
        return
    with TemporaryDirectory() as folder, zopen(path, "rb") as packed:
        plain = Path(folder) / path.stem
        plain.write_bytes(bytes(packed.read()))
        yield plain


def _read_answer(question: dict[str, Any], answer: dict[str, Any], path: Path) -> _Source:
    if "energy_ev" not in answer:
        raise unusable_output(path, f"it has no energy: {answer.get('failure', 'the run did not end')}")
    atoms = Arrangement(
        tuple(question["species"]), np.array(question["positions_ang"]), np.array(question["lattice_ang"])
    )
    evaluation = Evaluation(
        energy_ev=answer["energy_ev"],
        forces_ev_per_ang=np.array(answer["forces_ev_per_ang"]),
        stress_ev_per_ang3=np.array(answer["stress_ev_per_ang3"]),
    )
    return _Source(atoms, atoms, evaluation, n_steps=0, is_relaxation=False, held=frozenset())


def _read_trajectory(path: Path) -> _Source:
    from ase.io.trajectory import Trajectory

    with Trajectory(str(path)) as images:
        kind = (images.description or {}).get("type")
        first, last, n_images = images[0], images[-1], len(images)
    if kind == "molecular-dynamics":
        raise unusable_output(path, "it is molecular dynamics")
    return _Source(
        start=_arrangement_of(first),
        final=_arrangement_of(last),
        evaluation=_evaluation_of(last, path),
        n_steps=n_images - 1,
        is_relaxation=kind == "optimization" or n_images > 1,
        held=_held(first),
    )


def _read_state(path: Path) -> _Source:
    from ase.io.gpw import read_gpw

    atoms: Atoms = read_gpw(str(path))
    arrangement = _arrangement_of(atoms)
    return _Source(
        arrangement, arrangement, _evaluation_of(atoms, path), n_steps=0, is_relaxation=False, held=_held(atoms)
    )


def _arrangement_of(atoms: Atoms) -> Arrangement:
    return Arrangement(tuple(atoms.get_chemical_symbols()), np.array(atoms.positions), np.array(atoms.cell))


def _evaluation_of(atoms: Atoms, path: Path) -> Evaluation:
    from ase.stress import voigt_6_to_full_3x3_stress

    results = {} if atoms.calc is None else atoms.calc.results
    if "free_energy" not in results or "forces" not in results:
        raise unusable_output(path, "it has no energy or no forces: call get_forces() before the file is written")
    stress = results.get("stress")
    return Evaluation(
        energy_ev=float(results["free_energy"]),
        forces_ev_per_ang=np.array(results["forces"]),
        stress_ev_per_ang3=None if stress is None else voigt_6_to_full_3x3_stress(stress),
    )


def _held(atoms: Atoms) -> frozenset[int]:
    """Return the sites that are fixed; a constraint of another kind is taken as one on all of them."""
    from ase.constraints import FixAtoms

    if all(isinstance(each, FixAtoms) for each in atoms.constraints):
        return frozenset(int(i) for each in atoms.constraints for i in each.index)
    return frozenset(range(len(atoms)))


def _settings(text: str, log: Path) -> Settings:
    blocks = set(re.findall(r"^Input parameters:\n(.*?)\n\n", text, flags=re.MULTILINE | re.DOTALL))
    if len(blocks) != 1:
        raise unusable_output(log, f"it holds {len(blocks)} sets of input parameters")
    parameters = dict(re.findall(r"^  (\w+)=(.*?),?$", blocks.pop(), flags=re.MULTILINE))
    occupations = parameters.get("occupations", "")
    mode = parameters.get("mode", "")
    dipole = re.search(r"dipolelayer='(\w+)'", parameters.get("poissonsolver", ""))
    physics: dict[str, Value] = {
        "functional": _find(r"^xc functional:\n +name: (.*?)(?: with .*)?$", text),
        "k-points": _mesh(text),
        "mode": _mode(mode),
        "ecut (eV)": float(_find(r"^Cutoff: (\S+) eV", text, default="nan")),
        "occupations": _occupation(text),
        "width (eV)": float(
            _find(r"width=([\d.e-]+)", occupations, default=_find(r"width: +(\S+)", text, default="0"))
        ),
        "charge": float(_find(r"^ +Charge: (\S+)", text, default="nan")),
        "spin components": int(_find(r"^Spin-components: (\d)", text, default="0")),
        "periodic": " ".join(re.findall(r"^\| +(yes|no) \|", text, flags=re.MULTILINE)[:3]),
        "dipole layer": dipole[1] if dipole else "none",
        DISPERSION: NO_DISPERSION,
    }
    for symbol, md5 in re.findall(r"^  (\w+):\n    name: .*?\n    id: +(\w+)", text, flags=re.MULTILINE):
        physics[f"data set of {symbol} (MD5)"] = md5
    physics |= {name: value for name, value in parameters.items() if name not in NUMERICS | READ_ELSEWHERE}
    if ":" in parameters.get("setups", "").replace("': '", ""):  # a Hubbard term stands after a colon
        physics["setups"] = parameters["setups"]
    return Settings(physics=physics, numerics={name: v for name, v in parameters.items() if name in NUMERICS})


def _find(pattern: str, text: str, *, default: str = "unknown") -> str:
    found = re.search(pattern, text, flags=re.MULTILINE)
    return found[1] if found else default


def _mode(words: str) -> str:
    """Return the mode, with what else than its cutoff is said about it."""
    name, _, inside = words.partition("(")
    others = [each.strip() for each in inside.rstrip(")").split(",") if each.strip() and "ecut" not in each]
    return " ".join([name.lower() or "unknown", *others])


def _occupation(text: str) -> str:
    found = re.search(
        r"^occupation numbers:\n +(.*?):?\n(?: +width: .*\n)?(?: +order: (\d+))?", text, flags=re.MULTILINE
    )
    if found is None:
        return "unknown"
    return found[1].lower() + ("" if found[2] is None else f" of order {found[2]}")


def _mesh(text: str) -> str:
    """Return the mesh of the log; its shift is counted from that of Monkhorst and Pack, in reciprocal vectors."""
    size = re.search(r"Monkhorst-Pack size: \[(\d+), (\d+), (\d+)\]", text)
    if size is None:
        n_points = _find(r"Number of BZ points: (\d+)", text)
        return describe_mesh((1, 1, 1)) if n_points == "1" and "(  0.0000" in text else f"a list of {n_points} points"
    mesh = [int(word) for word in size.groups()]
    shift = re.search(r"Monkhorst-Pack shift: \[(\S+), (\S+), (\S+)\]", text)
    moved = [0.0] * 3 if shift is None else [float(word) for word in shift.groups()]
    offset = [each + n * by for each, n, by in zip(monkhorst_offset(mesh), mesh, moved, strict=True)]
    return describe_mesh(mesh, offset)
