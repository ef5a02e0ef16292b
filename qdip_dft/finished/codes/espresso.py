"""Finished calculations of Quantum ESPRESSO: the input of ``pw.x`` and its output, whatever their names.

Functional, cutoffs, smearing, Γ's weight and the checksums of the pseudopotentials are read from the output, where the
code says what it did; everything else from the input.  An output that disagrees with the input beside it is refused.
"""

from __future__ import annotations

import hashlib
import re
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qdip_dft.engines.code_run import Setting
from qdip_dft.engines.espresso.engine import (
    UNCONVERGED,
    EspressoEngine,
    dipole_correction,
    find_pseudopotential,
    pseudopotential_folder,
    read_evaluation,
)
from qdip_dft.engines.programs import last_run, unusable_output
from qdip_dft.finished.finished_run import (
    D3BJ_IN_CODE,
    DISPERSION,
    NO_DISPERSION,
    NOT_SET,
    PLACE,
    FinishedRun,
    Settings,
    Value,
    describe_mesh,
    find_one,
    read_all,
    require_convergence,
    require_equal,
)
from qdip_dft.model.structure import Arrangement
from qdip_dft.units import BOHR_IN_ANG, RYDBERG_IN_EV

if TYPE_CHECKING:
    from ase import Atoms

INDICES_OF_FUNCTIONAL = {"PBE": "1 4 3 4 0 0 0", "PBEsol": "1 4 10 8 0 0 0"}
"""What ``pw.x`` prints for exchange, correlation, their gradient corrections and what else there may be."""

SMEARINGS = {
    "gaussian": ("gaussian", "gauss", "gaus"),
    "methfessel-paxton": ("methfessel-paxton", "m-p", "mp"),
    "marzari-vanderbilt": ("marzari-vanderbilt", "cold", "m-v", "mv"),
    "fermi-dirac": ("fermi-dirac", "f-d", "fd"),
}

READ_ELSEWHERE = frozenset({
    "calculation", "ecutwfc", "ecutrho", "degauss", "input_dft", "occupations", "smearing", "conv_thr",
    "vdw_corr", "london", "dftd3_version", "dftd3_threebody", "ibrav", "nat", "ntyp", "a", "b", "c", "cosab", "cosac",
    "cosbc",
})  # fmt: skip
"""Keywords whose meaning is taken from the output, the structure, or several of them together."""

NUMERICS = frozenset({
    "adaptive_thr", "conv_thr_init", "conv_thr_multi", "diago_cg_maxiter", "diago_david_ndim", "diago_full_acc",
    "diago_thr_init", "diagonalization", "electron_maxstep", "mixing_beta", "mixing_mode", "mixing_ndim", "nbnd",
    "no_t_rev", "noinv", "nosym", "nosym_evc", "force_symmorphic", "use_all_frac", "startingpot", "startingwfc",
    "restart_mode", "scf_must_converge", "etot_conv_thr", "forc_conv_thr", "nstep",
})  # fmt: skip

BOOKKEEPING = frozenset({
    "title", "verbosity", "outdir", "wfcdir", "prefix", "pseudo_dir", "max_seconds", "disk_io", "iprint", "tstress",
    "tprnfor", "wf_collect", "dt", "lkpoint_dir", "report",
})  # fmt: skip
"""Keywords that change neither the energy nor the way to it."""

MOVEMENT = frozenset({"ions", "cell"})
"""Namelists of a relaxation: what they led to is checked at its end, except for a pressure."""

DEFAULTS: dict[str, Value] = {
    "assume_isolated": "none",
    "lda_plus_u": False,
    "lspinorb": False,
    "noncolin": False,
    "nspin": 1,
    "press": 0.0,
    "real_space": False,
    "tefield": False,
    "dipfield": False,
    "tot_charge": 0.0,
    "tqr": False,
}
"""What a keyword of physics means when it is left out: the same as when it is written so."""

BECKE_JOHNSON = 4
"""The number of this damping in ``dftd3_version``; 3 is another one."""

RELAXATIONS = ("relax", "vc-relax")

BANNER = "Program PWSCF"

Namelists = dict[str, dict[str, Value]]


