"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def read_folder(text: str | Path) -> Path:
    """Return the results folder that was asked for; an address of a server is none."""
    from qdip_dft.storage.mongo_address import require_folder_name

    return Path(require_folder_name(text))


def read_location(text: str) -> str:
    """Return the results folder or database that was asked for."""
    from qdip_dft.storage.mongo_address import is_mongo_uri, require_folder_name

    return text if is_mongo_uri(text) else require_folder_name(text)


def name_studies() -> list[str]:
    """Name the studies of ``workflows/``, for the completion of a shell."""
    from qdip_dft.library.collections import list_studies

    return [path.stem for path in list_studies()]


Results = Annotated[
    Path,
    typer.Option(
        "--results",
        parser=read_folder,
        metavar="PATH",
        envvar="QDIP_RESULTS",
        help="Results folder; ./qdip-results if not given.",
        show_default=False,
    ),
]
ResultsLocation = Annotated[
    str,
    typer.Option(
        "--results",
        parser=read_location,
        metavar="TEXT",
        envvar="QDIP_RESULTS",
        help="Results folder, or a database: mongodb://HOST/NAME (user and password: QDIP_MONGODB_USER, "
        "QDIP_MONGODB_PASSWORD).",
        show_default="./qdip-results",
    ),
]
Retry = Annotated[bool, typer.Option("--retry", help="Try failed and unconverged calculations again.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
StudyName = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="A study file (YAML) or its name in workflows/.", autocompletion=name_studies),
]

DEFAULT_RESULTS = Path("qdip-results")
