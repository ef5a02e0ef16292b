"""The excess of a film in whole formula units of the two compounds that its host falls apart into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from qdip_dft.builders.ions import IonicCrystal
from qdip_dft.errors import SlabError


def split_excess(
    excess: Mapping[str, int], oriented: IonicCrystal, *, compounds: Mapping[str, Mapping[str, float]], film: str
) -> dict[str, int]:
    """Return how many formula units of each compound an excess of ions is.

    Parameters
    ----------
    excess
        Ions by label.
    oriented
        A crystal that holds these ions.
    compounds
        Atoms of each element in one formula unit, by the name of the compound.
    film
        Name of the film, for messages.

    Raises
    ------
    SlabError
        If whole formula units of the compounds do not add up to the excess.
    """
    species = {ion.label: ion.species for ion in oriented.ions}
    atoms = Counter[str]()
    for label, count in excess.items():
        for symbol in species[label]:
            atoms[symbol] += count
    elements = sorted({*atoms, *(symbol for compound in compounds.values() for symbol in compound)})
    matrix = np.array([[compound.get(element, 0.0) for compound in compounds.values()] for element in elements])
    target = np.array([atoms[element] for element in elements], dtype=float)
    amounts = np.rint(np.linalg.lstsq(matrix, target, rcond=None)[0]).astype(int)
    if not np.allclose(matrix @ amounts, target, atol=1e-8):
        counted = ", ".join(f"{count} {label}" for label, count in excess.items())
        raise SlabError(
            f"the excess of {film} ({counted} per 1 × 1 cell) is not made of {' and '.join(compounds)}",
            limit="the excess must be whole formula units of the two compounds of film.reservoirs",
            why="its chemical potential would be undefined",
            remedy="name the compounds that the host falls apart into, or choose another termination",
        )
    return {name: int(amount) for name, amount in zip(compounds, amounts, strict=True) if amount}
