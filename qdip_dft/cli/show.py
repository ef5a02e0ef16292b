"""`qdip show`: a picture, a file or a description of a crystal, a structure file or a part of a study's candidate."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qdip_dft.cli.exhibit import Exhibit, Outputs, describe_strains, present
from qdip_dft.cli.options import DEFAULT_RESULTS, AsJson, Results
from qdip_dft.errors import StructureError, StudyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qdip_dft.builders.strain import InterfaceCell
    from qdip_dft.flows.steps import StepId
    from qdip_dft.model.interface import Candidate
    from qdip_dft.model.structure import StructureRecord
    from qdip_dft.planning.plan import StudyPlan


class ShownPart(StrEnum):
    """The parts of a candidate that can be shown."""

    INTERFACE = "interface"
    """Film on dot."""
    FILM = "film"
    """The film slab."""
    DOT = "dot"
    """The dot slab."""
    BULK = "bulk"
    """The host phase."""
    REFERENCE = "reference"
    """The host phase strained onto the cell of the interface."""


RELAXED, PREVIEW = "relaxed", "unrelaxed"


def show(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="Catalogue id, structure file or study.")],
    output: Outputs,
    candidate: Annotated[
        str | None, typer.Option("--candidate", help="Candidate of a study: its label, or a piece that only it has.")
    ] = None,
    part: Annotated[ShownPart, typer.Option("--part", help="Part of the candidate.")] = ShownPart.INTERFACE,
    strain_from: Annotated[
        str | None,
        typer.Option("--strain-from", metavar="PHASE", help="Unstrained host: strain of each octahedron around a dot."),
    ] = None,
    results: Results = DEFAULT_RESULTS,
    as_json: AsJson = False,
) -> None:
    """Describe a structure, draw it from two sides, or write it as CIF, POSCAR or extXYZ with its labels.

    Lengths in Å, areas in Å²; strains as fractions in JSON, in percent elsewhere (negative: compressed). A part of a
    study is the relaxed one where the results folder has it, else it is built from unrelaxed crystals.

    Example: qdip show pbs-fapbi3 --candidate orthorhombic --output film.png
    """
    exhibit = _show_candidate(what, candidate, part, results) if _is_study(what) else _show_structure(what, strain_from)
    present(exhibit, output=output, as_json=as_json)


def _is_study(what: str) -> bool:
    from qdip_dft.library.collections import list_studies

    if Path(what).is_file():
        return Path(what).suffix.lower() in {".yaml", ".yml"}
    return what.removesuffix(".yaml") in {path.stem for path in list_studies()}


def _show_structure(what: str, strain_from: str | None) -> Exhibit:
    from qdip_dft.library.collections import find_structure
    from qdip_dft.model.structure import DOT_PART, PASSIVATION_PART
    from qdip_dft.results.structure_export import read_labelled

    path = find_structure(what)
    structure = read_labelled(path)
    facts: dict[str, Any] = {}
    notes = [f"{structure.n_atoms} atoms"]
    if strain_from is not None:
        dot_sites = [site for site, part in enumerate(structure.parts) if part in {DOT_PART, PASSIVATION_PART}]
        facts, note = _map_strain(structure, dot_sites, strain_from)
        notes.append(note)
    title = path.name if Path(what).is_file() else what
    return Exhibit(structure, title=title, notes=tuple(notes), facts=facts)


def _map_strain(record: StructureRecord, dot_sites: list[int], strain_from: str) -> tuple[dict[str, Any], str]:
    from qdip_dft.analysis.strain_map import map_strain
    from qdip_dft.library.crystals import load_crystal_record

    if not dot_sites:
        raise StructureError(
            "no atom of the file belongs to a dot",
            limit="a strain map needs atoms labelled `dot` or `passivation`",
            why="the distance from the dot would have no meaning",
            remedy="give a CIF or extXYZ file that `qdip dot --host` or `qdip show` wrote",
        )
    strains = map_strain(record, reference=load_crystal_record(strain_from).structure, dot_sites=dot_sites)
    largest = max((strain.von_mises_strain for strain in strains), default=0.0)
    note = f"{len(strains)} octahedra, von Mises strain up to {100 * largest:.2f} % against {strain_from}"
    return describe_strains(strains), note


def _show_candidate(study: str, wanted: str | None, part: ShownPart, results: Path) -> Exhibit:
    from qdip_dft.planning.plan import plan_study
    from qdip_dft.planning.study_files import read_study

    plan = plan_study(read_study(study))
    candidate = _find_candidate(plan, wanted)
    structures, relaxed, candidate = _gather_structures(plan, candidate, results)
    step = _find_step(plan, candidate, part)
    record, state = structures[step], RELAXED if step in relaxed else PREVIEW
    cell = _find_cell(plan, candidate, structures)
    subject = plan.crystals[candidate.phase].id if part is ShownPart.BULK else candidate.label
    return Exhibit(
        _label(plan, candidate, part, record, structures),
        title=f"{part.value} {subject}",
        notes=(f"{state}, {record.n_atoms} atoms", *_write_strains(candidate, part, cell)),
        part_names=_name_parts(candidate, part),
        faces=_find_faces(candidate, part),
        facts={
            "study": plan.study.name,
            "candidate": candidate.label,
            "part": part.value,
            "state": state,
            "cell_film": [list(row) for row in candidate.film_matrix],
            "cell_dot": [list(row) for row in candidate.dot_matrix],
            "film_principal_strains": list(cell.film_principal_strains),
            "dot_principal_strains": list(cell.dot_principal_strains),
            "interface_area_ang2": cell.area_ang2,
        },
    )


def _find_candidate(plan: StudyPlan, wanted: str | None) -> Candidate:
    candidates = plan.steps.candidates
    found = [c for c in candidates if wanted is None or wanted == c.label]
    found = found or [c for c in candidates if wanted is not None and wanted in c.label]
    if len(found) == 1:
        return found[0]
    asked = "no candidate was named" if wanted is None else f"{len(found)} candidates fit {wanted!r}"
    raise StudyError(
        asked,
        limit=f"{plan.study.name} has {'; '.join(c.label for c in candidates)}",
        why="each has a structure of its own",
        remedy='name one with --candidate, such as --candidate "' + candidates[0].label + '"'
        if candidates
        else "widen the limits of the study, `qdip plan` says what was dropped",
    )


def _find_faces(candidate: Candidate, part: ShownPart) -> tuple[str, str] | None:
    """Return the layers that the film ends with; it is turned over, where it is, on the dot only."""
    bottom, _, top = candidate.termination.partition("|")
    return {ShownPart.INTERFACE: candidate.faces, ShownPart.FILM: (bottom, top)}.get(part)


def _gather_structures(
    plan: StudyPlan, candidate: Candidate, results: Path
) -> tuple[dict[StepId, StructureRecord], frozenset[StepId], Candidate]:
    """Return the best known structure of every step, which of them are relaxed, and the candidate as it was built.

    Parts that are not calculated yet are built on the relaxed ones where these exist.
    """
    from qdip_dft.flows.assembly import place_built
    from qdip_dft.flows.building import build_structure, preview_structures
    from qdip_dft.storage.results_folder import ResultsFolder, open_archive

    if not results.exists():
        return preview_structures(plan.steps), frozenset(), candidate
    resolution = plan.resolve(open_archive(ResultsFolder(results)).find_record)
    structures: dict[StepId, StructureRecord] = {}
    relaxed = set()
    for step in plan.steps.steps:
        record = resolution.usable(step.id)
        if record is not None and record.result is not None:
            structures[step.id] = record.result.structure
            relaxed.add(step.id)
        else:
            structures[step.id] = build_structure(plan.steps, step, structures)
    return structures, frozenset(relaxed), place_built(plan.steps, resolution, candidate)


def _find_step(plan: StudyPlan, candidate: Candidate, part: ShownPart) -> StepId:
    from qdip_dft.flows.steps import Part

    parts = {
        ShownPart.INTERFACE: Part.INTERFACE,
        ShownPart.FILM: Part.FILM_SLAB,
        ShownPart.DOT: Part.DOT_SLAB,
        ShownPart.BULK: Part.BULK,
        ShownPart.REFERENCE: Part.STRAINED_BULK,
    }
    return plan.steps.relaxations_of(candidate)[parts[part]]


def _find_cell(plan: StudyPlan, candidate: Candidate, structures: Mapping[StepId, StructureRecord]) -> InterfaceCell:
    from qdip_dft.flows.steps import Part

    steps = plan.steps
    dot, film = steps.id_of(Part.DOT_BULK, candidate.dot), steps.id_of(Part.BULK, candidate.phase)
    return steps.geometry_of(candidate).interface_cell(structures[dot], structures[film])


def _label(
    plan: StudyPlan,
    candidate: Candidate,
    part: ShownPart,
    record: StructureRecord,
    structures: Mapping[StepId, StructureRecord],
) -> StructureRecord:
    """Return a structure with its ions and parts."""
    from qdip_dft.flows.steps import Part
    from qdip_dft.results.structure_export import label_slab, label_structure

    if part in {ShownPart.BULK, ShownPart.REFERENCE}:
        return label_structure(record)
    n_dot = {
        ShownPart.INTERFACE: structures[plan.steps.id_of(Part.DOT_SLAB, candidate.id)].n_atoms,
        ShownPart.DOT: record.n_atoms,
    }.get(part, 0)
    return label_slab(record, n_dot=n_dot, passivation=candidate.passivation)


def _name_parts(candidate: Candidate, part: ShownPart) -> dict[str, str]:
    names = {"dot": f"{candidate.dot}({candidate.dot_plane})", "film": f"{candidate.phase}({candidate.film_plane})"}
    return names if part is ShownPart.INTERFACE else {}


def _write_strains(candidate: Candidate, part: ShownPart, cell: InterfaceCell) -> tuple[str, ...]:
    from qdip_dft.model.orientation import count_surface_cells
    from qdip_dft.report.words import write_strains

    film, dot = count_surface_cells(candidate.film_matrix), count_surface_cells(candidate.dot_matrix)
    film_words = f"film strain {write_strains(cell.film_principal_strains)} %"
    dot_words = f"dot strain {write_strains(cell.dot_principal_strains)} %"
    cells = f"{film} film cells on {dot} dot cells"
    return {
        ShownPart.INTERFACE: (f"{cells}, {film_words}, {dot_words}",),
        ShownPart.FILM: (film_words,),
        ShownPart.REFERENCE: (film_words,),
        ShownPart.DOT: (dot_words,),
        ShownPart.BULK: (),
    }[part]
