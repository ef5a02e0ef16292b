"""Finished calculations of CP2K: its input and its output, whatever their names.

What an output says about its settings depends on its print level, so they are read from the input, and whatever the
output does say must agree.  Pseudopotentials and basis sets are compared by their numbers: the entries of the files
that the input names.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from qdip_dft.engines.code_run import Setting
from qdip_dft.engines.cp2k.data import data_folder, find_entry
from qdip_dft.engines.cp2k.engine import DENSITY_THRESHOLD, Cp2kEngine, Cp2kRun, configured_command
from qdip_dft.engines.cp2k.input import fold_mesh
from qdip_dft.engines.cp2k.output import BANNER, ENERGY_LINE, FORCES_TITLE, STRESS_TITLE, read_evaluation
from qdip_dft.engines.programs import last_run, unusable_output
from qdip_dft.finished.codes.cp2k_atoms import element_of, find_held, read_end, read_start
from qdip_dft.finished.codes.cp2k_words import DFT, SUBSYS, Line, find_all, find_last, is_on, read_lines, read_text
from qdip_dft.finished.finished_run import (
    D3BJ_IN_CODE,
    DISPERSION,
    NO_DISPERSION,
    PLACE,
    FinishedRun,
    Settings,
    Value,
    describe_mesh,
    find_file,
    find_one,
    monkhorst_offset,
    read_all,
    require_equal,
)
from qdip_dft.model.structure import Arrangement

CUTOFF = "CUTOFF (Ry)"

KELVIN = "ELECTRONIC_TEMPERATURE (K)"

PAIRS = f"{DFT}XC/VDW_POTENTIAL/PAIR_POTENTIAL/"

TEMPERATURES = tuple(f"{DFT}SCF/SMEAR/{name}" for name in ("ELECTRONIC_TEMPERATURE", "ELEC_TEMP", "TEMPERATURE"))

BOOKKEEPING = (
    "GLOBAL/", "MOTION/", "FORCE_EVAL/STRESS_TENSOR", "FORCE_EVAL/PRINT/", f"{DFT}PRINT/", f"{DFT}SCF/PRINT/",
    f"{DFT}WFN_RESTART_FILE_NAME", f"{DFT}RESTART_FILE_NAME", f"{SUBSYS}PRINT/", f"{SUBSYS}TOPOLOGY/",
    f"{SUBSYS}COORD/", f"{SUBSYS}VELOCITY/", f"{SUBSYS}CELL/SYMMETRY",
)  # fmt: skip
"""What is printed where, how atoms move (what it led to is checked), and where their places come from."""

NUMERICS = (
    f"{DFT}SCF/", f"{DFT}QS/EXTRAPOLATION", f"{DFT}QS/EXTRAPOLATION_ORDER", f"{DFT}KPOINTS/EPS_GEO",
    f"{DFT}KPOINTS/VERBOSE", f"{DFT}KPOINTS/SYMMETRY", f"{DFT}KPOINTS/FULL_GRID", f"{DFT}KPOINTS/WAVEFUNCTIONS",
    f"{DFT}KPOINTS/PARALLEL_GROUP_SIZE",
)  # fmt: skip
"""How the ground state is found; the smearing inside of it is read from the output."""

READ_ELSEWHERE = (
    f"{DFT}BASIS_SET_FILE_NAME", f"{DFT}POTENTIAL_FILE_NAME", f"{DFT}CHARGE", f"{DFT}MULTIPLICITY", f"{DFT}UKS",
    f"{DFT}LSD", f"{DFT}UNRESTRICTED_KOHN_SHAM", f"{DFT}MULTIP", f"{DFT}MGRID/CUTOFF", f"{DFT}MGRID/REL_CUTOFF",
    f"{DFT}XC/VDW_POTENTIAL/", f"{DFT}KPOINTS/SCHEME", f"{DFT}KPOINTS/KPOINT", f"{DFT}SCF/SMEAR/METHOD", *TEMPERATURES,
    f"{DFT}SURF_DIP_POS",
    f"{SUBSYS}CELL/A", f"{SUBSYS}CELL/B", f"{SUBSYS}CELL/C", f"{SUBSYS}CELL/ABC", f"{SUBSYS}CELL/ALPHA_BETA_GAMMA",
)  # fmt: skip

DEFAULTS = {
    "FORCE_EVAL/METHOD": ("QS", "QUICKSTEP"),
    f"{DFT}QS/METHOD": ("GPW",),
    f"{DFT}QS/EPS_DEFAULT": ("1E-10", "1.0E-10", "1.0E-010", "1.00E-10"),
    f"{DFT}MGRID/NGRIDS": ("4",),
    f"{DFT}KPOINTS/UNITS": ("B_VECTOR",),
    f"{SUBSYS}CELL/MULTIPLE_UNIT_CELL": ("1 1 1",),
    f"{DFT}POISSON/PERIODIC": ("XYZ",),
    f"{DFT}POISSON/POISSON_SOLVER": ("PERIODIC",),
    f"{DFT}POISSON/PSOLVER": ("PERIODIC",),
    f"{DFT}SURFACE_DIPOLE_CORRECTION": ("F", "FALSE", ".FALSE."),
    f"{DFT}XC/XC_FUNCTIONAL/PBE/PARAMETRIZATION": ("ORIG",),
    f"{SUBSYS}CELL/PERIODIC": ("XYZ",),
}
"""What a keyword of physics means when it is left out."""

SECTIONS_WITHOUT_MEANING = (
    "FORCE_EVAL/", DFT, f"{DFT}QS/", f"{DFT}MGRID/", f"{DFT}XC/", f"{DFT}XC/XC_FUNCTIONAL/", f"{DFT}POISSON/",
    f"{DFT}XC/XC_FUNCTIONAL/PBE/", f"{DFT}KPOINTS/", f"{DFT}SCF/SMEAR/", SUBSYS, f"{SUBSYS}CELL/",
)  # fmt: skip
"""Sections that only hold what is read line by line; any other one is a setting by being there."""

RELAXATIONS = ("GEO_OPT", "GEOMETRY_OPTIMIZATION", "CELL_OPT")

STATICS = ("ENERGY_FORCE", "ENERGY")


def find_output(folder: Path) -> Path | None:
    """Return the output of CP2K in a folder; None if there is none."""
    return find_one(folder, BANNER, what="CP2K output")


def read_run(folder: Path) -> FinishedRun:
    """Return the finished calculation of a folder, as `readers.read_run` does."""
    output = find_output(folder) or folder / "cp2k.out"
    text = last_run(read_all(output), BANNER)
    _require_complete(text, output)
    lines = read_lines(_find_input(folder, text))
    kind = " ".join((find_last(lines, "GLOBAL/RUN_TYPE") or Line("", ("ENERGY_FORCE",))).words).upper()
    if kind not in (*STATICS, *RELAXATIONS):
        raise unusable_output(output, f"RUN_TYPE {kind} has no energy that a study asks for")
    if kind in STATICS:
        require_one_point(text, output)
    start = read_start(lines, folder, text, output)
    n_steps, final = (0, start) if kind in STATICS else read_end(folder, lines, start, output)
    settings = _describe(lines, folder, height_ang=float(start.lattice_ang[2, 2]))
    _require_agreement(lines, settings.physics, text, output)
    return FinishedRun(
        folder=folder,
        engine=Cp2kEngine.name,
        code_version=_said(r"CP2K\| version string:\s+CP2K version (\S+)", text),
        start=start,
        final=final,
        evaluation=read_evaluation(output, start, has_stress=STRESS_TITLE.search(text) is not None),
        settings=settings,
        n_steps=n_steps,
        is_relaxation=kind in RELAXATIONS,
        held=find_held(lines, start.n_atoms),
    )


def expected_settings(engine: Cp2kEngine, setting: Setting, arrangement: Arrangement) -> Settings:
    """Return the settings that the engine itself would run an arrangement with (mesh and vacuum in `setting`)."""
    run = engine.start(setting)
    assert isinstance(run, Cp2kRun)
    lines = read_text(str(run.draft_input(arrangement, {})), setting.folder)
    return _describe(lines, setting.folder, height_ang=float(arrangement.lattice_ang[2, 2]))


def _require_complete(text: str, output: Path) -> None:
    if "PROGRAM ENDED AT" not in text:
        raise unusable_output(output, "it is missing or cut short")
    if "SCF run NOT converged" in text or "SCF run converged" not in text:
        raise unusable_output(output, "a density in it is not self-consistent")
    if FORCES_TITLE.search(text) is None:
        raise unusable_output(output, "it has no forces: print them with &FORCE_EVAL &PRINT &FORCES")


def require_one_point(text: str, output: Path) -> None:
    """Refuse an output of several energies, such as of molecular dynamics, beside the input of one.

    Parameters
    ----------
    text, output
        The last run of an output, and its file.

    Raises
    ------
    EngineError
        With the number of energies.
    """
    n_energies = len(ENERGY_LINE.findall(text))
    if n_energies != 1:
        raise unusable_output(output, f"it holds {n_energies} energies, a static calculation has one")


def _find_input(folder: Path, text: str) -> Path:
    """Return the input: the file that the output names, else the one that there is."""
    named = find_file(folder / Path(_said(r"CP2K\| Input file name\s+(\S+)", text)).name)
    found = named if named.is_file() else find_one(folder, "&FORCE_EVAL", what="CP2K input", skip=(".restart", ".out"))
    if found is None:
        raise unusable_output(folder, "it holds no input of CP2K")
    return found


def _said(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else "unknown"


def _describe(lines: Sequence[Line], folder: Path, *, height_ang: float) -> Settings:
    """Return the settings of an input.

    Parameters
    ----------
    lines, folder
        The input and where it lies.
    height_ang
        Height of the cell in Å, in parts of which the place of the dipole layer is given.
    """

    def number(default: float, *paths: str) -> float:
        line = find_last(lines, *paths)
        return default if line is None else line.number

    smearing = find_last(lines, f"{DFT}SCF/SMEAR/METHOD") or Line("", ("FERMI_DIRAC",))
    is_polarized = any(is_on(find_last(lines, f"{DFT}{name}")) for name in ("UKS", "LSD", "UNRESTRICTED_KOHN_SHAM"))
    place_ang = find_last(lines, f"{DFT}SURF_DIP_POS")
    others, numerics = _sort_others(lines)
    physics: dict[str, Value] = {
        "functional": _functional(lines),
        "k-points": _mesh(lines),
        CUTOFF: number(280.0, f"{DFT}MGRID/CUTOFF"),
        "REL_CUTOFF (Ry)": number(40.0, f"{DFT}MGRID/REL_CUTOFF"),
        "smearing": smearing.words[0].upper() if is_on(find_last(lines, f"{DFT}SCF/SMEAR/")) else "none",
        KELVIN: number(300.0, *TEMPERATURES),
        "EPS_SCF": max(DENSITY_THRESHOLD, number(1e-5, f"{DFT}SCF/EPS_SCF")),
        "charge": number(0.0, f"{DFT}CHARGE"),
        "multiplicity": max(1.0, number(1.0, f"{DFT}MULTIPLICITY", f"{DFT}MULTIP")),
        "spin": "UKS" if is_polarized else "RKS",
        DISPERSION: _dispersion(lines),
        **({} if place_ang is None else {PLACE: place_ang.number / height_ang}),
        **_kinds(lines, folder),
        **others,
    }
    return Settings(physics=physics, numerics=numerics)


def _require_agreement(lines: Sequence[Line], physics: Mapping[str, Value], text: str, output: Path) -> None:
    """Refuse an output that says otherwise than the input, as far as its print level lets it speak."""
    eps_scf = find_last(lines, f"{DFT}SCF/EPS_SCF")
    asked_eps = 1e-5 if eps_scf is None else eps_scf.number
    for name, pattern, factor, asked, tolerance in (
        (CUTOFF, r"QS\| Density cutoff \[a\.u\.\]:\s+(\S+)", 2.0, physics[CUTOFF], 0.12),
        (KELVIN, r"Electronic temperature \[K\]:\s+(\S+)", 1.0, physics[KELVIN], 0.06),
        ("EPS_SCF", r" eps_scf:\s+(\S+)", 1.0, asked_eps, 0.006 * asked_eps),
    ):
        said = _said(pattern, text)
        if said != "unknown":
            require_equal(name, factor * float(said), asked, tolerance=tolerance, output=output)
    grid = re.search(r"BRILLOUIN\| K-point grid\s+(\d+)\s+(\d+)\s+(\d+)", text)
    if grid:
        words = " x ".join(grid.groups())
        require_equal("the mesh of k-points", words, str(physics["k-points"])[: len(words)], output=output)
    smearing = _said(r"Smear method:\s+(\S+)", text).replace("unknown", "none")
    require_equal("the smearing", smearing, physics["smearing"], output=output)


def _sort_others(lines: Sequence[Line]) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return every other line, those of the physics first; what a line leaves at its default is left out."""
    physics: dict[str, Value] = {}
    numerics: dict[str, Value] = {}
    for line in lines:
        if _is_below(line.path, BOOKKEEPING) or _is_below(line.path, READ_ELSEWHERE):
            continue
        if _is_below(line.path, NUMERICS) and not line.path.startswith(f"{DFT}SCF/SMEAR/"):
            if not line.path.endswith("/"):
                numerics[line.path.removeprefix(f"{DFT}SCF/")] = " ".join(line.words).upper()
        elif not _is_default(line):
            physics[line.path] = " ".join(line.words).upper() or "present"
    return physics, numerics


