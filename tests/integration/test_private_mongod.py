"""The MongoDB server that other tests use: private, and gone afterwards."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from tests.private_mongod import PrivateMongod, find_mongod, start_private_mongod


def test_a_server_lets_nobody_in_without_the_password(mongod: PrivateMongod) -> None:
    with MongoClient(mongod.host, mongod.port) as stranger, pytest.raises(OperationFailure, match="authentication"):
        stranger.anything.things.find_one()


def test_a_document_is_kept_under_the_address_with_the_password(mongo_uri: str) -> None:
    with MongoClient(mongo_uri) as client:
        things = client.get_default_database().things
        things.insert_one({"_id": 1, "phase": "γ"})
        assert things.find_one({"phase": "γ"}) == {"_id": 1, "phase": "γ"}


def test_a_stopped_server_is_gone(mongod: PrivateMongod) -> None:  # noqa: ARG001 (skips where there is no server)
    program = find_mongod()
    assert program is not None
    with start_private_mongod(program) as server:
        pass
    with (
        MongoClient(server.uri, serverSelectionTimeoutMS=200) as client,
        pytest.raises(ServerSelectionTimeoutError, match="refused"),
    ):
        client.admin.command("ping")


def test_a_server_dies_with_a_killed_owner(mongod: PrivateMongod, tmp_path: Path, repository: Path) -> None:  # noqa: ARG001
    owner = subprocess.Popen(
        [sys.executable, "tests/private_mongod.py"],
        cwd=repository,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    port = int(urlsplit(owner.stdout.readline()).port or 0)
    assert is_open(port)
    owner.kill()
    owner.communicate()
    end = time.monotonic() + 10
    while is_open(port) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_open(port)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
