"""The page in a bundle that a referee reads first."""

from __future__ import annotations

from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.results.evidence import Evidence

_HEAD = """\
# Provenance of {names}

Results of `qdip_dft` with everything that they rest on: {n_calculations} calculations, their structures, the input, and
the versions of all codes.

"""

_BODY = """\
Energies are in eV per formula unit of the host. Stabilization = black phase minus competitor, term by term: a negative
number means that the black phase is favoured. `units` and `sign_convention` in each document say the rest.

## What is what

| member | content |
|---|---|
| `documents/stabilizations/` | the results: four terms of every candidate, checks, keys of the calculations |
| `documents/calculations/` | every calculation: structures, level of theory, energy, forces, stress |
| `documents/screenings/` | registry scans: energies of lateral positions, gaps and orientations |
| `structures/` | the structures as CIF and extended XYZ, initial and relaxed; each atom with its part and ion |
| `inputs/` | the study as it was asked, and the settings that it was resolved to |
| `environment.json` | codes, SHA-256 of their weights, packages |
| `manifest.json` | schema versions; length and SHA-256 of every other member |
| `ro-crate-metadata.json` | the same files for archives: [RO-Crate 1.1](https://w3id.org/ro/crate/1.1) |

Calculations: energy in eV per cell, forces in eV/Å, stress in eV/Å³ (positive in tension), lattice vectors in Å. The
JSON documents hold the numbers with all digits; the other files are drawn from them. Absolute paths were shortened to
file names. The checksums find damage, not forgery: compare the SHA-256 of the whole file with the one that its authors
publish.

## How to restore and to repeat

    qdip import-bundle BUNDLE.zip --results restored
    qdip report ID --results restored

puts the documents into a results folder and prints the result; `environment.json` says which version of `qdip_dft` made
them. `qdip run inputs/ID.yaml --results again` calculates all of it again if the materials are those of the crystal
library; a structure file of the authors' own is among `structures/` as the initial structure of a bulk.

## How to cite

Cite the work that this file belongs to, `qdip_dft` (its CITATION.cff), the code or potential named in
`environment.json`, and the works whose question it answers: Masi et al., ACS Energy Lett. 2020, 5, 418; Liu et al.,
Nature 2019, 570, 96.
"""


def write_readme(evidence: Evidence) -> str:
    """Return the page in Markdown."""
    names = ", ".join(document.id for document in evidence.documents)
    head = _HEAD.format(names=names, n_calculations=len(evidence.calculations))
    return head + "".join(map(_answer, evidence.documents)) + "\n" + _BODY


def _answer(document: StabilizationDoc) -> str:
    theory = document.theory
    method = "nothing calculated" if theory is None else f"{theory.code} ({theory.code_version}), {theory.level}"
    return f"* **{document.id}** ({method}; {document.created_at}): {document.stabilization.sentence}\n"