def _is_below(path: str, places: Sequence[str]) -> bool:
    return any(path.startswith(place) if place.endswith("/") else path == place for place in places)


def _is_default(line: Line) -> bool:
    if line.path in SECTIONS_WITHOUT_MEANING or re.match(
        rf"{SUBSYS}KIND [^/]+/($|BASIS_SET$|POTENTIAL$|ELEMENT$)", line.path
    ):
        return True
    return " ".join(line.words).upper() in DEFAULTS.get(line.path, ())


def _functional(lines: Sequence[Line]) -> str:
    """Return the functional: the shortcut, or the names of the sections."""
    place = f"{DFT}XC/XC_FUNCTIONAL/"
    shortcut = [word for line in find_all(lines, place) for word in line.words if word.upper() != "NO_SHORTCUT"]
    parts = [line.path.removeprefix(place) for line in lines if line.path.startswith(place) and line.path != place]
    sections = [part[:-1] for part in parts if part.endswith("/") and part.count("/") == 1]
    return " + ".join(dict.fromkeys([*shortcut, *sections])).upper() or "none"


def _mesh(lines: Sequence[Line]) -> str:
    scheme = find_last(lines, f"{DFT}KPOINTS/SCHEME")
    words = ("GAMMA",) if scheme is None else tuple(word.upper() for word in scheme.words)
    numbers = [float(word) for word in words[1:]]
    if words[0] in ("NONE", "GAMMA"):
        return describe_mesh((1, 1, 1))
    if words[0] == "GENERAL":
        return _find_mesh(find_all(lines, f"{DFT}KPOINTS/KPOINT"))
    mesh = [int(number) for number in numbers[:3]]
    offset = monkhorst_offset(mesh)
    if words[0] == "MACDONALD":
        offset = [each + shift * n for each, shift, n in zip(offset, numbers[3:6], mesh, strict=True)]
    return describe_mesh(mesh, offset)


