from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from envoy.admin import REDACTED, AdminClient, redact
from envoy.errors import AdminFailed

KEY = "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----"


def test_private_keys_are_taken_out_wherever_they_stand() -> None:
    dump = {
        "certificate": {
            "private_key": {"inline_bytes": "aaaa"},
            "certificate_chain": {"inline_string": "public"},
        },
        "list": [f"before {KEY} after"],
        "number": 1,
    }
    text = json.dumps(redact(dump))
    assert "aaaa" not in text
    assert "MIGH" not in text
    assert json.loads(text)["certificate"]["certificate_chain"]["inline_string"] == "public"
    assert json.loads(text)["list"] == [f"before {REDACTED} after"]


def test_a_key_that_is_cut_off_is_taken_out_to_the_end() -> None:
    assert redact("x -----BEGIN EC PRIVATE KEY-----\nMIGH") == f"x {REDACTED}"


@asynccontextmanager
async def admin_that_answers(path: Path, status: int, text: str) -> AsyncIterator[AdminClient]:
    """A stand-in, for answers that a healthy Envoy cannot be made to give."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.UnixSite(runner, str(path / "admin.sock")).start()
    try:
        yield AdminClient(socket=str(path / "admin.sock"))
    finally:
        await runner.cleanup()


async def test_a_dump_that_is_no_json_comes_back_as_text_without_keys(tmp_path: Path) -> None:
    async with admin_that_answers(tmp_path, 200, f'{{"a": {KEY}') as admin:
        assert await admin.config_dump() == f'{{"a": {REDACTED}'


async def test_an_error_says_what_was_asked_and_what_was_answered(tmp_path: Path) -> None:
    async with admin_that_answers(tmp_path, 500, "no memory") as admin:
        with pytest.raises(AdminFailed, match=r"answered 500 to /clusters: no memory"):
            await admin.clusters()


async def test_no_answer_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(AdminFailed, match="Is Envoy running"):
        await AdminClient(socket=str(tmp_path / "none.sock")).ready()
