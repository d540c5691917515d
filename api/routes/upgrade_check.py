"""What this control plane knows and sends, for another version of it to say what it would send."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from api.routing import JSON, Answer, Call, NoQuery, Route


async def snapshot(call: Call[NoQuery, None]) -> web.StreamResponse:
    return web.Response(body=await call.backend.snapshot(), content_type=JSON)


ROUTES: Final = (
    Route(
        "GET",
        "/upgrade-check",
        "getUpgradeSnapshot",
        "What is known and sent, for another version to compare",
        snapshot,
        {
            200: Answer(
                None, "A snapshot, which `meshwright upgrade-check` reads. It holds no key.", media=JSON
            )
        },
        tag="Operating",
        problems=(503,),
        description="All documents, services and workloads, and every resource of every connected proxy, without secrets.",
    ),
)