def _find_mesh(points: Sequence[Line]) -> str:
    """Return the mesh around Γ that a list of points is, folded or not; else say that it is a list."""
    places = np.array([[float(word) for word in line.words[:4]] for line in points])
    found: Counter[tuple[float, ...]] = Counter()
    for place in places:
        opposite = tuple(np.round(-place[:3] % 1.0, 6) % 1.0)
        found[min(tuple(np.round(place[:3] % 1.0, 6) % 1.0), opposite)] += place[3] / places[:, 3].sum()
    mesh = [len({round(each % 1.0, 6) % 1.0 for each in places[:, axis]}) for axis in range(3)]
    for axis, n in enumerate(mesh):  # a folded list holds half of an axis only
        steps = [each % 1.0 for each in places[:, axis] if each % 1.0 > 1e-6]
        mesh[axis] = n if not steps else round(1.0 / min(*steps, 1.0 - max(steps)))
    expected = {tuple(round(i / n, 6) for i, n in zip(point, mesh, strict=True)): weight
                for point, weight in fold_mesh((mesh[0], mesh[1], mesh[2])).items()}  # fmt: skip
    is_mesh = found.keys() == expected.keys() and all(
        abs(found[point] - weight / prod(mesh)) < 1e-6 for point, weight in expected.items()
    )
    return describe_mesh(mesh) if is_mesh else f"a list of {len(points)} points"


