"""What a change would do, before it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from aiohttp import web

from api.errors import Forbidden
from api.roles import Role
from api.routing import JSON, Answer, Call, Content, NoQuery, Route
from api.shapes.plan import PlanAnswer, PlanRequest
from api.store_errors import answered
from mesh.names import DEFAULT_NAMESPACE

LIMIT: Final = 16 << 20
"""Bytes of a request: thousands of documents may be one change."""


async def plan(call: Call[NoQuery, PlanRequest]) -> web.StreamResponse:
    for namespace in sorted(set(_namespaces(call.body))):
        if not call.caller.may(Role.EDITOR, namespace):
            raise Forbidden(
                f"{call.caller.name} may not write in namespace {namespace}, so no plan is made for that either: use a token that may"
            )
    if call.body.revision is not None and not call.caller.may(Role.EDITOR):
        raise Forbidden(
            f"{call.caller.name} may not go back to a revision: that takes an editor of all namespaces"
        )
    with answered():
        found = await call.backend.plan(call.body)
    # It may be large, so it is written beside the event loop.
    body = await asyncio.to_thread(lambda: found.model_dump_json(by_alias=True).encode())
    return web.Response(body=body, content_type=JSON)


def _namespaces(request: PlanRequest) -> Iterator[str]:
    for document in request.documents:
        metadata = document.get("metadata")
        named = metadata.get("namespace") if isinstance(metadata, dict) else None
        yield named if isinstance(named, str) else DEFAULT_NAMESPACE
    yield from (each.namespace for each in request.delete)


ROUTES: Final = (
    Route(
        "POST",
        "/plan",
        "plan",
        "What a change would do, before it is made",
        plan,
        {200: Answer(PlanAnswer, "What would change, for which proxies, and what to know beforehand.")},
        tag="Changes",
        content=Content(
            PlanRequest, limit=LIMIT, description="What would be written, or which revision gone back to."
        ),
        problems=(404, 413, 415, 422, 503),
        description="Nothing is written. What proxies would be given is rendered as it would be sent, and shown to a real Envoy.",
    ),
)
