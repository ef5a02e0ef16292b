"""From the engine named in a study to the engine itself."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from importlib import import_module

from qdip_dft.engines.base import Engine, Feature
from qdip_dft.errors import EngineError
from qdip_dft.model.engine import CalculatorSpec, EngineSpec, Runner

RUN_BY_ATOMATE2 = frozenset({"cp2k", "vasp"})
"""Engines for whose codes atomate2 has a Maker that takes our inputs."""


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
        if spec.runner is Runner.ATOMATE2 and spec.name not in RUN_BY_ATOMATE2:
            raise _not_run_by_atomate2(spec)
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


def _not_run_by_atomate2(spec: EngineSpec) -> EngineError:
    return EngineError(
        f"atomate2 does not run engine {spec.name!r}",
        limit=f"it runs {', '.join(sorted(RUN_BY_ATOMATE2))}",
        why="a setting that is ignored would let the calculations run elsewhere than asked for",
        remedy="leave `runner` out of the engine",
    )


def _make_engine(place: str, spec: EngineSpec) -> Engine:
    module, _, name = place.rpartition(".")
    engine: Engine = getattr(import_module(f"qdip_dft.engines.{module}"), name).from_spec(spec)
    return engine


def _make_mlip(spec: EngineSpec) -> Engine:
    """The networks that ship with their package; whatever else is named as a potential is a calculator of ASE."""
    from qdip_dft.engines.ase import FORCE_FIELDS

    named = spec.potential
    is_bundled = named is None or (isinstance(named, str) and "." not in named and named not in FORCE_FIELDS)
    return _make_engine("mlip.MlipEngine" if is_bundled else "ase.AseEngine", spec)


_PLACES = {
    "ase": "ase.AseEngine",
    "espresso": "espresso.engine.EspressoEngine",
    "gpaw": "gpaw.engine.GpawEngine",
    "cp2k": "cp2k.engine.Cp2kEngine",
    "vasp": "vasp.engine.VaspEngine",
    "testing": "testing.TestingEngine",
}

ENGINES: dict[str, Callable[[EngineSpec], Engine]] = {
    "mlip": _make_mlip,
    **{name: partial(_make_engine, place) for name, place in _PLACES.items()},
}
"""Every engine by the name that a study uses; its module is loaded when it is made."""
