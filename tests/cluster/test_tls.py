"""The group's database over TLS, with a certificate of an authority of our own."""

from __future__ import annotations

import datetime
import ipaddress
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from qdip_dft.cluster.database import ClusterDatabase
from qdip_dft.cluster.fireworks.checkup import check_cluster
from qdip_dft.cluster.folder import ClusterFolder
from qdip_dft.storage.location import open_results
from tests.cluster.conftest import TOY_STUDY
from tests.cluster.private_slurm import free_ports
from tests.command_line import qdip
from tests.conftest import skip_or_fail
from tests.private_mongod import build_command, find_mongod, wait_until_open

VALID = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """Signs certificates; its own is the file that clients are given."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        object.__setattr__(self, "key", key)
        self.certificate_file.write_bytes(_pem(self._sign(key, self.name, is_authority=True)))

    @property
    def certificate_file(self) -> Path:
        return self.folder / f"{self.name}.pem"

    def issue(self, name: str) -> Path:
        """Return a file with key and certificate of a server on this machine."""
        key = ec.generate_private_key(ec.SECP256R1())
        plain = serialization.NoEncryption()
        path = self.folder / f"{name}.pem"
        path.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
            + _pem(self._sign(key, name, is_authority=False))
        )
        return path

    def _sign(self, key: Any, name: str, *, is_authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder()
            .subject_name(_called(name))
            .issuer_name(_called(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - VALID)
            .not_valid_after(now + VALID)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, hashes.SHA256())  # type: ignore[attr-defined]
        )


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class TlsServer:
    """A mongod that talks TLS only and asks for passwords."""

    port: int
    authority: Authority
    password: str

    def uri(self, authority: Authority | None = None, *, database: str = "") -> str:
        """Return the address without user and password."""
        trusted = (authority or self.authority).certificate_file
        return f"mongodb://localhost:{self.port}/{database}?tls=true&tlsCAFile={trusted}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder, "authority")
    with run_mongod(folder, authority) as port:
        made = TlsServer(port, authority, secrets.token_urlsafe(16))
        from pymongo import MongoClient

        with MongoClient[dict[str, Any]](made.uri()) as client:
            client.admin.command("createUser", "group", pwd=made.password, roles=["root"])
        yield made


@contextmanager
def run_mongod(folder: Path, authority: Authority) -> Iterator[int]:
    program = find_mongod()
    if program is None:
        skip_or_fail("there is no mongod on PATH and none in this environment (make mongod)")
    (folder / "db").mkdir()
    (port,) = free_ports(1)
    options = ["--tlsMode=requireTLS", f"--tlsCertificateKeyFile={authority.issue('server')}",
               f"--tlsCAFile={authority.certificate_file}", "--tlsAllowConnectionsWithoutCertificates"]  # fmt: skip
    command = [*build_command(Path(str(program)), folder / "db", port), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert wait_until_open(process, port)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def init_cluster(server: TlsServer, folder: Path, uri: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    password_file = folder.with_suffix(".password")
    password_file.write_text(server.password, encoding="utf-8")
    return qdip("init-cluster", folder, "--uri", uri, "--user", "group", "--password-file", password_file,
                "--database", "group", "--authentication-database", "admin", check=check)  # fmt: skip


def test_a_study_is_submitted_worked_on_and_read_over_tls(server, tmp_path, monkeypatch):
    cluster = ClusterFolder(tmp_path / "cluster")
    init_cluster(server, cluster.path, server.uri())
    assert "4 fireworks" in qdip("submit", TOY_STUDY, "--cluster", cluster.path).stdout
    worker = [sys.executable, "-m", "qdip_dft.cluster.fireworks.worker", "-l", cluster.launchpad_file]
    subprocess.run([*worker, "-w", cluster.path / "mlip" / "my_fworker.yaml", "singleshot"], cwd=tmp_path, check=True)
    with cluster.open_launchpad() as launchpad:
        assert ClusterDatabase(launchpad.db).fireworks.count_documents({"state": "COMPLETED"}) == 1
    monkeypatch.setenv("QDIP_MONGODB_USER", "group")
    monkeypatch.setenv("QDIP_MONGODB_PASSWORD", server.password)
    uri = server.uri(database="group") + "&authSource=admin"
    assert len(list(open_results(uri).list_calculations())) == 1
    found = {finding.what: finding for finding in check_cluster(cluster)}
    assert found["encryption"].finding == "TLS"
    assert found["authentication"].finding == "required"


def test_without_tls_the_server_is_not_reached_and_the_password_not_shown(server, tmp_path):
    refused = init_cluster(server, tmp_path / "cluster", f"mongodb://localhost:{server.port}", check=False)
    assert refused.returncode == 2
    assert not (tmp_path / "cluster").exists()  # the same command can be given again
    assert "cannot be used" in refused.stderr
    assert server.password not in refused.stdout + refused.stderr


def test_a_server_that_another_authority_has_signed_is_not_trusted(server, tmp_path):
    stranger = Authority(tmp_path, "stranger")
    refused = init_cluster(server, tmp_path / "cluster", server.uri(stranger), check=False)
    assert refused.returncode == 2
    assert "certificate verify failed" in refused.stderr
