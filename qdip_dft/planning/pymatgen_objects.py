"""Interfaces, slabs and common cells of a study as objects of pymatgen, for tools that take these."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qdip_dft.flows.steps import Part, Structures
from qdip_dft.model.miller import parse_hkl
from qdip_dft.model.structure import FILM_PART, StructureRecord
from qdip_dft.results.structure_export import label_slab

if TYPE_CHECKING:
    from pymatgen.analysis.interfaces.zsl import ZSLMatch
    from pymatgen.core.interface import Interface
    from pymatgen.core.surface import Slab

    from qdip_dft.model.interface import Candidate
    from qdip_dft.planning.plan import StudyPlan


def list_interfaces(plan: StudyPlan, structures: Structures | None = None) -> dict[str, Interface]:
    """Return the interface of every candidate of a study, by the candidate's label.

    The dot is the substrate.  pymatgen sorts the sites; the properties ``site``, ``part`` and ``ion`` of each tell its
    number here, its part and its rigid ion.  ``interface_properties`` holds planes, integer matrices, strains,
    termination, area in Å² and the candidate's id.

    Parameters
    ----------
    plan
        The study.
    structures
        Relaxed structures by step; None: as built from unrelaxed crystals.
    """
    found = plan.previews if structures is None else structures
    return {candidate.label: make_interface(plan, candidate, found) for candidate in plan.steps.candidates}


def make_interface(plan: StudyPlan, candidate: Candidate, structures: Structures) -> Interface:
    """Return the interface of one candidate."""
    from pymatgen.core import Lattice
    from pymatgen.core.interface import Interface

    steps = plan.steps.relaxations_of(candidate)
    n_dot = structures[steps[Part.DOT_SLAB]].n_atoms
    record = label_slab(structures[steps[Part.INTERFACE]], n_dot=n_dot, passivation=candidate.passivation)
    heights = record.arrangement.positions_ang[:, 2]
    sides = ["film" if part == FILM_PART else "substrate" for part in record.parts]
    is_film = np.array(sides) == "film"
    geometry, bulks = plan.steps.geometry_of(candidate), _find_bulks(plan, candidate, structures)
    cell = geometry.interface_cell(*bulks)
    return Interface(
        Lattice(record.lattice_ang),
        list(record.species),
        np.array(record.frac_coords),
        site_properties={
            "interface_label": sides,
            "part": list(record.parts),
            "ion": list(record.ion),
            "site": list(range(record.n_atoms)),
        },
        in_plane_offset=candidate.shift,
        gap=float(heights[is_film].min() - heights[~is_film].max()),
        vacuum_over_film=float(record.lattice_ang[2][2] - np.ptp(heights)),
        interface_properties={
            "id": candidate.id,
            "film": candidate.phase,
            "substrate": candidate.dot,
            "film_miller": parse_hkl(candidate.film_plane),
            "substrate_miller": parse_hkl(candidate.dot_plane),
            "film_transformation": candidate.film_matrix,
            "substrate_transformation": candidate.dot_matrix,
            "film_principal_strains": cell.film_principal_strains,
            "substrate_principal_strains": cell.dot_principal_strains,
            "area_ang2": cell.area_ang2,
            "termination": candidate.termination,
        },
    )


def make_slab(plan: StudyPlan, candidate: Candidate, structures: Structures) -> Slab:
    """Return the film of a candidate as a slab on the interface's cell; its oriented cell is the strained bulk."""
    from pymatgen.core import Lattice
    from pymatgen.core.surface import Slab

    steps = plan.steps.relaxations_of(candidate)
    record = structures[steps[Part.FILM_SLAB]]
    return Slab(
        Lattice(record.lattice_ang),
        list(record.species),
        np.array(record.frac_coords),
        miller_index=parse_hkl(candidate.film_plane),
        oriented_unit_cell=structures[steps[Part.STRAINED_BULK]].to_pymatgen(),
        shift=0.0,
        scale_factor=np.eye(3, dtype=int),
        reorient_lattice=False,
    )


def make_zsl_match(plan: StudyPlan, candidate: Candidate, structures: Structures) -> ZSLMatch:
    """Return the common cell of a candidate in the words of Zur and McGill; vectors in Å, 1 × 1 cells unstrained."""
    from pymatgen.analysis.interfaces.zsl import ZSLMatch

    bulks = _find_bulks(plan, candidate, structures)
    vectors = plan.steps.geometry_of(candidate).surface_vectors_ang(*bulks)
    dot_vectors, film_vectors = (np.pad(rows, ((0, 0), (0, 1))) for rows in vectors)
    film_matrix, dot_matrix = np.array(candidate.film_matrix), np.array(candidate.dot_matrix)
    return ZSLMatch(
        film_sl_vectors=(film_matrix @ film_vectors).tolist(),
        substrate_sl_vectors=(dot_matrix @ dot_vectors).tolist(),
        film_vectors=film_vectors.tolist(),
        substrate_vectors=dot_vectors.tolist(),
        film_transformation=film_matrix.tolist(),
        substrate_transformation=dot_matrix.tolist(),
    )


def read_interface(interface: Interface) -> StructureRecord:
    """Return the sites of an interface that `list_interfaces` made, in our order, with their parts and ions."""
    order = np.argsort(interface.site_properties["site"])
    sites = [interface[index] for index in order]
    return StructureRecord(
        lattice_ang=interface.lattice.matrix.tolist(),
        species=tuple(site.specie.symbol for site in sites),
        frac_coords=tuple(tuple(site.frac_coords.tolist()) for site in sites),
        part=tuple(site.properties["part"] for site in sites),
        ion=tuple(int(site.properties["ion"]) for site in sites),
    )


def _find_bulks(
    plan: StudyPlan, candidate: Candidate, structures: Structures
) -> tuple[StructureRecord, StructureRecord]:
    """The bulks of dot and film."""
    steps = plan.steps
    return structures[steps.id_of(Part.DOT_BULK, candidate.dot)], structures[steps.id_of(Part.BULK, candidate.phase)]
