"""Other orientations of the organic cations of a crystal: which way they point is a choice, not a result.

A relaxation leaves each cation in the orientation that it started near; the energy of a hybrid perovskite depends on
that choice by some ten meV per formula unit.  Orientations are drawn uniformly from SO(3); every cation keeps its
centre and its rigid shape.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qdip_dft.builders.ions import view_ions
from qdip_dft.builders.molecules import draw_orientations, find_fitting
from qdip_dft.errors import StructureError
from qdip_dft.model.structure import StructureRecord


def has_molecules(structure: StructureRecord, formal_charges: Mapping[str, int]) -> bool:
    """Return whether a crystal has ions of several atoms, which can point somewhere."""
    return any(len(ion.species) > 1 for ion in view_ions(structure, formal_charges).ions)


def turn_cations(structure: StructureRecord, formal_charges: Mapping[str, int], *, seed: int) -> StructureRecord:
    """Return the crystal with every molecular ion turned about its centre, sites in the same order.

    One after the other, each takes the first random orientation that touches neither the framework nor the molecules
    turned before (the rule of `molecules.place_cation`).

    Parameters
    ----------
    structure
        The crystal.
    formal_charges
        Formal charge in e by ion label.
    seed
        Seed of the orientations.

    Raises
    ------
    StructureError
        If an ion fits in no orientation.
    """
    crystal = view_ions(structure, formal_charges)
    molecules = [index for index, ion in enumerate(crystal.ions) if len(ion.species) > 1]
    atoms_of_molecules = {site for index in molecules for site in crystal.ions[index].site_indices}
    cage = structure.to_pymatgen()
    cage.remove_sites(sorted(atoms_of_molecules))
    coordinates = np.array(structure.frac_coords)
    for number, index in enumerate(molecules):
        ion, centre = crystal.ions[index], crystal.frac_centres[index]
        orientations = draw_orientations((seed, number))
        hydrogens = ion.offsets_ang[[symbol == "H" for symbol in ion.species]]
        fits = find_fitting(cage, np.einsum("rij,hj->rhi", orientations, hydrogens), centre.tolist())
        if not fits.any():
            raise _fits_nowhere(ion.label)
        positions = centre + ion.rotated(orientations[fits.argmax()]).offsets_ang @ np.linalg.inv(crystal.lattice_ang)
        coordinates[list(ion.site_indices)] = positions
        for symbol, position in zip(ion.species, positions, strict=True):
            cage.append(symbol, position)
    return structure.model_copy(update={"frac_coords": tuple(map(tuple, coordinates.tolist()))})


def _fits_nowhere(label: str) -> StructureError:
    return StructureError(
        f"no random orientation of {label} keeps its distances",
        limit="H···X and H···H contacts as for a cation placed into a cage",
        why="closer atoms would tear the molecule apart in the first relaxation step",
        remedy="set uncertainty.orientations to 1: the cations of this crystal cannot turn",
    )
