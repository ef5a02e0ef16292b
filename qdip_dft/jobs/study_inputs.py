"""What the Makers of atomate2 for the codes of a study share; imported only where a study asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pymatgen.core import Structure

from qdip_dft.errors import EngineError
from qdip_dft.model.calculation import CalculationTask
from qdip_dft.model.structure import StructureRecord

if TYPE_CHECKING:
    from jobflow import Job

    from qdip_dft.engines.dft import DftEngine


def make_job(
    maker: Any, inputs: Any, task: CalculationTask, engine: DftEngine, order: Sequence[int], **changes: Any
) -> Job:
    """Return the job of one calculation; its output is the document of atomate2 for its code.

    Parameters
    ----------
    maker
        A Maker of atomate2, changed by powerups or not.
    inputs
        The class of the generator of its inputs; has the fields ``engine`` and ``freedom``.
    task
        What is calculated.
    engine
        The engine of this very calculation: with or without spin-orbit coupling, or of another preset.
    order
        The sites of the task in the order of the files.
    changes
        Other fields of the Maker for this calculation.

    Raises
    ------
    EngineError
        If a powerup has put another generator of inputs in place of the study's.
    """
    found = maker.input_set_generator
    if not isinstance(found, inputs):
        raise _other_inputs(type(found).__name__, inputs.__name__)
    generator = replace(found, engine=engine, freedom=task.freedom.value)
    own = replace(maker, name=task.label, input_set_generator=generator, **changes)
    job: Job = own.make(_as_pymatgen(task.structure, order))
    return job


def _as_pymatgen(structure: StructureRecord, order: Sequence[int]) -> Structure:
    """The structure for a Maker, which takes from it what is held."""
    held = (
        {"selective_dynamics": [[not structure.is_fixed[site]] * 3 for site in order]} if structure.is_fixed else None
    )
    return Structure(
        structure.lattice_ang,
        [structure.species[site] for site in order],
        [structure.frac_coords[site] for site in order],
        site_properties=held,
    )


def _other_inputs(name: str, expected: str) -> EngineError:
    return EngineError(
        f"the inputs would be written by {name}",
        limit=f"those of a study are written by {expected}, which powerups may change tag by tag",
        why="no calculation would be at the level of theory of the study",
        remedy="change single tags with a powerup such as `update_user_incar_settings` (VASP) or"
        " `update_user_input_settings` (CP2K), or the engine in the study",
    )
