"""A film between two faces of the dot, without vacuum: dot | film | dot, repeated along the third vector.

The dot slab and the film repeat as

    … dot | film | dot | film | …

so the film has two interfaces and no free face.  The first is joined as in a cell with vacuum.  The second is where the
film meets the next image of the dot, at the third lattice vector c: its component along the normal sets the gap, its
lateral components the registry.  If the film is displaced by s₁ against the dot, and the dot would lie on the upper
face of the film as cut when displaced by s₂, then

    c_lateral = s₁ + s₂   (up to vectors of the interface cell).

A relaxation of atoms and third vector (`Freedom.OUT_OF_PLANE`) leaves neither interface under stress: the length along
the normal and both lateral components relax, as the film is free to glide on the dot at the first interface.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from qdip_dft.builders.interfaces import contact_height_ang
from qdip_dft.builders.ions import Array, IonicCrystal


def close_cell(
    interface: IonicCrystal, *, n_dot_ions: int, shift_ang: tuple[float, float], gap_offset_ang: float
) -> IonicCrystal:
    """Close an interface in vacuum to dot | film | dot.

    Parameters
    ----------
    interface
        Dot below, film above; the dot's ions come first.
    n_dot_ions
        How many they are.
    shift_ang
        Lateral displacement in Å of the next dot against the one below the film.
    gap_offset_ang
        Height in Å of the next dot over the contact of the ions' radii with the film.
    """
    dot, film = split_interface(interface, n_dot_ions=n_dot_ions)
    lateral = shortest_image(np.array(shift_ang), interface.lattice_ang[:2, :2])
    displacement = np.array([lateral[0], lateral[1], 0.0])
    displacement[2] = contact_height_ang(film, dot, displacement) + gap_offset_ang
    lattice = interface.lattice_ang.copy()
    lattice[2] = displacement
    return IonicCrystal.at(lattice, interface.ions, interface.centres_ang)


def split_interface(interface: IonicCrystal, *, n_dot_ions: int) -> tuple[IonicCrystal, IonicCrystal]:
    """Split an interface into dot and film, each where it lies."""
    parts = slice(None, n_dot_ions), slice(n_dot_ions, None)
    dot, film = (
        IonicCrystal(interface.lattice_ang, interface.ions[part], interface.frac_centres[part]) for part in parts
    )
    return dot, film


def shortest_image(displacement_ang: Array, vectors_2d: Array) -> Array:
    """Return the shortest of all in-plane displacements that differ by vectors of the interface cell, in Å.

    Parameters
    ----------
    displacement_ang
        Shape (2,), in Å.
    vectors_2d
        The interface cell, two rows in Å, its angle not far from a right one or 60°.
    """
    fractions = displacement_ang @ np.linalg.inv(vectors_2d)
    wrapped = fractions - np.round(fractions)
    images = [(wrapped + steps) @ vectors_2d for steps in product((-1, 0, 1), repeat=2)]
    return np.asarray(min(images, key=lambda image: (round(float(np.linalg.norm(image)), 9), *image.round(9))))
