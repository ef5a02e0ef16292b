"""Write docs/systems.md: what the ready-made study of every system builds.

Run it after a change of a study or of the crystal library:  python scripts/write_systems_table.py [--output FILE]
Everything is built from the crystals as filed; nothing is calculated.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from qdip_dft.builders.ions import find_ions
from qdip_dft.flows.building import preview_structures
from qdip_dft.flows.steps import Part, Structures, StudySteps
from qdip_dft.library.collections import load_catalogue
from qdip_dft.model.interface import Candidate
from qdip_dft.model.structure import StructureRecord
from qdip_dft.model.study import PhaseRole
from qdip_dft.planning.plan import plan_study
from qdip_dft.planning.study_files import read_study

SYSTEMS: dict[str, tuple[str, ...]] = {
    "PbS in FAPbI3": ("pbs-fapbi3", "pbs-fapbi3-phases"),
    "PbS in CsPbI3": ("pbs-cspbi3", "pbs-cspbi3-phases"),
    "PbS in MAPbI3": ("pbs-mapbi3",),
    "PbS in MAPbBr3": ("pbs-mapbbr3",),
    "PbS in MAPb(I,Br)3": ("pbs-mapb-ibr3",),
    "PbS in CsPbBr2I": ("pbs-cspbbr2i",),
    "PbS in CsPb(I,Br)3": ("pbs-cspb-ibr3",),
    "PbSe in CsPbBr3": ("pbse-cspbbr3",),
    "CsPbBr3 in Cs4PbBr6": ("cspbbr3-cs4pbbr6",),
    "SnS in MAPbI3": ("sns-mapbi3",),
    "CuInSe2 in MAPbI3": ("cuinse2-mapbi3",),
    "Ag2S in (Cs,FA,MA)PbI3": ("ag2s-triple-cation",),
    "PbS in (PEA)2Cs(n-1)PbnBr(3n+1)": ("pbs-quasi-2d-n1", "pbs-quasi-2d-n2"),
    "black P in CsPbI2Br": ("black-p-cspbi2br",),
    "carbon in MAPbI3": ("graphene-mapbi3", "graphene-oh-mapbi3"),
    "PbS in NaI": ("pbs-nai",),
    "InP in CsPbI3": ("inp-cspbi3", "inp-cspbi3-100"),
}
"""The seventeen systems and their studies."""

INTRODUCTION = """# The systems

The field's seventeen pairs of dot and host, each with a ready-made study. `qdip plan STUDY` builds all of its
structures and prints what would be calculated; `qdip run STUDY` calculates it.

The tables are written by `scripts/write_systems_table.py` from the studies and the crystal library; a test keeps them
current. Cells are searched on the lattices as filed. The strains are the film's two principal strains; the termination
is the film's bottom layer, which touches the dot, and its top layer; the number of atoms is that of the interface; the
charge is the sum of the interface's formal charges, with the anions that a polar facet needs. A crystal marked with †
has a cell from memory that was not yet compared with its source, or was built and not refined: see its entry in
[the crystal library](../structures/catalogue.yaml).
"""

HEADER = (
    "| dot // film | role | termination | n_film : n_dot | area (Å²) | strain (%) | atoms | charge |",
    "|---|---|---|---|---|---|---|---|",
)


def write_page() -> str:
    """Return the page with a section for each system."""
    return "\n".join([INTRODUCTION, *(describe_system(name, studies) for name, studies in SYSTEMS.items())])


def describe_system(name: str, studies: tuple[str, ...]) -> str:
    """Return the section of a system."""
    return "\n".join([f"## {name}", "", *(describe_study(study) for study in studies)])


def describe_study(name: str) -> str:
    """Return question, competitor and table of a study."""
    steps = plan_study(read_study(name)).steps
    structures = preview_structures(steps)
    rows = [describe_candidate(steps, structures, candidate) for candidate in steps.candidates]
    asked = f"[`{name}`](../workflows/{name}.yaml): {steps.study.question} Competitor: {name_competitor(steps)}."
    return "\n".join([asked, "", *HEADER, *rows, ""])


def name_competitor(steps: StudySteps) -> str:
    """Return what the black phase is compared with."""
    phases = [phase.phase for phase in steps.study.phases if phase.role is PhaseRole.COMPETITOR]
    decomposition = steps.study.decomposition
    products = [] if decomposition is None else [" + ".join(decomposition.products)]
    return " and ".join(phases + products) or "none"


def describe_candidate(steps: StudySteps, structures: Structures, candidate: Candidate) -> str:
    """Return the row of a candidate."""
    interface = structures[steps.relaxations_of(candidate)[Part.INTERFACE]]
    sizes = [round(abs(np.linalg.det(matrix))) for matrix in (candidate.film_matrix, candidate.dot_matrix)]
    first, second = (f"{100 * strain + 0.0:+.2f}" for strain in candidate.search_strains)
    cells = (
        name_pair(candidate),
        candidate.role.value,
        candidate.termination.replace("|", " … "),
        f"{sizes[0]} : {sizes[1]}",
        f"{candidate.search_area_ang2:.1f}",
        f"{first}, {second}",
        str(interface.n_atoms),
        describe_charge(steps, candidate, interface, n_dot=sizes[1]),
    )
    return f"| {' | '.join(cells)} |"


def name_pair(candidate: Candidate) -> str:
    """Return dot and film with their planes, crystals that are not verified marked."""
    dot, film = (name + mark_trust(name) for name in (candidate.dot, candidate.phase))
    return f"{dot}({candidate.dot_plane}) // {film}({candidate.film_plane})"


def mark_trust(crystal: str) -> str:
    """Return † for a crystal whose cell is not verified or was built and not refined."""
    entry = load_catalogue().find_entry(crystal)
    is_trusted = entry is None or (entry.is_verified and entry.cation != "PEA")
    return "" if is_trusted else "†"


def describe_charge(steps: StudySteps, candidate: Candidate, interface: StructureRecord, *, n_dot: int) -> str:
    """Return the formal charge of an interface and what neutralizes its dot."""
    charges = {ion: q for crystal in steps.crystals.values() for ion, q in crystal.formal_charges.items()}
    charges |= {candidate.passivation: -1} if candidate.passivation else {}
    charge = f"{find_ions(interface, charges).formal_charge} e"
    if not candidate.dot_cut.is_polar:
        return charge
    return f"{charge}; {n_dot * candidate.dot_cut.n_passivating_per_face} {candidate.passivation} per face"


def main() -> None:
    """Read the command line and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parents[1] / "docs" / "systems.md"
    parser.add_argument("--output", type=Path, default=default, help="file to write")
    parser.parse_args().output.write_text(write_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
