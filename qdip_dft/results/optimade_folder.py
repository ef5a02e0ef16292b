"""A folder that an OPTIMADE server can serve: every calculated structure as one line of ``optimade.jsonl``.

Format: OPTIMADE JSON Lines (OPTIMADE specification, appendix): a header, the properties of the entries, one entry per
line.  Structure entries follow version 1.1; our own properties have the prefix ``_qdip_``, as the specification asks of
properties that it does not define (Andersen et al., Sci. Data 2021, 8, 217).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from qdip_dft.errors import ResultsError
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.structure import StructureRecord
from qdip_dft.results.evidence import Evidence, gather_evidence, list_keys
from qdip_dft.results.writing import open_whole

if TYPE_CHECKING:
    from qdip_dft.results.archive import Archive

API_VERSION = "1.1.0"
"""The version of the specification whose property descriptions are used; later ones read them too."""

_OWN_PROPERTIES = {
    "_qdip_energy": ("float", "eV", "Potential energy of the cell."),
    "_qdip_forces": ("list", "eV/angstrom", "Force on each site, minus the gradient of the energy."),
    "_qdip_stress": ("list", "eV/angstrom^3", "3 x 3 stress, positive in tension."),
    "_qdip_max_force": ("float", "eV/angstrom", "Largest force on a free atom."),
    "_qdip_is_converged": ("boolean", None, "Whether every asked threshold was reached."),
    "_qdip_label": ("string", None, "The part of the study that the structure was calculated for."),
    "_qdip_results": ("list", None, "Ids of the stabilization results that rest on the calculation."),
    "_qdip_freedom": ("string", None, "What was relaxed: none, positions, out_of_plane or cell."),
    "_qdip_level": ("string", None, "How far the energy may be trusted: test, screening or dft."),
    "_qdip_code": ("string", None, "Program or potential, with its version."),
    "_qdip_functional": (
        "string",
        None,
        "Exchange-correlation functional, or the one a potential was trained on.",
    ),
    "_qdip_dispersion": ("string", None, "Dispersion correction."),
    "_qdip_weights_hash": ("string", None, "SHA-256 of the potential's weights or of the pseudopotentials."),
}
"""Type, unit and description of our own properties."""

_STANDARD_PROPERTIES = {
    "last_modified": ("timestamp", None, "When the calculation was finished."),
    "elements": ("list", None, "Elements of the structure, in alphabetical order."),
    "nelements": ("integer", None, "Number of elements."),
    "elements_ratios": ("list", None, "Fraction of each element."),
    "chemical_formula_descriptive": ("string", None, "Formula of the cell."),
    "chemical_formula_reduced": ("string", None, "Formula in smallest whole numbers, elements in alphabetical order."),
    "chemical_formula_anonymous": ("string", None, "Formula with elements replaced by letters, largest share first."),
    "dimension_types": ("list", None, "1 for each periodic direction; slabs are periodic with vacuum."),
    "nperiodic_dimensions": ("integer", None, "Number of periodic directions."),
    "lattice_vectors": ("list", "angstrom", "The three lattice vectors."),
    "cartesian_site_positions": ("list", "angstrom", "Position of each site."),
    "nsites": ("integer", None, "Number of sites."),
    "species": ("list", None, "The species."),
    "species_at_sites": ("list", None, "Name of the species at each site."),
    "structure_features": ("list", None, "Special features; none here."),
}  # fmt: skip


def export_optimade(archive: Archive, result_id: str, folder: Path) -> int:
    """Write the structures of a result, each calculation as one entry, and return how many there are.

    Parameters
    ----------
    archive
        Where the results are stored.
    result_id
        Name of a study, or one result as ``study@facet``.
    folder
        Where ``optimade.jsonl`` and a README are written; it is created.

    Raises
    ------
    ResultsError
        If there is no such result, nothing of it was calculated, or the folder cannot be written.
    """
    evidence = gather_evidence(archive, result_id)
    entries = list(_make_entries(evidence))
    if not entries:
        raise ResultsError(
            f"nothing of {result_id} was calculated",
            limit="an entry needs a structure with an energy",
            why="the folder would be empty",
            remedy=f"qdip run {result_id} --retry",
        )
    header: JsonValue = {"x-optimade": {"api_version": API_VERSION, "meta": {"api_version": API_VERSION}}}
    with open_whole(folder / "optimade.jsonl") as file:
        for line in (header, _describe_properties(), *entries):
            file.write((json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode())
    with open_whole(folder / "README.md") as file:
        file.write(_write_readme(evidence, n_entries=len(entries)).encode())
    return len(entries)


def _describe_properties() -> JsonValue:
    properties = {**_STANDARD_PROPERTIES, **_OWN_PROPERTIES}
    described: dict[str, JsonValue] = {
        name: {"description": words, "unit": unit, "sortable": kind not in {"list", "dictionary"}, "type": kind}
        for name, (kind, unit, words) in properties.items()
    }
    return {
        "type": "info",
        "id": "structures",
        "description": "Structures calculated with qdip_dft, with energy, forces and level of theory.",
        "formats": ["json"],
        "output_fields_by_format": {"json": list(properties)},
        "properties": described,
    }


def _make_entries(evidence: Evidence) -> Iterator[JsonValue]:
    results_of: dict[str, list[JsonValue]] = {}
    for document in evidence.documents:
        for key in list_keys(document):
            results_of.setdefault(key, []).append(document.id)
    for record in evidence.calculations:
        if record.result is not None and not record.task.structure.presence:
            own = {**_describe_calculation(record), "_qdip_results": results_of[record.key]}
            attributes = {**_describe_structure(record.result.structure), **own}
            yield {"type": "structures", "id": record.key, "attributes": attributes}


def _describe_calculation(record: CalculationRecord) -> dict[str, JsonValue]:
    assert record.result is not None  # only these become entries
    result, theory = record.result.model_dump(mode="json"), record.theory
    return {
        "last_modified": record.finished_at.replace("+00:00", "Z"),
        "_qdip_energy": result["energy_ev"],
        "_qdip_forces": result["forces_ev_per_ang"],
        "_qdip_stress": result["stress_ev_per_ang3"],
        "_qdip_max_force": result["max_force_ev_per_ang"],
        "_qdip_is_converged": result["is_converged"],
        "_qdip_label": record.task.label,
        "_qdip_freedom": record.task.freedom.value,
        "_qdip_level": theory.level.value,
        "_qdip_code": f"{theory.code} {theory.code_version}",
        "_qdip_functional": theory.functional,
        "_qdip_dispersion": theory.dispersion,
        "_qdip_weights_hash": theory.weights_hash,
    }


def _describe_structure(structure: StructureRecord) -> dict[str, JsonValue]:
    from pymatgen.io.optimade import OptimadeStructureAdapter

    resource: dict[str, Any] = OptimadeStructureAdapter.get_optimade_structure(structure.to_pymatgen())
    attributes: dict[str, JsonValue] = resource["attributes"]
    elements = sorted(set(structure.species))
    attributes["species"] = [{"name": s, "chemical_symbols": [s], "concentration": [1.0]} for s in elements]
    return {name: attributes[name] for name in _STANDARD_PROPERTIES}


def _write_readme(evidence: Evidence, *, n_entries: int) -> str:
    answers = "\n".join(f"* {document.id}: {document.stabilization.sentence}" for document in evidence.documents)
    return f"""\
# Structures for OPTIMADE

`optimade.jsonl` holds {n_entries} structures with energies in the JSON Lines format of OPTIMADE (https://www.optimade.org).
The reference server, `optimade-python-tools`, serves it when its setting `insert_from_jsonl` names the file. Properties
that begin with `_qdip_` are described, with units, in the second line. The structures belong to

{answers}
"""
