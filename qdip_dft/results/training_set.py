"""Structures with energies, forces and stress as extended XYZ, the format that training programs of potentials read.

Units and signs are ASE's: energy in eV per cell, forces −dE/dx in eV/Å, stress dE/dε / V in eV/Å³, positive in tension.
Numbers are written with all digits, unlike ASE's own writer, which keeps eight after the point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qdip_dft.analysis.stability import require_one_theory
from qdip_dft.errors import ResultsError
from qdip_dft.model.calculation import CalculationRecord, Freedom
from qdip_dft.model.structure import StructureRecord
from qdip_dft.results.evidence import gather_evidence
from qdip_dft.results.writing import open_whole

if TYPE_CHECKING:
    from qdip_dft.results.archive import Archive


def export_training_set(archive: Archive, result_id: str, path: Path) -> int:
    """Write one frame for each geometry of a result that has a converged energy; return how many there are.

    A relaxation's last geometry and the static calculation at the same geometry are one frame, that of the static one.
    The steps of a relaxation are not stored.  Calculations of other models, asked for the uncertainty of a study, those
    with ghost atoms, and relaxations at another level than the energies are left out.

    Parameters
    ----------
    archive
        Where the results are stored.
    result_id
        Name of a study, or one result as ``study@facet``.
    path
        The file.

    Raises
    ------
    ResultsError
        If there is no such result, it has no converged calculation, or the file cannot be written.
    LevelOfTheoryError
        If its facets were calculated at different levels of theory.
    """
    evidence = gather_evidence(archive, result_id)
    theories = [document.theory for document in evidence.documents]
    records = _choose_frames([record for record in evidence.calculations if record.theory in theories])
    if not records:
        raise ResultsError(
            f"{result_id} has no converged calculation",
            limit="frames need a converged energy",
            why="a potential would learn numbers that mean nothing",
            remedy=f"qdip run {result_id} --retry",
        )
    require_one_theory([record.theory for record in records])
    with open_whole(path) as file:
        for record in records:
            file.write("".join(f"{line}\n" for line in _render_frame(record)).encode())
    return len(records)


def _choose_frames(records: Sequence[CalculationRecord]) -> list[CalculationRecord]:
    """Return the usable records, each geometry once, static calculations first."""
    chosen: dict[StructureRecord, CalculationRecord] = {}
    for record in sorted(records, key=lambda record: record.task.freedom is not Freedom.NONE):
        if record.is_usable and record.result is not None and not record.task.structure.presence:
            chosen.setdefault(record.result.structure, record)
    return list(chosen.values())


def _render_frame(record: CalculationRecord) -> Iterator[str]:
    assert record.result is not None  # chosen for it
    structure = record.result.structure
    yield str(structure.n_atoms)
    yield " ".join(f'{name}="{value}"' for name, value in _describe_frame(record).items())
    positions_ang = structure.arrangement.positions_ang
    rows = zip(structure.species, positions_ang.tolist(), record.result.forces_ev_per_ang, strict=True)
    for symbol, position_ang, force_ev_per_ang in rows:
        yield f"{symbol} {_join([*position_ang, *force_ev_per_ang])}"


def _describe_frame(record: CalculationRecord) -> dict[str, str]:
    """Return the second line of a frame: what ASE reads by name, and where the numbers come from."""
    assert record.result is not None
    result, theory = record.result, record.theory
    stress = {} if result.stress_ev_per_ang3 is None else {"stress": _join(sum(result.stress_ev_per_ang3, ()))}
    return {
        "Lattice": _join(sum(result.structure.lattice_ang, ())),
        "Properties": "species:S:1:pos:R:3:forces:R:3",
        "pbc": "T T T",
        "energy": _join([result.energy_ev]),
        **stress,
        "label": _quote(record.task.label),
        "calculation_key": record.key,
        "level": theory.level.value,
        "level_of_theory": _quote(f"{theory.engine} {theory.code} {theory.code_version} {theory.functional} "
                                  f"{theory.dispersion}"),
        "weights_hash": theory.weights_hash,
        "units": "eV, eV/Ang, eV/Ang^3 (positive: tension)",
    }  # fmt: skip


def _join(values: Sequence[float]) -> str:
    """Return numbers with the digits that give them back exactly."""
    return " ".join(repr(float(value)) for value in values)


def _quote(text: str) -> str:
    return text.replace('"', "'").replace("\\", "/").replace("\n", " ")
