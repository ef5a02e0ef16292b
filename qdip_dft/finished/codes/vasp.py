"""Finished calculations of VASP: ``vasprun.xml``, which holds inputs and outputs, and the POTCAR beside it.

The values are those that VASP resolved (``parameters``), so that a tag that was left out counts with its default.  The
titles of the potentials stand in vasprun.xml, but releases share titles: the POTCAR must lie in the folder, and its
hashes are compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qdip_dft.engines.code_run import Setting
from qdip_dft.engines.dft import ENERGY_CONVERGENCE_EV_PER_ATOM
from qdip_dft.engines.programs import unusable_output
from qdip_dft.engines.vasp.engine import VaspEngine, short_version
from qdip_dft.engines.vasp.files import (
    FUNCTIONAL_TAGS,
    PARALLEL_TAGS,
    PHYSICS,
    PRINTED_EV,
    SPIN_ORBIT_TAGS,
    criterion_of,
    dipole_correction,
    evaluation_of_step,
    last_change_ev,
    read_output,
)
from qdip_dft.engines.vasp.potentials import choose_potentials, hash_of, read_potential, release_folder
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
    read_all,
    require_convergence,
)
from qdip_dft.model.structure import Arrangement

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.io.vasp.outputs import Vasprun

DEFAULTS: dict[str, Value] = {
    "ADDGRID": False, "GGA": "--", "METAGGA": "--", "GGA_COMPAT": True, "IDIPOL": 0, "ISMEAR": 1, "ISPIN": 1,
    "LASPH": False, "LDAU": False, "LDIPOL": False, "LHFCALC": False, "LMAXMIX": 2, "LNONCOLLINEAR": False,
    "LREAL": "F", "LSORBIT": False, "LUSE_VDW": False, "PREC": "n", "PSTRESS": 0.0, "SIGMA": 0.2,
    "EFIELD": 0.0, "EFIELD_PEAD": 0.0,
    "LMONO": False, "LSCSGRAD": False, "LKPROJ": False, "NUPDOWN": -1.0, "I_CONSTRAINED_M": 0, "LSPIRAL": False,
}  # fmt: skip
"""What tags of physics mean when neither vasprun.xml nor the INCAR has them; always compared."""

NUMERICS = PARALLEL_TAGS | {
    "ALGO", "AMIN", "AMIX", "AMIX_MAG", "BMIX", "BMIX_MAG", "EDIFF", "ICHARG", "IALGO", "IMIX", "INIMIX", "ISEARCH",
    "ISTART", "ISYM", "LDIAG", "MAXMIX", "MIXPRE", "NBANDS", "NELM", "NELMDL", "NELMIN", "SYMPREC", "TIME", "WC",
}  # fmt: skip

BOOKKEEPING = frozenset({
    "ENCUT", "ENMAX", "KSPACING", "KGAMMA", "SYSTEM", "IVDW", "NELECT", "VDW_S6", "VDW_S8", "VDW_A1", "VDW_A2",
    "LORBIT", "LWAVE", "LCHARG", "LELF", "LVTOT", "LVHAR", "LAECHG", "NWRITE", "NEDOS", "EMIN", "EMAX", "RWIGS",
    "LASYNC", "NBLOCK", "KBLOCK", "LPARD", "LH5", "LOPTICS", "MAGMOM", "APACO", "NPACO",
    "ROPT", "EDIFFG", "SAXIS", "IBRION", "IOPT", "ISIF", "NFREE", "NSW", "POTIM", "SMASS", "TEBEG", "TEEND",
    "LATTICE_CONSTRAINTS",
})  # fmt: skip
"""Tags that are read elsewhere, print, or move atoms; MAGMOM means nothing where ISPIN is compared."""

SPINORS: dict[str, Value] = {"LNONCOLLINEAR": True, "MAGMOM": "zero"}
"""What spin-orbit coupling brings with it."""

SMALLEST_MOMENT = 1e-6

MOVING = {1: True, 2: True, 3: True, -1: False}
"""Values of IBRION that a study has a use for, and whether they move atoms."""

SELF_CONSISTENT = frozenset({0, 1, 2})
"""Values of ICHARG whose density is made self-consistent; from 10 on it is held fixed, others take a potential."""

ALGORITHMS = frozenset({
    "n", "normal", "v", "veryfast", "very_fast", "f", "fast", "c", "conjugate", "a", "all", "d", "damped",
})  # fmt: skip

ALGORITHM_NUMBERS = frozenset({8, 38, 44, 46, 48, 53, 54, 57, 58, 68})
"""Values of IALGO that find the ground state; others stand for one diagonalisation, a response, or nothing."""

UNMOVED_ANG = 1e-4
"""Places of one structure that is printed twice differ by less."""

D3BJ_NUMBER = 12


def find_output(folder: Path) -> Path | None:
    """Return the ``vasprun.xml`` of a folder, compressed or not; None if there is none."""
    found = find_file(folder / "vasprun.xml")
    return found if found.is_file() else None


def read_run(folder: Path) -> FinishedRun:
    """Return the finished calculation of a folder, as `readers.read_run` does."""
    path = find_output(folder) or folder / "vasprun.xml"
    output = read_output(path)
    is_relaxation = _moves_atoms(output, path)
    _require_own_density(output, path)
    start = _arrangement_of(output.initial_structure)
    last = output.ionic_steps[-1]
    final = _arrangement_of(last["structure"])
    if not is_relaxation:
        _require_one_point(output, start, final, path)
    _require_self_consistency(output, start.n_atoms, path)
    return FinishedRun(
        folder=folder,
        engine=VaspEngine.name,
        code_version=short_version(output.vasp_version),
        start=start,
        final=final,
        evaluation=evaluation_of_step(last, is_slab=bool(_tag(output, "LDIPOL"))),
        settings=_settings(output, folder),
        n_steps=len(output.ionic_steps) - 1,
        is_relaxation=is_relaxation,
        held=_held(output.initial_structure),
    )


def expected_settings(engine: VaspEngine, setting: Setting, arrangement: Arrangement) -> Settings:
    """Return the settings that the engine itself would run an arrangement with (mesh and vacuum in `setting`)."""
    tags = {**PHYSICS, **FUNCTIONAL_TAGS[engine.functional], "SIGMA": engine.smearing_width_ev}
    if engine.spin_orbit:
        tags |= {name: SPIN_ORBIT_TAGS[name] for name in ("LSORBIT", "GGA_COMPAT", "ISYM")} | SPINORS
    slab = {} if setting.vacuum is None else dipole_correction(setting.vacuum)
    place = slab.pop("DIPOL", None)
    symbols = sorted(set(arrangement.species))
    folder = release_folder(engine.potentials)
    texts = [read_potential(folder, name) for name in choose_potentials(symbols)]
    return Settings(
        physics={
            "k-points": describe_mesh(setting.k_mesh),
            "ENCUT (eV)": float(engine.cutoff_ev),
            "charge": 0.0,
            DISPERSION: NO_DISPERSION,
            **({} if place is None else {PLACE: place[2]}),
            **{name: _normalise(name, value) for name, value in {**DEFAULTS, **tags, **slab}.items()},
            **{f"POTCAR of {s} (SHA-256)": hash_of(text)[:16] for s, text in zip(symbols, texts, strict=True)},
        },
        numerics={
            "ALGO": "all" if "METAGGA" in tags else "normal",
            "EDIFF": ENERGY_CONVERGENCE_EV_PER_ATOM * arrangement.n_atoms,
            "ICHARG": 2,
            "ISTART": 0,
            "NELM": 200,
        },
    )


def _tag(output: Vasprun, name: str) -> Any:
    """Return what VASP took for a tag, else what the INCAR says."""
    return output.parameters.get(name, output.incar.get(name))


def _whole_number(output: Vasprun, name: str, *, default: int) -> int:
    """The number of a tag; the default only where the tag is nowhere, for zero is a value."""
    value = _tag(output, name)
    return default if value is None else int(value)


def _moves_atoms(output: Vasprun, path: Path) -> bool:
    """Whether VASP relaxed the atoms; whatever else moves them has no energy that a study asks for."""
    if _whole_number(output, "NSW", default=0) <= 0:
        return False
    ibrion = _whole_number(output, "IBRION", default=0)
    if ibrion not in MOVING:
        raise unusable_output(path, f"IBRION = {ibrion} has no energy that a study asks for")
    return MOVING[ibrion]


def _require_own_density(output: Vasprun, path: Path) -> None:
    """Refuse an energy of a density that was not made self-consistent in this run."""
    icharg = _whole_number(output, "ICHARG", default=2)
    if icharg not in SELF_CONSISTENT:
        raise unusable_output(path, f"ICHARG = {icharg} holds its density or its potential fixed")
    algorithm = str(output.incar.get("ALGO", "normal")).strip().lower()
    if algorithm not in ALGORITHMS:
        raise unusable_output(path, f"ALGO = {algorithm} does not minimise the energy of the ground state")
    number = _whole_number(output, "IALGO", default=38)
    if number not in ALGORITHM_NUMBERS:
        raise unusable_output(path, f"IALGO = {number} does not minimise the energy of the ground state")


def _require_one_point(output: Vasprun, start: Arrangement, final: Arrangement, path: Path) -> None:
    """Refuse a static calculation with several ionic steps, or whose atoms or cell are elsewhere at its end."""
    n_steps = len(output.ionic_steps)
    if n_steps != 1:
        raise unusable_output(path, f"it has {n_steps} ionic steps, a static calculation has one")
    moved = np.linalg.solve(start.lattice_ang.T, (final.positions_ang - start.positions_ang).T).T
    moved_ang = float(np.abs((moved - np.round(moved)) @ start.lattice_ang).max())
    strain_ang = float(np.abs(final.lattice_ang - start.lattice_ang).max())
    if max(moved_ang, strain_ang) > UNMOVED_ANG:
        raise unusable_output(path, f"it is static, but its structure moved by {max(moved_ang, strain_ang):.4f} Å")


def _require_self_consistency(output: Vasprun, n_atoms: int, path: Path) -> None:
    """Refuse a density whose last change of the energy is not below the criterion, or a criterion that is too loose."""
    change_ev, criterion_ev = last_change_ev(output.ionic_steps[-1]), criterion_of(output)
    if np.isinf(change_ev):
        raise unusable_output(path, "one electronic step does not show that its density is self-consistent")
    if not change_ev <= criterion_ev + PRINTED_EV:
        raise unusable_output(
            path,
            f"its density is not self-consistent: the energy changed by {change_ev:.1e} eV in the last electronic step,"
            f" EDIFF is {criterion_ev:.1e} eV",
        )
    require_convergence(max(change_ev, criterion_ev), n_atoms, path)


def _arrangement_of(structure: Structure) -> Arrangement:
    return Arrangement(
        tuple(site.specie.symbol for site in structure),
        np.array(structure.cart_coords),
        np.array(structure.lattice.matrix),
    )


def _held(structure: Structure) -> frozenset[int]:
    flags = structure.site_properties.get("selective_dynamics", [])
    return frozenset(i for i, free in enumerate(flags) if free is not None and not all(free))


def _settings(output: Vasprun, folder: Path) -> Settings:
    physics: dict[str, Value] = {
        "k-points": _mesh(output),
        "ENCUT (eV)": float(output.parameters.get("ENMAX", output.incar.get("ENCUT", np.nan))),
        "charge": _charge(output, folder),
        DISPERSION: _dispersion(output),
    }
    for name, default in DEFAULTS.items():
        value = _tag(output, name)
        physics[name] = _normalise(name, default if value is None else value)
    if physics["METAGGA"] != "--":  # takes the place of whatever GGA says
        physics["GGA"] = "--"
    elif physics["GGA"] == "--":
        physics["GGA"] = _functional_of_potentials(folder)
    if physics["LSORBIT"]:
        physics |= _spinors(output)
    if physics["LDIPOL"]:
        physics[PLACE] = float((_tag(output, "DIPOL") or [np.nan] * 3)[2])
    others, numerics = _sort_others(output)
    return Settings(physics=others | physics | dict(_potentials(output, folder)), numerics=numerics)


def _spinors(output: Vasprun) -> dict[str, Value]:
    """Return what decides about the ground state of spinors besides the coupling: symmetry and starting moments."""
    stated = _tag(output, "MAGMOM")
    largest = np.abs(np.array(1.0 if stated is None else stated, dtype=np.float64)).max(initial=0.0)
    moments = "zero" if largest < SMALLEST_MOMENT else "not zero"
    return {**SPINORS, "MAGMOM": moments, "ISYM": _whole_number(output, "ISYM", default=2)}


def _sort_others(output: Vasprun) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return the tags of the INCAR that are not looked at otherwise, those of the physics first."""
    physics: dict[str, Value] = {}
    numerics: dict[str, Value] = {}
    for name, value in output.incar.items():
        if name in NUMERICS:
            numerics[name] = _normalise(name, value)
        elif name not in BOOKKEEPING and name not in DEFAULTS and name != "DIPOL":
            physics[name] = _normalise(name, value)
    return physics, numerics


