"""What becomes of a request that nobody has sent."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from api.routing import JSON, Answer, Call, Content, NoQuery, Route
from api.shapes.explain import ExplainAnswer, ExplainRequest

LIMIT: Final = 64 << 20
"""Bytes of a request: the dump of a proxy may be large."""


async def explain(call: Call[NoQuery, ExplainRequest]) -> web.StreamResponse:
    found = await call.backend.explain(call.body)
    body = await asyncio.to_thread(lambda: found.model_dump_json(by_alias=True).encode())
    return web.Response(body=body, content_type=JSON)


ROUTES: Final = (
    Route(
        "POST",
        "/explain",
        "explain",
        "What becomes of a request, without sending it",
        explain,
        {
            200: Answer(
                ExplainAnswer, "Step by step, with the documents that decided, and what the client would see."
            )
        },
        tag="The mesh",
        content=Content(ExplainRequest, limit=LIMIT, description="Who calls whom, and with what request."),
        problems=(413, 415, 422, 503),
        description="The request is taken through the proxies' own configuration as Envoy would read it. Nothing is sent.",
    ),
)
