"""What the API says of itself: its description, and a page to try it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final

from aiohttp import web

from api.openapi import described
from api.routing import JSON, Answer, Call, NoQuery, Route
from documents.envelope import Kind


@dataclass(slots=True)
class Description:
    """/openapi.json, made when it is asked for first."""

    routes: tuple[Route, ...]
    kinds: tuple[Kind, ...]
    version: str
    made: bytes | None = None
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(self) -> bytes:
        async with self._one:
            if self.made is None:
                self.made = await asyncio.to_thread(described, self.routes, self.kinds, self.version)
            return self.made


DESCRIPTION: Final = web.AppKey("description", Description)


async def openapi(call: Call[NoQuery, None]) -> web.Response:
    return web.Response(body=await call.request.app[DESCRIPTION].read(), content_type=JSON)


async def docs(_: Call[NoQuery, None]) -> web.Response:
    text, policy = _page()
    return web.Response(
        text=text,
        content_type="text/html",
        headers={
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        },
    )


@cache
def _page() -> tuple[str, str]:
    """The page, and the policy that lets its own script run and nothing else."""
    text = files("api").joinpath("page.html").read_text()
    script = text.partition("<script>")[2].partition("</script>")[0]
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{allowed}'; style-src 'unsafe-inline'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, policy


def _route(path: str, operation: str, summary: str, handler: Any, answer: Answer) -> Route:
    return Route("GET", path, operation, summary, handler, {200: answer}, tag="Description")


ROUTES: Final = (
    _route(
        "//openapi.json",
        "getOpenApi",
        "This description",
        openapi,
        Answer(None, "OpenAPI 3.1.", component="Anything"),
    ),
    _route(
        "//docs",
        "getDocs",
        "A page to try the API",
        docs,
        Answer(None, "HTML.", component="Text", media="text/html"),
    ),
)