def _normalise(name: str, value: Any) -> Value:
    """Return a value of a tag in one spelling; of PREC the first letter counts."""
    if isinstance(value, str):
        word = value.strip().lower()
        if name == "PREC":
            return word[:1]
        if name in ("GGA", "METAGGA"):
            return "--" if word in ("", "--", "none") else word
        return {"t": True, "f": False, ".true.": True, ".false.": False}.get(word, word)
    return value if isinstance(value, bool | int | float | list | tuple) else str(value)


def _mesh(output: Vasprun) -> str:
    """Return the mesh, with the offset of its listed points: the name of a scheme does not tell where they lie."""
    kpoints = output.kpoints
    if len(kpoints.kpts) != 1 or not (
        "gamma" in str(kpoints.style).lower() or "monkhorst" in str(kpoints.style).lower()
    ):
        return f"a list of {len(output.actual_kpoints)} points"
    mesh = [int(n) for n in kpoints.kpts[0]]
    return describe_mesh(mesh, [n * place for n, place in zip(mesh, output.actual_kpoints[0], strict=True)])


def _dispersion(output: Vasprun) -> str:
    number = _whole_number(output, "IVDW", default=0)
    if number == 0:
        return NO_DISPERSION
    own = [name for name in ("VDW_S6", "VDW_S8", "VDW_A1", "VDW_A2") if name in output.incar]
    return D3BJ_IN_CODE if number == D3BJ_NUMBER and not own else f"IVDW = {number} {' '.join(own)}".strip()


