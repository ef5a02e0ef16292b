"""Any calculator of ASE as a potential: a network, a classical force field, or ten lines of one's own.

The calculator gives energy E, forces −∂E/∂x and stress ∂E/∂ε / V of one periodic cell in ASE's units (eV, eV/Å, eV/Å³,
positive in tension).  Relaxation, D3(BJ) and everything else are those of the other potentials.  What changes an energy
is part of the level of theory: the calculator's class and its package, its arguments, the SHA-256 of every file that it
reads, its functional, and whether dispersion is in its energies, added, or left out.

A model that is fetched while it is loaded cannot be named by its content, so no connection is allowed meanwhile, unless
the study declares the hash of what may come.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import packages_distributions, version
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import JsonValue

from qdip_dft.engines.base import RELAXATIONS, Feature
from qdip_dft.engines.dispersion import D3BJ_OF_FUNCTIONAL
from qdip_dft.engines.evaluation import Evaluation, Potential, as_stress_matrix
from qdip_dft.engines.mlip import DispersionCorrected, choose_device, sha256_of
from qdip_dft.engines.potential import PotentialEngine
from qdip_dft.engines.preset import POTENTIAL_SETTINGS, load_preset, override_preset, relaxation_settings_of
from qdip_dft.engines.relaxation.descent import OPTIMISER
from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import Level, LevelOfTheory
from qdip_dft.model.engine import CalculatorDispersion, CalculatorSpec, EngineSpec
from qdip_dft.model.structure import Arrangement
from qdip_dft.runtime.names import is_file
from qdip_dft.runtime.quiet import third_parties_silent

FORCE_FIELDS = {
    "MACE-MP-0": "PBE",
    "MACE-MP-0b3": "PBE",
    "MACE-MPA-0": "PBE",
    "MatPES-PBE": "PBE",
    "MatPES-r2SCAN": "r2SCAN",
    "M3GNet": "PBE",
    "CHGNet": "PBE",
    "MatterSim": "PBE",
    "FAIRChem": None,
    "UPET": None,
    "NEP": None,
    "Nequip": None,
    "Allegro": None,
    "GAP": None,
    "DeepMD": None,
}
"""The force fields that atomate2 makes by name, with the functional of their training data where there is one only."""


@dataclass(frozen=True)
class AseEngine(PotentialEngine):
    """A calculator of ASE behind the engine contract.

    Parameters
    ----------
    relaxation
        When a relaxation is done.
    calculator
        Import path of the class or of a function that makes one, ``file.py:Name``, or a name in `FORCE_FIELDS`.
    arguments
        What it is called with, besides `weights`.
    weights
        Files that it is called with, by argument, as absolute paths.
    sha256
        Declared hash of what it fetches; empty: it may fetch nothing.
    functional
        What the potential was trained on.
    dispersion
        ``d3bj``: added here; ``included``: in the calculator's energies; ``none``: in neither.
    device
        Where it runs, if it can be told.
    """

    calculator: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    sha256: str = ""
    functional: str = "none"
    dispersion: str = CalculatorDispersion.NONE.value
    device: str = "auto"

    name: ClassVar[str] = "ase"
    features: ClassVar[frozenset[Feature]] = RELAXATIONS | {Feature.D3BJ}

    @classmethod
    def from_spec(cls, spec: EngineSpec) -> AseEngine:
        """Return the engine that a study asks for; imports no package of a potential.

        Raises
        ------
        EngineError
            If it is not stated what the energies are, a file is missing, or there is no D3(BJ) for the functional.
        """
        asked = spec.potential if isinstance(spec.potential, CalculatorSpec) else _describe_by_name(spec)
        preset = override_preset(load_preset(spec.preset), spec.settings, allowed=POTENTIAL_SETTINGS)
        if asked.dispersion is CalculatorDispersion.D3BJ and asked.functional not in D3BJ_OF_FUNCTIONAL:
            raise EngineError(
                f"there are no parameters of D3(BJ) for {asked.functional!r}",
                limit=f"they are known for {', '.join(D3BJ_OF_FUNCTIONAL)}",
                why="a correction for another functional would count the attraction twice, or half",
                remedy="state `functional` as one of these, or `dispersion: none` or `included`",
            )
        _require_content(asked)
        return cls(
            relaxation=relaxation_settings_of(preset, optimiser=OPTIMISER),
            calculator=_make_absolute(asked.calculator),
            arguments=dict(asked.arguments),
            weights={name: _require_file(path) for name, path in asked.weights.items()},
            sha256=asked.sha256 or "",
            functional=asked.functional,
            dispersion=asked.dispersion.value,
            device=spec.device.value,
        )

    def theory(self) -> LevelOfTheory:
        """Return the level of theory; imports the calculator's package once, for its version and its source.

        Raises
        ------
        EngineError
            If the package is not there, or a file has gone.
        """
        settings: dict[str, JsonValue] = {f"argument {name}": value for name, value in sorted(self.arguments.items())}
        if self.dispersion == CalculatorDispersion.D3BJ.value:
            settings |= {"d3_code": f"dftd3 {version('dftd3')}", **D3BJ_OF_FUNCTIONAL[self.functional].as_settings()}
        return LevelOfTheory(
            level=Level.SCREENING,
            engine=self.name,
            code=_name_class(self.calculator),
            code_version=_find_version(self.calculator),
            functional=self.functional,
            dispersion=self.dispersion,
            weights_hash=self._find_hash(),
            settings=settings,
        )

    def load_potential(self) -> Potential:
        """Return the calculator as a potential, made once per process."""
        known = json.dumps([self.arguments, self.weights], sort_keys=True)
        potential = CalculatorPotential(_make_calculator(self.calculator, known, self.sha256, self.device))
        if self.dispersion != CalculatorDispersion.D3BJ.value:
            return potential
        return DispersionCorrected(potential, D3BJ_OF_FUNCTIONAL[self.functional])

    def seconds_per_force_call(self, n_atoms: int) -> float:
        """Return a guess at the time of one force evaluation, that of a network, in s."""
        return 0.05 + 0.004 * n_atoms

    def _find_hash(self) -> str:
        """SHA-256 of the files that it reads, else the declared one, else of the source of the calculator."""
        if self.weights:
            hashes = [sha256_of(Path(path)) for _, path in sorted(self.weights.items())]
            return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
        if self.sha256 or not _is_path(self.calculator):
            return self.sha256
        source = sys.modules[_load_class(self.calculator).__module__].__file__
        return "" if source is None else sha256_of(Path(source))


@dataclass(frozen=True, slots=True)
class CalculatorPotential:
    """A calculator of ASE as a function of the atoms' places."""

    calculator: Any

    def __call__(self, arrangement: Arrangement) -> Evaluation:
        """Evaluate one structure.

        Raises
        ------
        EngineError
            If the calculator gives up, or gives no energy or no forces.
        """
        from ase.calculators.calculator import all_changes

        atoms = arrangement.to_ase()
        properties = [name for name in ("energy", "forces", "stress") if name in self._implemented]
        try:
            with third_parties_silent():
                self.calculator.calculate(atoms, properties, all_changes)
            results = self.calculator.results
            stress = results.get("stress")
            return Evaluation(
                energy_ev=float(results["energy"]),
                forces_ev_per_ang=np.array(results["forces"], dtype=np.float64),
                stress_ev_per_ang3=None if stress is None else as_stress_matrix(np.array(stress, dtype=np.float64)),
            )
        except MemoryError:
            raise
        except Exception as failure:
            raise EngineError(
                f"the calculator {type(self.calculator).__name__} gives no energy and forces: "
                f"{type(failure).__name__}: {failure}",
                limit=f"the structure has {arrangement.n_atoms} atoms of {', '.join(sorted(set(arrangement.species)))}",
                why="without them nothing can be relaxed",
                remedy="check with ASE alone whether it knows these elements, or take another potential",
            ) from failure

    @property
    def _implemented(self) -> frozenset[str]:
        return frozenset(self.calculator.implemented_properties)


