"""How the time for grouping atoms into ions grows with their number.

    python benchmarks/grouping.py

Supercells of black FAPbI3, fastest of five in seconds of the processor.
"""

from __future__ import annotations

from itertools import pairwise
from math import log
from time import process_time

from qdip_dft.builders.ions import find_ions
from qdip_dft.library.crystals import load_crystal
from qdip_dft.model.structure import StructureRecord

SIZES = ((3, 3, 2), (4, 4, 3), (5, 5, 4), (6, 6, 5), (7, 7, 7))
REPEATS = 5


def main() -> None:
    """Print atoms, seconds and the exponent of growth from one size to the next."""
    crystal = load_crystal("FAPbI3-alpha")
    rows = []
    for size in SIZES:
        record = StructureRecord.from_pymatgen(crystal.structure * size)
        rows.append((record.n_atoms, min(measure(record, crystal.formal_charges) for _ in range(REPEATS))))
    print(f"{rows[0][0]:6d} atoms {rows[0][1]:8.4f} s")
    for (few, before), (many, after) in pairwise(rows):
        print(f"{many:6d} atoms {after:8.4f} s   exponent {log(after / before) / log(many / few):.2f}")


def measure(record: StructureRecord, charges: dict[str, int]) -> float:
    """Return the seconds of the processor for one grouping."""
    start = process_time()
    find_ions(record, charges)
    return process_time() - start


if __name__ == "__main__":
    main()