def _dispersion(lines: Sequence[Line]) -> str:
    own = [line for line in lines if line.path.startswith(f"{DFT}XC/VDW_POTENTIAL/")]
    if not own:
        return NO_DISPERSION
    kind = find_last(own, f"{DFT}XC/VDW_POTENTIAL/POTENTIAL_TYPE", f"{DFT}XC/VDW_POTENTIAL/DISPERSION_FUNCTIONAL")
    words = {line.path.removeprefix(PAIRS): " ".join(line.words).upper() for line in own if line.path.startswith(PAIRS)}
    is_d3bj = (
        kind is not None
        and kind.words[0].upper() == "PAIR_POTENTIAL"
        and words.get("TYPE") == "DFTD3(BJ)"
        and words.get("REFERENCE_FUNCTIONAL") == "PBE"
        and not is_on(find_last(own, f"{PAIRS}CALCULATE_C9_TERM"))
        and words.keys() <= {"", "TYPE", "REFERENCE_FUNCTIONAL", "PARAMETER_FILE_NAME", "R_CUTOFF", "CALCULATE_C9_TERM"}
    )
    if is_d3bj:
        return D3BJ_IN_CODE
    return " ".join(f"{name} {word}" for name, word in words.items() if name) or " ".join(
        kind.words if kind else ("on",)
    )


