"""Write the JSON schemas of the result documents into docs/schemas/, one file per kind and version.

    python scripts/write_schemas.py

The file of an older version stays as it was; a test checks that those of the present versions are current.
"""

from __future__ import annotations

import json
from pathlib import Path

from qdip_dft.model.base import Record
from qdip_dft.model.calculation import CalculationRecord
from qdip_dft.model.calibration import Calibration
from qdip_dft.model.registry import RegistryScan
from qdip_dft.model.stabilization import StabilizationDoc
from qdip_dft.model.study import StudySpec
from qdip_dft.model.study_versions import NEWEST_STUDY_VERSION
from qdip_dft.model.temperature import TemperatureDoc
from qdip_dft.results.migrations import newest_version

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "schemas"


def describe_documents() -> dict[str, str]:
    """Return the text of each schema file by its name."""
    kinds: dict[str, type[Record]] = {
        "calculation": CalculationRecord,
        "calibration": Calibration,
        "screening": RegistryScan,
        "stabilization": StabilizationDoc,
        "temperature": TemperatureDoc,
    }
    schemas = {f"{name}-{newest_version(kind)}.json": _describe(kind) for name, kind in kinds.items()}
    return {**schemas, f"study-{NEWEST_STUDY_VERSION}.json": _describe(StudySpec)}


def _describe(kind: type[Record]) -> str:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **kind.model_json_schema(mode="serialization")}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in describe_documents().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