def _describe_by_name(spec: EngineSpec) -> CalculatorSpec:
    """What a study means that names a calculator and nothing else."""
    name = str(spec.potential)
    functional = spec.functional or FORCE_FIELDS.get(name)
    if not spec.potential or not (name in FORCE_FIELDS or _is_path(name)):
        raise EngineError(
            f"there is no calculator {name!r}" if spec.potential else "engine 'ase' needs a `potential`",
            limit=f"it is a class such as `ase.calculators.emt.EMT`, or `file.py:Name`, or {', '.join(FORCE_FIELDS)}",
            why="without a calculator there are no energies",
            remedy="write `potential: {calculator: …, functional: …, dispersion: …}`; docs/potentials.md shows how",
        )
    if functional is None:
        raise EngineError(
            f"it is not stated which functional {name} was trained on",
            limit="every energy belongs to a functional",
            why="energies of two functionals must not be subtracted",
            remedy="write `functional: PBE`, or whatever it is, beside `potential`; `none` where it was fitted to none",
        )
    dispersion = spec.dispersion or load_preset(spec.preset).dispersion
    return CalculatorSpec(calculator=name, functional=functional, dispersion=CalculatorDispersion(dispersion.value))


def _require_content(asked: CalculatorSpec) -> None:
    """Refuse what would be known by its name alone."""
    files = [f"{name}: {value}" for name, value in asked.arguments.items() if isinstance(value, str) and is_file(value)]
    if files:
        raise EngineError(
            f"the argument {files[0]} of {asked.calculator} is a file",
            limit="files that a calculator reads are given as `weights`",
            why="their content is part of the level of theory",
            remedy="move it from `arguments` to `weights`",
        )
    if not _is_path(asked.calculator) and not (asked.weights or asked.sha256):
        raise _fetches(asked.calculator)


def _name_class(calculator: str) -> str:
    return calculator.rpartition(":")[2].rpartition(".")[2] if _is_path(calculator) else calculator


def _is_path(calculator: str) -> bool:
    """Whether this names a class by where it is, not a force field of atomate2."""
    return "." in calculator


def _split_file(calculator: str) -> tuple[str, str] | None:
    """File and name of ``file.py:Name``; None for an import path."""
    file, colon, name = calculator.rpartition(":")
    return (file, name) if colon and file.endswith(".py") else None