def _kinds(lines: Sequence[Line], folder: Path) -> dict[str, Value]:
    """Return the hash of pseudopotential and basis set of each element, by the entries of the files that are named."""
    files = _DataFiles(
        data=data_folder(configured_command()[-1]),
        folder=folder,
        bases=tuple(line.words[0] for line in find_all(lines, f"{DFT}BASIS_SET_FILE_NAME")) or ("BASIS_SET",),
        potentials=tuple(line.words[0] for line in find_all(lines, f"{DFT}POTENTIAL_FILE_NAME")) or ("POTENTIAL",),
    )
    found: dict[str, Value] = {}
    for name in dict.fromkeys(line.path.split("/")[2] for line in lines if line.path.startswith(f"{SUBSYS}KIND ")):
        chosen = [find_last(lines, f"{SUBSYS}{name}/{word}") for word in ("POTENTIAL", "BASIS_SET")]
        potential, basis = ("none" if line is None else line.words[-1] for line in chosen)
        described = files.describe(element_of(lines, name.split()[1]), potential, basis)
        for label, value in described.items():
            found[label] = value if found.get(label, value) == value else "two kinds that differ"
    return found


@dataclass(frozen=True, slots=True)
class _DataFiles:
    """The files with basis sets and pseudopotentials that an input names, looked for beside it, then in CP2K's data."""

    data: Path
    folder: Path
    bases: tuple[str, ...]
    potentials: tuple[str, ...]

    def describe(self, symbol: str, potential: str, basis: str) -> dict[str, Value]:
        """Return the hashes of both entries of an element."""
        return {
            f"pseudopotential of {symbol} (SHA-256)": self._hash(symbol, potential, self.potentials),
            f"basis set of {symbol} (SHA-256)": self._hash(symbol, basis, self.bases),
        }

    def _hash(self, symbol: str, name: str, files: Sequence[str]) -> str:
        """Return the hash of the first entry of a name, or in words why there is none."""
        for file in files:
            beside, filed = (find_file(folder / file) for folder in (self.folder, self.data))
            path = next((each for each in (beside, filed) if each.is_file()), None)
            if path is None:
                return f"{name}, whose file {file} is not there"
            text = find_entry(path, symbol, name)
            if text is not None:
                return hashlib.sha256(text.encode()).hexdigest()[:16]
        return f"{name}, which {', '.join(files)} does not have"
