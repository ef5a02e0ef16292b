"""What is installed is held against its lists, and the list of hashes against the exact versions."""

from __future__ import annotations

from importlib.metadata import PathDistribution
from pathlib import Path

import audit_environment as audit
import pytest

HASH = "nia_NpkRxFwkPGhBR7I_yeHc_PJX0pmhxjIBam_NM_Q"
"""The SHA-256 of ``x = 1`` and a line end, as the list of a wheel writes it."""


def test_every_package_of_a_release_has_its_hash_and_the_version_that_is_tested() -> None:
    assert list(audit.list_gaps()) == []
    released = audit.read_versions(audit.RELEASE)
    assert {"numpy", "pymatgen", "jobflow", "sevenn"} <= set(released)
    assert "torch" not in released
    assert "://" not in audit.RELEASE.read_text(encoding="utf-8")


def test_a_gap_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = tmp_path / "release.txt"
    short.write_text(f"numpy==1.0 --hash=sha256:{'0' * 64}\nscipy==1.17.1\n", encoding="utf-8")
    monkeypatch.setattr(audit, "RELEASE", short)
    found = list(audit.list_gaps())
    assert any(finding.startswith("numpy: requirements-release.txt has 1.0") for finding in found)
    assert "scipy: requirements-release.txt has no hash" in found


@pytest.mark.parametrize(
    ("content", "expected"), [("x = 1\n", []), ("x = 2\n", ["module.py was changed"]), (None, ["module.py is gone"])]
)
def test_a_changed_file_of_a_package_is_found(
    content: str | None, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "some-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: some\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "RECORD").write_text(f"module.py,sha256={HASH},6\n", encoding="utf-8")
    if content is not None:
        (tmp_path / "module.py").write_text(content, encoding="utf-8")
    monkeypatch.setattr(audit, "distributions", lambda: [PathDistribution(metadata)])
    assert list(audit.list_changed_files()) == [f"some: {words}" for words in expected]