def _split_potentials(folder: Path) -> list[str]:
    text = read_all(folder / "POTCAR")
    if not text:
        raise unusable_output(folder, "the POTCAR it was made with is not there, and releases share their titles")
    return re.findall(r".*?End of Dataset\s*?\n", text, flags=re.DOTALL)


def _element_of(text: str) -> str:
    found = re.search(r"VRHFIN *= *([A-Z][a-z]?)", text)
    return found[1] if found else text.split()[1].partition("_")[0]


def _potentials(output: Vasprun, folder: Path) -> Iterator[tuple[str, Value]]:
    """Yield the hash of each potential; the POTCAR must be that whose titles stand in the output."""
    texts = _split_potentials(folder)
    titles = [text.split("\n", maxsplit=1)[0].split() for text in texts]
    said = [title.split() for title in output.potcar_symbols]
    if titles != said:
        words = ", ".join(" ".join(title) for title in said)
        raise unusable_output(folder, f"its POTCAR is another one than that of the output ({words})")
    found: dict[str, str] = {}
    for text in texts:
        other = found.setdefault(_element_of(text), text)
        if hash_of(other) != hash_of(text):
            names = " and ".join(each.split("\n", maxsplit=1)[0].strip() for each in (other, text))
            raise unusable_output(folder, f"{_element_of(text)} has two potentials that differ, {names}")
    for symbol, text in found.items():
        yield f"POTCAR of {symbol} (SHA-256)", hash_of(text)[:16]


def _functional_of_potentials(folder: Path) -> str:
    found = {word.lower() for text in _split_potentials(folder) for word in re.findall(r"LEXCH *= *(\w+)", text)}
    return " ".join(sorted(found)) or "unknown"


def _charge(output: Vasprun, folder: Path) -> float:
    """Return the charge of the cell: the electrons of the potentials less those of the calculation."""
    n_electrons = _tag(output, "NELECT")
    if n_electrons is None:
        return 0.0
    valences: Mapping[str, float] = {
        _element_of(text): float(found[1])
        for text in _split_potentials(folder)
        if (found := re.search(r"ZVAL *= *([\d.]+)", text))
    }
    symbols = [site.specie.symbol for site in output.initial_structure]
    return round(sum(valences.get(symbol, np.nan) for symbol in symbols) - float(n_electrons), 4)
