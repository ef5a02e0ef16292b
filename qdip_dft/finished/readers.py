"""Which reader a folder needs, and what the engine of the same code would run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from qdip_dft.engines.cp2k.engine import Cp2kEngine
from qdip_dft.engines.dft import DftEngine
from qdip_dft.engines.espresso.engine import EspressoEngine
from qdip_dft.engines.gpaw.engine import GpawEngine
from qdip_dft.engines.vasp.engine import VaspEngine
from qdip_dft.finished.codes import cp2k, espresso, gpaw, vasp
from qdip_dft.finished.finished_run import FinishedRun, Settings
from qdip_dft.model.calculation import CalculationTask

READERS: dict[str, ModuleType] = {
    VaspEngine.name: vasp,
    EspressoEngine.name: espresso,
    Cp2kEngine.name: cp2k,
    GpawEngine.name: gpaw,
}
"""The modules of the codes, by the name of the engine; each has `find_output`, `read_run` and `expected_settings`."""

NAMES = {engine.name: engine.code for engine in (VaspEngine, EspressoEngine, Cp2kEngine, GpawEngine)}


def find_code(folder: Path) -> str | None:
    """Return the engine whose code left its output in a folder; None if none did.

    Raises
    ------
    EngineError
        If there are several outputs.
    """
    return next((name for name, reader in READERS.items() if reader.find_output(folder) is not None), None)


def read_run(folder: Path, engine: str) -> FinishedRun:
    """Return the finished calculation of a folder.

    Parameters
    ----------
    folder
        The folder.
    engine
        What `find_code` says.

    Raises
    ------
    EngineError
        If its output is incomplete, not self-consistent, without its potentials, or not that of its input.
    """
    read: Callable[[Path], FinishedRun] = READERS[engine].read_run
    return read(folder)


def expected_settings(engine: DftEngine, task: CalculationTask) -> Settings:
    """Return the settings that an engine would run a task with, by the names of `FinishedRun.settings`.

    Parameters
    ----------
    engine, task
        Of a step of a study.
    """
    setting = engine.setting_of(task.structure, task.freedom, Path())
    found: Settings = READERS[engine.name].expected_settings(engine, setting, task.structure.arrangement)
    return found