def _make_absolute(calculator: str) -> str:
    found = _split_file(calculator)
    return calculator if found is None else f"{_require_file(found[0])}:{found[1]}"


def _require_file(path: str) -> str:
    if Path(path).is_file():
        return str(Path(path).resolve())
    raise EngineError(
        f"the calculator's file {path} is not there",
        limit="its content is part of the level of theory",
        why="a number could not be repeated without it",
        remedy="correct the path; in a study it starts from the study's folder",
    )


@cache
def _load_class(calculator: str) -> Callable[..., Any]:
    """The class, or the function that makes a calculator."""
    found = _split_file(calculator)
    try:
        if found is None:
            module, _, name = calculator.rpartition(".")
            with third_parties_silent():
                made: Callable[..., Any] = getattr(importlib.import_module(module), name)
            return made
        file, name = found
        specification = importlib.util.spec_from_file_location(f"qdip_calculator_{sha256_of(Path(file))[:16]}", file)
        if specification is None or specification.loader is None:
            raise ImportError(file)
        loaded = importlib.util.module_from_spec(specification)
        sys.modules[specification.name] = loaded
        specification.loader.exec_module(loaded)
        made = getattr(loaded, name)
    except Exception as failure:
        raise _not_importable(calculator, failure) from failure
    return made


def _not_importable(calculator: str, failure: Exception) -> EngineError:
    return EngineError(
        f"the calculator {calculator} cannot be imported: {type(failure).__name__}: {failure}",
        limit="it is a class such as `mace.calculators.MACECalculator`, or `file.py:Name`",
        why="without it there are no energies",
        remedy="install its package into this environment, or correct its name",
    )


@cache
def _find_version(calculator: str) -> str:
    """Package and version; of a file of one's own the hash says which."""
    if _split_file(calculator) is not None:
        return "own file"
    if not _is_path(calculator):
        return f"atomate2 {version('atomate2')}"
    package = _load_class(calculator).__module__.partition(".")[0]
    names = packages_distributions().get(package, [])
    return " ".join(f"{name} {version(name)}" for name in sorted(set(names))) or package


@cache
def _make_calculator(calculator: str, known: str, sha256: str, device: str) -> Any:
    """The calculator itself, made without a connection unless a hash was declared for what may come."""
    arguments, weights = json.loads(known)
    arguments |= weights
    try:
        with third_parties_silent(), _fetching(is_allowed=bool(sha256)):
            if not _is_path(calculator):
                from atomate2.forcefields.utils import ase_calculator

                return ase_calculator(calculator, **arguments)
            made = _load_class(calculator)
            return made(**_with_device(made, arguments, device))
    except Exception as failure:
        if _caused_by_fetching(failure):
            raise _fetches(calculator) from failure
        raise _not_made(calculator, failure) from failure


def _with_device(made: Callable[..., Any], arguments: Mapping[str, Any], device: str) -> dict[str, Any]:
    """The arguments with the device of the study, where the calculator takes one and none is given."""
    if "device" not in signature(made).parameters or "device" in arguments:
        return dict(arguments)
    return {**arguments, "device": choose_device(device).value}


def _not_made(calculator: str, failure: Exception) -> EngineError:
    return EngineError(
        f"the calculator {calculator} cannot be made: {type(failure).__name__}: {failure}",
        limit="it is called with `arguments` and `weights` of the study's `potential`",
        why="without it there are no energies",
        remedy="correct the arguments, or install what the message names; try the same call with ASE alone",
    )


def _fetches(calculator: str) -> EngineError:
    return EngineError(
        f"the calculator {calculator} wants to fetch its model",
        limit="nothing is fetched whose content is not declared",
        why="the same name may mean another model tomorrow, and compute nodes have no connection",
        remedy="give the file as `weights: {argument: path}`, or declare its hash as `sha256`",
    )


class FetchingError(ConnectionRefusedError):
    """A calculator wants to fetch something."""


_IS_FETCHING_REFUSED: ContextVar[bool] = ContextVar("is_fetching_refused", default=False)
_REFUSED_EVENTS = frozenset({"socket.connect", "socket.getaddrinfo", "socket.gethostbyname"})


def _refuse_fetching(event: str, _: object) -> None:
    if event in _REFUSED_EVENTS and _IS_FETCHING_REFUSED.get():
        raise FetchingError("no connection while a potential is loaded")


@cache
def _watch_connections() -> None:
    """Once per process: an audit hook stays."""
    sys.addaudithook(_refuse_fetching)


@contextmanager
def _fetching(*, is_allowed: bool) -> Iterator[None]:
    """Refuse every connection that Python makes inside, unless it is allowed."""
    _watch_connections()
    token = _IS_FETCHING_REFUSED.set(not is_allowed)
    try:
        yield
    finally:
        _IS_FETCHING_REFUSED.reset(token)


def _caused_by_fetching(failure: BaseException | None) -> bool:
    while failure is not None:
        if isinstance(failure, FetchingError):
            return True
        failure = failure.__cause__ or failure.__context__
    return False
