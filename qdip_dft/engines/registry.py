"""From the engine named in a study to the engine itself."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

from qdip_dft.engines.base import Engine, Feature
from qdip_dft.errors import EngineError
from qdip_dft.model.engine import CalculatorSpec, EngineSpec


def engine_from_spec(spec: EngineSpec) -> Engine:
    """Return the engine that a study asks for; loads no potential and starts no code.

    Raises
    ------
    EngineError
        If the engine, its potential or one of its settings is unknown, if it lacks the spin-orbit coupling that is
        asked for, or if its packages are not installed.
    """
    if spec.name in ENGINES:
        if isinstance(spec.potential, CalculatorSpec) and spec.name not in {"mlip", "ase"}:
            raise _takes_no_calculator(spec)
        engine = ENGINES[spec.name](spec)
        if spec.spin_orbit:
            engine.require(Feature.SOC)
        return engine
    nearest = get_close_matches(spec.name, ENGINES, n=1, cutoff=0.0)[0]
    raise EngineError(
        f"there is no engine {spec.name!r}",
        limit=f"known are {', '.join(sorted(ENGINES))}",
        why="without an engine there are no energies",
        remedy=f"write `name: {nearest}`, if that is meant",
    )


def _takes_no_calculator(spec: EngineSpec) -> EngineError:
    return EngineError(
        f"engine {spec.name!r} takes no calculator as its potential",
        limit="calculators of ASE are potentials of `mlip`",
        why="a setting that is ignored would make the result another one than asked for",
        remedy="write `name: mlip`, or leave `potential` out",
    )


def _mlip(spec: EngineSpec) -> Engine:
    """The networks that ship with their package; whatever else is named as a potential is a calculator of ASE."""
    from qdip_dft.engines.ase import FORCE_FIELDS
    from qdip_dft.engines.mlip import MlipEngine

    named = spec.potential
    is_bundled = named is None or (isinstance(named, str) and "." not in named and named not in FORCE_FIELDS)
    return MlipEngine.from_spec(spec) if is_bundled else _ase(spec)


def _ase(spec: EngineSpec) -> Engine:
    from qdip_dft.engines.ase import AseEngine

    return AseEngine.from_spec(spec)


def _espresso(spec: EngineSpec) -> Engine:
    from qdip_dft.engines.espresso.engine import EspressoEngine

    return EspressoEngine.from_spec(spec)


def _gpaw(spec: EngineSpec) -> Engine:
    from qdip_dft.engines.gpaw.engine import GpawEngine

    return GpawEngine.from_spec(spec)


def _cp2k(spec: EngineSpec) -> Engine:
    from qdip_dft.engines.cp2k.engine import Cp2kEngine

    return Cp2kEngine.from_spec(spec)


def _vasp(spec: EngineSpec) -> Engine:
    from qdip_dft.engines.vasp.engine import VaspEngine

    return VaspEngine.from_spec(spec)


def _testing(spec: EngineSpec) -> Engine:
    from qdip_dft.engines.testing import TestingEngine

    return TestingEngine.from_spec(spec)


ENGINES: dict[str, Callable[[EngineSpec], Engine]] = {
    "mlip": _mlip,
    "ase": _ase,
    "espresso": _espresso,
    "gpaw": _gpaw,
    "cp2k": _cp2k,
    "vasp": _vasp,
    "testing": _testing,
}
"""Every engine by the name that a study uses."""
