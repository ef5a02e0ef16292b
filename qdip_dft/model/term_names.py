"""Names of the terms, and the parts whose calculations they need; read without the schemas of records."""

from __future__ import annotations

TERM_NAMES = ("bulk", "strain", "surface", "binding")
"""The four terms in the order in which they are added up."""

TERM_COLUMNS = (*TERM_NAMES, "total")
"""The terms and their sum."""

SIGN_CONVENTION = "stabilization = black - competitor at one coverage; negative: the black phase is favoured"

TERM_FIELDS = tuple(f"{name}_ev_per_fu" for name in TERM_NAMES)
"""Names of the terms in every record that holds them."""

TOTAL_FIELD = "total_ev_per_fu"

TERM_OF_PART = {
    "dot bulk": "bulk",
    "bulk": "bulk",
    "strained bulk": "strain",
    "film slab": "surface",
    "dot slab": "binding",
    "interface": "binding",
    "unstrained dot slab": "strain",
    "tilting bulk": "bulk",
    "dot alone": "binding",
    "dot with ghosts": "binding",
    "film alone": "binding",
    "film with ghosts": "binding",
}
"""The term that needs a part first."""

TERM_OF_SCANS = "binding"
"""The term of the interface that a registry scan is made for."""

TERM_OF_JOB = "term"
"""Where the metadata of a job name the term that it enters first."""
