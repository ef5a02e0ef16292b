"""Calculation keys: the same question is asked once, whoever asks it.

A key is the SHA-256 of canonical JSON: the structure (wrapped, rounded to 1e-4 Å, sorted; labels dropped, constraints
and sites without an atom kept), what may move, the level of theory, and for relaxations the thresholds.  The id of the
job is a UUID5 of the key and the number of the attempt.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from qdip_dft.model.calculation import CalculationRecord, CalculationTask, Freedom, LevelOfTheory
from qdip_dft.model.registry import RegistryScanTask
from qdip_dft.model.snapping import ceil_whole
from qdip_dft.model.structure import StructureRecord, Vector

POSITION_ROUNDING_ANG = 1e-4
"""Structures that agree to this are the same question."""

GRID_OFFSET = 0.137
"""Shift of the rounding grid in units of its spacing: without it, high-symmetry sites such as 1/2 and lattice constants
of few digits lie exactly between two grid points, where a rounding error would change the key."""

KEY_NAMESPACE = UUID("6f1c3a52-5d1e-4a63-9a54-6d0f2f2f8d11")
"""Namespace of the job ids; never change it."""


def calculation_key(task: CalculationTask, theory: LevelOfTheory, relaxation_settings: Mapping[str, JsonValue]) -> str:
    """Return the key of a calculation (64 hexadecimal digits).

    Parameters
    ----------
    task
        Structure and freedom; its label does not count.
    theory
        Level of theory.
    relaxation_settings
        Thresholds and limits of a relaxation; ignored for a static calculation.
    """
    content = {
        "structure": _canonical_structure(task.structure),
        "freedom": task.freedom.value,
        "theory": theory.model_dump(mode="json"),
        "relaxation": dict(relaxation_settings) if task.freedom is not Freedom.NONE else None,
    }
    return _digest(content)


def registry_scan_key(task: RegistryScanTask, theory: LevelOfTheory) -> str:
    """Return the key of a scan (64 hexadecimal digits): everything asked but the label, and the theory."""
    slabs = [slab for slab in (task.dot, task.film, task.outer_dot) if slab is not None]
    content = {
        "task": task.model_dump(mode="json", exclude={"label", "dot", "film", "outer_dot"}),
        "slabs": [_canonical_structure(slab) for slab in slabs],
        "theory": theory.model_dump(mode="json"),
    }
    return _digest(content)


def _digest(content: Mapping[str, object]) -> str:
    """Return the SHA-256 of plain data as canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def job_id(key: str, *, attempt: int = 0) -> str:
    """Return the id of the job that makes a calculation: the same for everyone, new for each attempt."""
    return str(uuid5(KEY_NAMESPACE, f"{key}:{attempt}"))


def _canonical_structure(structure: StructureRecord) -> dict[str, JsonValue]:
    order, wrapped = _canonical_order(structure)
    fixed = structure.is_fixed or (False,) * structure.n_atoms
    kinds = structure.arrangement.kinds
    return {
        "lattice": _round_to_grid(np.array(structure.lattice_ang) / POSITION_ROUNDING_ANG).tolist(),
        "sites": [[kinds[i], *wrapped[i].tolist(), bool(fixed[i])] for i in order],
    }


def _canonical_order(structure: StructureRecord) -> tuple[list[int], NDArray[np.int_]]:
    """Return the site order by element and wrapped position, and the positions in whole units of the rounding."""
    lengths = np.linalg.norm(np.array(structure.lattice_ang), axis=1)
    divisions = np.maximum(ceil_whole(lengths / POSITION_ROUNDING_ANG - 0.5), 1).astype(int)  # halves go down
    wrapped = _round_to_grid(np.array(structure.frac_coords) * divisions) % divisions
    order = sorted(range(structure.n_atoms), key=lambda i: (structure.species[i], *wrapped[i]))
    return order, wrapped


def _round_to_grid(values: NDArray[np.float64]) -> NDArray[np.int_]:
    return np.asarray(np.round(values + GRID_OFFSET), dtype=int)


def adapt_record(record: CalculationRecord, task: CalculationTask) -> CalculationRecord:
    """Return a stored record with its sites in the order, its atoms in the cells and its cell as of another asker.

    Two askers may list the same atoms in another order, in neighbouring cells, or in cells that differ within the
    rounding; the key does not see the difference, but whoever builds on the result must get his own sites back, in the
    vectors that did not relax.

    Parameters
    ----------
    record
        A record whose key equals that of the task.
    task
        The new question.
    """
    if record.result is None or record.task.structure == task.structure:
        return record.model_copy(update={"task": task})
    theirs, _ = _canonical_order(record.task.structure)
    mine, _ = _canonical_order(task.structure)
    source = [0] * len(mine)
    for their_index, my_index in zip(theirs, mine, strict=True):
        source[my_index] = their_index
    start = np.array(record.task.structure.frac_coords)[source]
    cells = np.round(np.array(task.structure.frac_coords) - start)
    final = record.result.structure
    structure = task.structure.model_copy(
        update={
            "lattice_ang": _adapt_lattice(final, task),
            "frac_coords": tuple(map(tuple, (np.array(final.frac_coords)[source] + cells).tolist())),
        }
    )
    forces = tuple(record.result.forces_ev_per_ang[i] for i in source)
    result = record.result.model_copy(update={"structure": structure, "forces_ev_per_ang": forces})
    return record.model_copy(update={"task": task, "result": result})


def _adapt_lattice(final: StructureRecord, task: CalculationTask) -> tuple[Vector, Vector, Vector]:
    first, second, third = task.structure.lattice_ang
    if task.freedom is Freedom.CELL:
        return final.lattice_ang
    return (first, second, final.lattice_ang[2] if task.freedom is Freedom.OUT_OF_PLANE else third)