def find_output(folder: Path) -> Path | None:
    """Return the output of ``pw.x`` in a folder; None if there is none."""
    return find_one(folder, BANNER, what="pw.x output")


def read_run(folder: Path) -> FinishedRun:
    """Return the finished calculation of a folder, as `readers.read_run` does."""
    output = find_output(folder) or folder / "pw.out"
    text = last_run(read_all(output), BANNER)
    _require_complete(text, output)
    source = find_one(folder, "&system", what="pw.x input")
    if source is None:
        raise unusable_output(folder, "it holds no input of pw.x")
    namelists, cards = read_input(read_all(source))
    kind = str(namelists.get("control", {}).get("calculation", "scf"))
    if kind not in ("scf", *RELAXATIONS):
        raise unusable_output(output, f"calculation = {kind!r} has no energy that a study asks for")
    images = _read_images(text, output)
    if kind == "scf" and len(images) != 1:
        raise unusable_output(output, f"it holds {len(images)} structures with forces, calculation = 'scf' has one")
    start, held = _read_start(namelists, cards, images[0], output)
    final = images[-1]
    arrangement = Arrangement(start.species, np.array(final.positions), np.array(final.cell))
    if kind != "vc-relax":
        arrangement = Arrangement(start.species, arrangement.positions_ang, start.lattice_ang)
    if kind == "scf":
        arrangement = start
    require_convergence(_accuracy_ev(text), start.n_atoms, output)
    return FinishedRun(
        folder=folder,
        engine=EspressoEngine.name,
        code_version=re.findall(r"Program PWSCF v\.?(\S+)", text)[-1],
        start=start,
        final=arrangement,
        evaluation=read_evaluation(final, arrangement, output),
        settings=_settings(namelists, cards, text, output),
        n_steps=len(images) - 1,
        is_relaxation=kind in RELAXATIONS,
        held=held,
    )


def expected_settings(engine: EspressoEngine, setting: Setting, arrangement: Arrangement) -> Settings:
    """Return the settings that the engine itself would run an arrangement with (mesh and vacuum in `setting`)."""
    folder = pseudopotential_folder(engine.functional)
    files = {symbol: find_pseudopotential(folder, symbol) for symbol in sorted(set(arrangement.species))}
    own: dict[str, Value] = {"tefield": True, "dipfield": True} if setting.vacuum is not None else {}
    if setting.vacuum is not None:
        own |= dipole_correction(setting.vacuum)
        own[PLACE] = own.pop("emaxpos")
    if engine.spin_orbit:
        own |= {"noncolin": True, "lspinorb": True}
    physics: dict[str, Value] = {
        "functional": engine.functional,
        "k-points": describe_mesh(setting.k_mesh),
        "ecutwfc (Ry)": engine.cutoff_ev / RYDBERG_IN_EV,
        "ecutrho (Ry)": 4.0 * engine.cutoff_ev / RYDBERG_IN_EV,
        "smearing": "gaussian",
        "degauss (Ry)": engine.smearing_width_ev / RYDBERG_IN_EV,
        DISPERSION: NO_DISPERSION,
        **{f"pseudopotential of {symbol} (MD5)": _md5(path) for symbol, path in files.items()},
        **own,
    }
    return Settings(physics=physics, numerics={"mixing_beta": 0.7, "electron_maxstep": 100})


def read_input(text: str) -> tuple[Namelists, list[str]]:
    """Return the namelists of an input in small letters, and the lines of its cards.

    ASE's reader cuts strings at a slash and loses what follows on the line.

    Parameters
    ----------
    text
        The input.
    """
    string = r"'[^'\n]*'|\"[^\"\n]*\""
    clean = re.sub(rf"({string})|[!#][^\n]*", lambda found: found[1] or "", text)
    namelists: Namelists = {}
    end = 0
    for found in re.finditer(rf"^\s*&(\w+)((?:{string}|[^'\"/])*)/", clean, flags=re.MULTILINE):
        assignments = re.findall(rf"([A-Za-z_]\w*(?:\([^)]*\))?)\s*=\s*({string}|[^\s,'\"]+)", found[2])
        namelists[found[1].lower()] = {name.lower().replace(" ", ""): _convert(word) for name, word in assignments}
        end = found.end()
    return namelists, [line.strip() for line in clean[end:].splitlines() if line.strip()]


