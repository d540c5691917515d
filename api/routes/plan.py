"""What a change would do, before it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from aiohttp import web

from api.changing import permit, permit_draft
from api.drafts import Draft
from api.errors import Forbidden
from api.roles import Caller, Role
from api.routing import JSON, Answer, Call, Content, NoQuery, Route
from api.shapes.plan import DocumentRef, PlanAnswer, PlanRequest
from api.store_errors import answered
from mesh.names import Key

LIMIT: Final = 16 << 20
"""Bytes of a request: thousands of documents may be one change."""

TOLD: Final = 100
"""Documents of one plan that the audit log names."""


async def plan(call: Call[NoQuery, PlanRequest]) -> web.StreamResponse:
    """Nobody plans what they may not write: Envoy is shown it, and the answer tells what it does."""
    caller, request = call.caller, call.body
    drafts = [Draft(tree, place=f"documents[{place}]") for place, tree in enumerate(request.documents)]
    _tell(call, drafts)
    if request.revision is not None and not caller.may(Role.EDITOR):
        raise Forbidden(
            f"{caller.name} may not go back to a revision: that takes an editor of all namespaces"
        )
    await asyncio.to_thread(_permit, caller, drafts, request.delete)
    with answered():
        if not caller.may(Role.ADMIN):
            await _permit_present(call, drafts)
        found = await call.backend.plan(request, lambda namespace: caller.may(Role.VIEWER, namespace))
    # It may be large, so it is written beside the event loop.
    body = await asyncio.to_thread(lambda: found.model_dump_json(by_alias=True).encode())
    return web.Response(body=body, content_type=JSON)


def _tell(call: Call[NoQuery, PlanRequest], drafts: Sequence[Draft]) -> None:
    """In the audit log as a write is: what is planned is read, rendered and shown to Envoy all the same."""
    call.told["dry_run"] = "yes"
    call.told["to"] = call.body.revision
    gone = [f"delete {each.kind} {each.namespace}/{each.name}" for each in call.body.delete[:TOLD]]
    call.told["documents"] = [*(f"put {each.kind} {each.key}" for each in drafts[:TOLD]), *gone][:TOLD]


def _permit(caller: Caller, drafts: Iterable[Draft], delete: Iterable[DocumentRef]) -> None:
    for each in drafts:
        permit_draft(caller, each)
    for gone in delete:
        permit(caller, gone.kind, gone.namespace)


async def _permit_present(call: Call[NoQuery, PlanRequest], drafts: Iterable[Draft]) -> None:
    """As for a write, of what the store has now."""
    repository, request = call.backend.repository, call.body
    if repository is None:
        return
    if request.revision is not None:
        differing = await repository.diff((await repository.head()).number, request.revision)
        present = [each for one in differing for each in (one.before, one.after) if each is not None]
    else:
        stored = (await repository.documents()).documents
        names = [(each.kind, each.key) for each in drafts]
        names += [(each.kind, Key(each.namespace, each.name)) for each in request.delete]
        present = [stored[name] for name in names if name in stored]
    for each in present:
        permit(call.caller, each.kind, each.key.namespace, dict(each.body))


ROUTES: Final = (
    Route(
        "POST",
        "/plan",
        "plan",
        "What a change would do, before it is made",
        plan,
        {200: Answer(PlanAnswer, "What would change, for which proxies, and what to know beforehand.")},
        tag="Changes",
        writes=True,
        content=Content(
            PlanRequest, limit=LIMIT, description="What would be written, or which revision gone back to."
        ),
        problems=(404, 413, 415, 422, 503),
        description="Nothing is written. What proxies would be given is rendered as it would be sent, and shown to a real Envoy.",
    ),
)
