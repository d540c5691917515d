"""Is this machine right? Each finding that is not well says the way out."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

from envoy.install import VERSION
from meshwright.doctor import certificates, directory, envoy_binary, machine, port, socket_path, store_file
from store.sqlite import SqliteBackend

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def an_envoy(folder: Path, says: str) -> dict[str, str]:
    program = folder / "envoy"
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o700)
    return {"ENVOY_BIN": str(program), "PATH": os.environ["PATH"]}


def test_an_envoy_of_the_tested_version(tmp_path: Path) -> None:
    found = envoy_binary(an_envoy(tmp_path, f"envoy  version: abc/{VERSION}/Clean/RELEASE/BoringSSL"))
    assert (found.state, found.remedy) == ("ok", "")


def test_an_older_envoy_is_told(tmp_path: Path) -> None:
    found = envoy_binary(an_envoy(tmp_path, "envoy  version: abc/1.20.1/Clean/RELEASE/BoringSSL"))
    assert found.state == "warning"
    assert VERSION in found.remedy


def test_what_is_no_envoy(tmp_path: Path) -> None:
    assert envoy_binary(an_envoy(tmp_path, "hello")).state == "failed"
    assert envoy_binary({"ENVOY_BIN": "/nowhere/envoy"}).state == "failed"
    none = envoy_binary({"PATH": "/nowhere", "MESHWRIGHT_CACHE": str(tmp_path)})
    assert (none.state, "envoy install" in none.remedy) == ("warning", True)


def test_a_data_directory_that_others_may_use(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    data.chmod(0o755)
    first = next(directory(data))
    assert (first.state, first.remedy) == ("failed", f"chmod 700 {data}")
    data.chmod(0o700)
    assert next(directory(data)).state == "ok"


def test_a_data_directory_that_is_not_there(tmp_path: Path) -> None:
    (found,) = directory(tmp_path / "nowhere")
    assert found.state == "failed"


def test_a_path_that_is_too_long_for_a_socket(tmp_path: Path) -> None:
    assert socket_path(Path("/d")).state == "ok"
    assert socket_path(Path("/" + "d" * 120)).state == "failed"


async def test_a_store_that_can_be_read_and_one_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await (await SqliteBackend.open(path)).close()
    assert store_file(path).state == "ok"
    path.write_bytes(b"no database at all, but long enough to be one " * 100)
    found = store_file(path)
    assert found.state == "failed"
    assert "is damaged" in found.found
    assert "store.db-shm aside" in found.remedy
    checks = machine(tmp_path, {}, running=False)
    assert [each.state for each in checks if each.check == "store"] == ["failed"]


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        taken = port("xds_address", address)
        assert (taken.state, "xds_address" in taken.remedy) == ("failed", True)
    assert port("xds_address", address).state == "ok"


def test_certificates_that_end() -> None:
    ends = {
        "root": (NOW + timedelta(days=3)).isoformat(),
        "intermediate": (NOW + timedelta(days=3)).isoformat(),
        "control plane": (NOW - timedelta(days=1)).isoformat(),
    }
    assert [each.state for each in certificates(ends, NOW)] == ["warning", "ok", "failed"]


def test_all_checks_run_on_this_machine(tmp_path: Path) -> None:
    found = list(machine(tmp_path, {"xds_address": "127.0.0.1:1"}, running=True))
    assert all(bool(each.remedy) is (each.state != "ok") for each in found)
    assert not any(each.check.startswith("port") for each in found)