def _convert(word: str) -> Value:
    if word[0] in "'\"":
        return word[1:-1].strip().lower()
    if word.lower().strip(".") in ("true", "t", "false", "f"):
        return word.lower().strip(".")[0] == "t"
    try:
        return float(word.lower().replace("d", "e"))
    except ValueError:
        return word


def _require_complete(text: str, output: Path) -> None:
    if BANNER not in text or "JOB DONE" not in text:
        raise unusable_output(output, "it is missing or cut short")
    if text.count("JOB DONE") > 1:
        raise unusable_output(output, "the head of its last run is lost: two runs stand in one")
    if "Maximum CPU time exceeded" in text:
        raise unusable_output(output, "the code stopped itself before it was done")
    if UNCONVERGED in text:
        raise unusable_output(output, "a density in it is not self-consistent")


def _accuracy_ev(text: str) -> float:
    """Return the code's own bound for the error of its last energy, in eV."""
    found = re.findall(r"estimated scf accuracy\s+<\s+(\S+) Ry", text)
    return float(found[-1]) * RYDBERG_IN_EV if found else np.inf


def _read_images(text: str, output: Path) -> list[Atoms]:
    """Return every structure of a run that has forces."""
    from ase.io import iread

    try:
        images = [image for image in iread(StringIO(text), format="espresso-out") if "forces" in image.calc.results]
    except Exception as error:  # the readers of pymatgen and ASE raise of every kind on a damaged file
        raise unusable_output(output, "it cannot be read") from error
    if not images:
        raise unusable_output(output, "it has no forces: set tprnfor = .true.")
    return images


def _read_start(
    namelists: Namelists, cards: list[str], first: Atoms, output: Path
) -> tuple[Arrangement, frozenset[int]]:
    """Return where a calculation began, to the digits of its input, and the sites that it was to hold."""
    from ase.io.espresso import get_atomic_positions, get_cell_parameters

    system = namelists.get("system", {})
    alat = system.get("celldm(1)")
    alat_ang = float(str(alat)) * BOHR_IN_ANG if alat is not None else system.get("a")
    try:
        cell = get_cell_parameters(cards, alat=alat_ang)[0] if system.get("ibrav") == 0 else np.array(first.cell)
        rows = get_atomic_positions(cards, n_atoms=len(first), cell=cell, alat=alat_ang)
    except Exception as error:  # the readers of pymatgen and ASE raise of every kind on a damaged file
        raise unusable_output(output, "the structure in its input cannot be read") from error
    start = Arrangement(tuple(first.get_chemical_symbols()), np.array([row[1] for row in rows]), np.array(cell))
    moved = np.linalg.solve(start.lattice_ang.T, (start.positions_ang - first.positions).T).T
    if np.abs((moved - np.round(moved)) @ start.lattice_ang).max() > 1e-3:
        raise unusable_output(output, "it was made by another input: its atoms are elsewhere")
    held = frozenset(i for i, row in enumerate(rows) if row[2] is not None and not all(row[2]))
    return start, held


def _settings(namelists: Namelists, cards: list[str], text: str, output: Path) -> Settings:
    system = namelists.get("system", {})
    physics: dict[str, Value] = {
        "functional": _functional(text),
        "k-points": _mesh(cards, text, output),
        "ecutwfc (Ry)": _number(r"kinetic-energy cutoff\s+=\s+(\S+)\s+Ry", text),
        "ecutrho (Ry)": _number(r"charge density cutoff\s+=\s+(\S+)\s+Ry", text),
        "smearing": _smearing(system),
        "degauss (Ry)": system.get("degauss", 0.0),
        DISPERSION: _dispersion(system),
    }
    require_equal("ecutwfc", physics["ecutwfc (Ry)"], system.get("ecutwfc"), tolerance=1e-3, output=output)
    width = re.findall(r"smearing, width \(Ry\)=\s+(\S+)", text)
    said = float(width[-1]) if width else 0.0
    require_equal("degauss", said, physics["degauss (Ry)"], tolerance=1e-4, output=output)
    for label, md5 in re.findall(
        r"PseudoPot\. # *\d+ for +(\S+) +read from file:.*?MD5 check sum: (\w+)", text, re.DOTALL
    ):
        physics[f"pseudopotential of {re.split(r'[^A-Za-z]', label)[0].capitalize()} (MD5)"] = md5
    others, numerics = _sort_others(namelists)
    for card in cards:
        if re.match(r"(?i)(hubbard|occupations|additional_k_points|atomic_forces|solvents)\b", card):
            others[f"card {card.split()[0].upper()}"] = "present"
    return Settings(physics=physics | others, numerics=numerics)


