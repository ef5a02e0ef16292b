"""`qdip structures`: what the crystal library holds, and whether it is sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from qdip_dft.cli.options import AsJson
from qdip_dft.cli.output import console, write_json, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qdip_dft.builders.terminations import TerminationPair
    from qdip_dft.library.checks import Finding
    from qdip_dft.model.material import Crystal

app = typer.Typer(
    no_args_is_help=True, help="List, show and check the crystals of the library.\n\nExample: qdip structures list"
)

Name = Annotated[str, typer.Argument(metavar="PHASE", help="Catalogue id or structure file.")]


@app.command("list")
def list_phases(as_json: AsJson = False) -> None:
    """List all phases: id, space group, formula units per cell, volume in Å³ per formula unit, and their source.

    Example: qdip structures list
    """
    if as_json:
        from qdip_dft.library.collections import load_catalogue

        write_json([entry.model_dump(mode="json") for entry in load_catalogue().phases])
        return
    from qdip_dft.library.collections import list_filed_phases

    write_table(
        ("id", "formula", "space group", "Z", "Å³/f.u.", "verified"),
        [
            (entry["id"], entry["formula"], entry["space_group"], str(entry["formula_units"]),
             f"{entry['volume_ang3_per_fu']:.2f}", "yes" if entry["is_verified"] else "unverified")
            for entry in list_filed_phases()
        ],
        numbers=("Z", "Å³/f.u."),
        caption="unverified: the numbers were not compared with their source yet",
    )  # fmt: skip


@app.command("show")
def show(name: Name, as_json: AsJson = False) -> None:
    """Show one crystal: cell in Å and degrees, formal charges in e, source and note.

    Example: qdip structures show FAPbI3-delta
    """
    from qdip_dft.library.crystals import load_crystal

    description = _describe(load_crystal(name))
    if as_json:
        write_json(description)
        return
    for key, value in description.items():
        if key != "sites":
            console().print(f"{key:<22} {_in_words(value)}", markup=False)
    for site in description["sites"]:
        x, y, z = site["frac_coords"]
        console().print(f"  {site['element']:<3} {x:9.5f} {y:9.5f} {z:9.5f}", markup=False)


def _describe(crystal: Crystal) -> dict[str, Any]:
    lattice = crystal.structure.lattice
    entry = {} if crystal.entry is None else crystal.entry.model_dump(mode="json", exclude={"id", "formula_units"})
    return {
        "id": crystal.id,
        **entry,
        "formula_units": crystal.formula_units,
        "formal_charges": dict(crystal.formal_charges),
        "lengths_ang": list(lattice.abc),
        "angles_degree": list(lattice.angles),
        "volume_ang3_per_fu": lattice.volume / crystal.formula_units,
        "n_atoms": len(crystal.structure),
        "sites": [{"element": s.specie.symbol, "frac_coords": s.frac_coords.tolist()} for s in crystal.structure],
    }


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{name} {number:+d}" if isinstance(number, int) else f"{name} {number}" for name, number in value.items()
        )
    if isinstance(value, list) and value and isinstance(value[0], float):
        return "  ".join(f"{number:.4f}" for number in value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)


@app.command("check")
def check(
    name: Annotated[str | None, typer.Argument(metavar="PHASE", help="Id or file; none: all phases.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check charge, formula units, contacts in Å, symmetry, volume and molecules; exit code 1 if anything is wrong.

    Example: qdip structures check CsPbI3-delta
    """
    from qdip_dft.library.checks import check_crystal
    from qdip_dft.library.collections import load_catalogue
    from qdip_dft.library.crystals import load_crystal

    names = [name] if name else list(load_catalogue().ids)
    findings = {each: check_crystal(load_crystal(each)) for each in names}
    if as_json:
        write_json({each: [finding._asdict() for finding in found] for each, found in findings.items()})
    else:
        for each, found in findings.items():
            _print_findings(each, found, is_detailed=name is not None)
    if not all(finding.is_passed for found in findings.values() for finding in found):
        raise typer.Exit(1)


def _print_findings(name: str, findings: list[Finding], *, is_detailed: bool) -> None:
    failed = [finding for finding in findings if not finding.is_passed]
    console().print(f"{name:<24} {'ok' if not failed else f'{len(failed)} finding(s)'}", markup=False)
    for finding in findings if is_detailed else failed:
        mark = "ok  " if finding.is_passed else "FAIL"
        console().print(f"  {mark} {finding.check}: {finding.message}", markup=False)


@app.command("terminations")
def terminations(
    name: Name,
    plane: Annotated[str, typer.Argument(metavar="HKL", help="Plane of the conventional cell, such as 100.")],
    as_json: AsJson = False,
) -> None:
    """List the terminations of a plane: bottom and top chemical layer, charges, dipole, excess and symmetry.

    Charges in e and excess per 1 × 1 cell; dipole in e·Å per 1 × 1 cell and lattice plane; broken bond valence per
    1 × 1 cell and face.

    Example: qdip structures terminations CsPbI3-alpha 100
    """
    from qdip_dft.builders.completion import list_completions
    from qdip_dft.builders.faces import orient_face
    from qdip_dft.builders.terminations import list_terminations
    from qdip_dft.library.crystals import load_crystal_record

    face = orient_face(load_crystal_record(name), plane)
    found = list_terminations(face.oriented)
    pairs = (*found.pairs, *list_completions(face.oriented, found.pairs))
    if as_json:
        described = [_describe_pair(pair) for pair in pairs]
        write_json({"face": face.name, "terminations": described, "reasons": list(found.reasons)})
        return
    _print_terminations(face.name, pairs)
    for reason in found.reasons:
        console().print(reason, markup=False)


def _describe_pair(pair: TerminationPair) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": pair.name,
        **asdict(pair),
        "is_symmetric": pair.is_symmetric,
        "is_stoichiometric": pair.is_stoichiometric,
        "excess_in_words": pair.excess_in_words,
    }


def _print_terminations(title: str, pairs: Sequence[TerminationPair]) -> None:
    console().print(title, markup=False)
    if not pairs:
        return
    headings = ("bottom|top", "layers", "film", "type", "dipole", "broken", "symmetry", "excess")
    rows = [
        (pair.name, f"{pair.bottom_charge_e:+d}|{pair.top_charge_e:+d}", f"{pair.charge_e:+d}", pair.tasker_type.value,
         f"{pair.dipole_e_ang:.3f}", f"{pair.broken_valence:.2f}",
         "none" if pair.symmetry is None else pair.symmetry.value, pair.excess_in_words)
        for pair in pairs
    ]  # fmt: skip
    caption = (
        "layers, film: formal charges in e; type: Tasker's; dipole in e·Å; broken: bond valence per 1 × 1 cell; "
        "symmetry: what makes both faces alike. Charged films must be completed or passivated first."
    )
    write_table(headings, rows, numbers=headings[1:6], caption=caption)
