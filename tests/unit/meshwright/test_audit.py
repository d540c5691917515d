"""The audit log: what is told is on the disk, in order, a line each, whatever it is made of."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ca.times import system_clock
from meshwright.audit import FILE, WAITING, AuditedAuthority, AuditLog, line
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
    (told,) = lines(tmp_path)
    assert told["node"].startswith('evil"}\n')
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
    assert [each["event"] for each in lines(tmp_path)] == ["first", "second"]


FILLS_UP = """
import resource, signal, sys
from pathlib import Path
from ca.times import system_clock
from meshwright.audit import AuditLog, tell

folder, before = Path(sys.argv[1]), int(sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
whole = resource.getrlimit(resource.RLIMIT_FSIZE)
log = AuditLog(folder, system_clock)
for number in range(3):
    log.record("joined", workload=f"first-{number}")
resource.setrlimit(resource.RLIMIT_FSIZE, (before, whole[1]))
log.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, whole)
tell(folder, "token created")
log.flush()
"""
"""A file may not grow over so many bytes, which is a disk that is full there; then there is room again."""


def test_a_disk_that_is_full_in_the_middle_of_a_line_spoils_no_other(tmp_path: Path) -> None:
    one = line(system_clock, "joined", {"workload": "first-0"})
    subprocess.run(
        [sys.executable, "-c", FILLS_UP, tmp_path, str(len(one) + 20)], check=True, capture_output=True
    )
    told = (tmp_path / FILE).read_bytes()
    assert told.endswith(b"\n")
    first, part, *others = told.splitlines()
    assert json.loads(first)["workload"] == "first-0"
    assert len(part) == 20
    assert one.startswith(part[:5])
    read = [json.loads(each) for each in others]
    assert [each.get("workload", each["event"]) for each in read] == [
        "token created",
        *("first-0", "first-1", "first-2"),
    ]


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