def _sort_others(namelists: Namelists) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return every other keyword, those of the physics first; what is written at its default is left out."""
    physics: dict[str, Value] = {}
    numerics: dict[str, Value] = {}
    for namelist, content in namelists.items():
        for name, value in content.items():
            if name in READ_ELSEWHERE | BOOKKEEPING or name.startswith("celldm"):
                continue
            if name in NUMERICS:
                numerics[name] = value
            elif (namelist not in MOVEMENT or name == "press") and value != DEFAULTS.get(name):
                physics[name] = value
    if physics.get("tefield"):
        physics[PLACE] = physics.pop("emaxpos", 0.5)
        physics = {"edir": NOT_SET, "eopreg": 0.1, "eamp": 0.001, **physics}
    return physics, numerics


def _functional(text: str) -> str:
    """Return the functional by the numbers that the code prints, whatever it calls it."""
    found = re.findall(r"Exchange-correlation\s*=\s*(.*?)\(([\d\s]+)\)", text, flags=re.DOTALL)
    if not found:
        return "unknown"
    name, numbers = found[-1]
    indices = " ".join(numbers.split())
    return next((each for each, known in INDICES_OF_FUNCTIONAL.items() if known == indices), " ".join(name.split()))


def _smearing(system: dict[str, Value]) -> str:
    occupations = str(system.get("occupations", "fixed"))
    if occupations != "smearing":
        return f"none, occupations are {occupations}"
    word = str(system.get("smearing", "gaussian"))
    return next((name for name, words in SMEARINGS.items() if word in words), word)


def _dispersion(system: dict[str, Value]) -> str:
    word = str(system.get("vdw_corr", "grimme-d2" if system.get("london") is True else "none"))
    if word not in ("grimme-d3", "dft-d3"):
        return NO_DISPERSION if word == "none" else word
    version = int(float(str(system.get("dftd3_version", 3))))
    if version != BECKE_JOHNSON:
        return f"d3, version {version}"
    return D3BJ_IN_CODE if system.get("dftd3_threebody", True) is False else "d3bj with three-body terms"


def _mesh(cards: list[str], text: str, output: Path) -> str:
    """Return the mesh of the input, after a look at the points that the output lists."""
    at = next((i for i, card in enumerate(cards) if card.lower().startswith("k_points")), None)
    if at is None:
        return "unknown"
    kind = re.sub(r"(?i)k_points|[{}()\s]", "", cards[at]).lower()
    if kind == "gamma":
        return describe_mesh((1, 1, 1))
    if kind != "automatic":
        return f"a list of {cards[at + 1].split()[0]} points"
    numbers = [int(word) for word in cards[at + 1].split()[:6]]
    mesh, shift = numbers[:3], numbers[3:]
    listed = re.findall(r"k\( *\d+\) = \((.*?)\), wk = +(\S+)", text)
    weights = [float(weight) for _, weight in listed[: int(_number(r"number of k points= +(\d+)", text))]]
    if weights and not any(shift) and not any(float(word) for word in listed[0][0].split()):
        # No symmetry maps another point on Γ: its share of the weights is that of one point of the whole mesh.
        n_points = round(sum(weights) / weights[0])
        require_equal("number of k-points", n_points, int(np.prod(mesh)), output=output)
    return describe_mesh(mesh, [each / 2.0 for each in shift])


def _number(pattern: str, text: str) -> float:
    found = re.findall(pattern, text)
    return float(found[-1]) if found else float("nan")


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
