"""The audit log: what is told is on the disk, in order, a line each, whatever it is made of."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ca.times import system_clock
from meshwright.audit import FILE, WAITING, AuditedAuthority, AuditLog
from meshwright.cli import app
from tests.support.ca_builders import API, a_leaf_request, an_authority


def lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / FILE).read_bytes().splitlines()]


async def until(directory: Path, number: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        while not (directory / FILE).exists() or len(lines(directory)) < number:  # noqa: ASYNC110 (a file)
            await asyncio.sleep(0.005)
    return lines(directory)


async def test_lines_are_appended_and_private(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b'{"event": "before"}\n')
    (tmp_path / FILE).chmod(0o600)
    log = AuditLog(tmp_path, system_clock)
    running = asyncio.create_task(log.run())
    log.record("refused", peer="10.0.0.1", reason="no", status="")
    log.record("joined", names=["a", "b"])
    first, second, third = await until(tmp_path, 3)
    assert first == {"event": "before"}
    assert (second["event"], second["peer"], "status" in second) == ("refused", "10.0.0.1", False)
    assert third["names"] == ["a", "b"]
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    (tmp_path / FILE).rename(tmp_path / "audit.log.1")
    log.record("after the file was moved")
    assert [each["event"] for each in await until(tmp_path, 1)] == ["after the file was moved"]
    running.cancel()


def test_what_comes_from_outside_is_one_line(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, system_clock)
    log.record("refused", node='evil"}\n{"event": "joined"\x1b[2J\u2028', reason="x" * 100_000)
    log.flush()
    (line,) = lines(tmp_path)
    assert line["node"].startswith('evil"}\n')
    assert len((tmp_path / FILE).read_bytes()) < 2000
    assert (tmp_path / FILE).read_bytes().isascii()
    assert b"\x1b" not in (tmp_path / FILE).read_bytes()


def test_a_flood_is_counted(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, system_clock)
    for number in range(WAITING + 7):
        log.record("refused", number=number)
    log.flush()
    told = lines(tmp_path)
    assert len(told) == WAITING + 1
    assert (told[-1]["event"], told[-1]["number"]) == ("lines lost", 7)


async def test_a_disk_that_takes_nothing_loses_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / FILE
    blocked.mkdir()  # cannot be opened for writing
    log = AuditLog(tmp_path, system_clock)
    log.record("first")
    log.flush()
    log.record("second")
    blocked.rmdir()
    log.flush()
    assert [line["event"] for line in lines(tmp_path)] == ["first", "second"]


async def test_every_certificate_is_told(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, system_clock)
    issued = await AuditedAuthority(an_authority(tmp_path), log).issue(a_leaf_request())
    log.flush()
    (line,) = lines(tmp_path)
    assert (line["event"], line["identity"], line["workload"]) == (
        "certificate issued",
        API.uri,
        "default/api-1",
    )
    assert int(line["serial"], 16) == issued.serial


@pytest.mark.parametrize("whole", [True, False])
def test_tokens_made_and_revoked_are_told_without_their_secret(tmp_path: Path, whole: bool) -> None:
    an_authority(tmp_path)
    run = CliRunner()
    made = run.invoke(app, ["token", "create", "--service-account", "api", "--data-dir", str(tmp_path)])
    token = made.output.strip()
    given = token if whole else token.removeprefix("mwj_").partition(".")[0]
    run.invoke(app, ["token", "revoke", given, "--data-dir", str(tmp_path)])
    created, revoked = lines(tmp_path)
    assert (created["event"], created["identity"]) == ("join token created", "default/api")
    assert (revoked["event"], revoked["token"]) == ("join token revoked", created["token"])
    assert token.partition(".")[2] not in (tmp_path / FILE).read_text()
