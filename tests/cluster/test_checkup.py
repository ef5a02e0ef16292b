"""`qdip doctor --cluster`: what is wrong is said before anything is submitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdip_dft.cluster.fireworks.checkup import check_cluster, check_configuration
from qdip_dft.cluster.folder import ClusterFolder, write_cluster_folder
from tests.private_mongod import PrivateMongod


@pytest.fixture
def folder(mongod: PrivateMongod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterFolder:
    monkeypatch.delenv("FW_CONFIG_FILE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = mongod.cluster_settings("test_checkup")
    return write_cluster_folder(tmp_path / "cluster", settings)


def problems(folder: ClusterFolder) -> dict[str, str]:
    return {finding.what: finding.finding for finding in check_cluster(folder) if not finding.is_ok}


def test_a_cluster_in_order_is_found_so(folder, slurm, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", str(slurm.configuration))
    assert problems(folder) == {}
    findings = {finding.what: finding.finding for finding in check_cluster(folder)}
    assert findings["authentication"] == "required"
    assert findings["clocks"] == "0.0 s apart"
    assert findings["queue of SLURM"].startswith("answers")


def test_a_stray_configuration_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("FW_CONFIG_FILE", str(folder.path / "mlip" / "FW_config.yaml"))
    assert check_configuration(folder).is_ok
    (tmp_path / ".fireworks").mkdir()
    (tmp_path / ".fireworks" / "FW_config.yaml").write_text("{}", encoding="utf-8")
    found = check_configuration(folder)
    assert not found.is_ok
    assert str(tmp_path / ".fireworks" / "FW_config.yaml") in found.finding
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FW_config.yaml").write_text("{}", encoding="utf-8")
    assert str(tmp_path / "FW_config.yaml") in check_configuration(folder).finding


def test_a_wrong_password_is_found_and_not_shown(folder, mongod):
    text = folder.launchpad_file.read_text(encoding="utf-8")
    folder.launchpad_file.write_text(text.replace(mongod.password, "wr0ng"), encoding="utf-8")
    found = problems(folder)
    assert "check address, user and password" in found["database"]
    assert "wr0ng" not in str(found)


def test_a_missing_batch_system_is_found(folder, monkeypatch):
    monkeypatch.setenv("PATH", "")
    found = problems(folder)
    assert "not on PATH" in found["commands of SLURM"]
    assert "run this on a machine that submits jobs" in found["scheduler"]


def test_missing_folders_are_found(folder):
    folder.outbox.rmdir()
    folder.scratch.rmdir()
    assert "results would be lost" in problems(folder)["folder outbox"]
    assert "start anew" in problems(folder)["folder scratch"]
