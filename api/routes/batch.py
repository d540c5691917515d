"""Many documents at once, all or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from api.changing import (
    WRITE_PROBLEMS,
    changed_meanwhile,
    manager_of,
    permit,
    permit_draft,
    permits,
    planned,
    problem,
    told,
)
from api.drafts import Draft
from api.errors import Conflicting, Unprocessable
from api.lookup import writer
from api.roles import Caller
from api.routing import Answer, Call, Content, Reply, Route
from api.shapes.documents import (
    Batch,
    Deletion,
    WriteAnswer,
)
from api.shapes.shape import Query
from api.standing import Stand
from api.writing import Plan
from mesh.names import Key
from store.errors import OutcomeUnknown
from store.stored import Name

LIMIT: Final = 32 << 20
"""Bytes of a batch of JSON."""


async def write_batch(call: Call[Query, Batch]) -> Reply:
    batch = call.body
    call.told["reason"] = batch.reason
    if batch.stage is None and batch.bake is not None:
        raise Unprocessable("bake goes with stage: say both, or neither")
    drafts = [Draft(tree, place=f"documents[{place}]") for place, tree in enumerate(batch.documents)]
    await asyncio.to_thread(_permit, call.caller, drafts, batch.delete)
    manager = manager_of(batch.field_manager, call.caller)
    versions = [each.resource_version for each in drafts]

    def plan(stand: Stand) -> Plan:
        wrong = []
        puts = []
        for each, version in zip(drafts, versions, strict=True):
            present = stand.stored.get((each.kind, each.key))
            wrong += changed_meanwhile(str(each), version, present, each.place)
            puts.append(planned(each, present, manager))
        for place_, gone in enumerate(batch.delete):
            name = gone.kind, Key(gone.namespace, gone.name)
            present, at = stand.stored.get(name), f"delete[{place_}]"
            if present is None:
                wrong.append(problem(f"{name[0]} {name[1]}", at, "it is not there", "Leave it out"))
            wrong += changed_meanwhile(f"{name[0]} {name[1]}", gone.resource_version, present, at)
        if wrong:
            raise Conflicting("documents are not as you believe: nothing was written", errors=tuple(wrong))
        return Plan(tuple(puts), tuple((each.kind, Key(each.namespace, each.name)) for each in batch.delete))

    forget = await _staged(call, batch, frozenset((each.kind, each.key) for each in drafts))
    written = False
    try:
        answer = await writer(call.backend).write(
            plan,
            permit=permits(call.caller),
            author=call.caller.name,
            reason=batch.reason,
            dry_run=batch.dry_run,
        )
        written = not batch.dry_run and any(each.op != "unchanged" for each in answer.changes)
    except OutcomeUnknown:
        written = True  # it may be: then it must not reach everybody at once
        raise
    finally:
        if not written:
            await forget()
    return told(call, answer)


def _permit(caller: Caller, drafts: Iterable[Draft], delete: Iterable[Deletion]) -> None:
    for each in drafts:
        permit_draft(caller, each)
    for gone in delete:
        permit(caller, gone.kind, gone.namespace)


async def _staged(
    call: Call[Query, Batch], batch: Batch, names: frozenset[Name]
) -> Callable[[], Awaitable[None]]:
    """Announce a write that is to go out by stages. What is returned takes it back. Unprocessable."""
    if batch.stage is None:
        return _nothing
    gone = {(each.kind, Key(each.namespace, each.name)) for each in batch.delete}
    by = f"a write of {call.caller.name}"
    try:
        return await call.backend.rollouts.stage(names | gone, batch.stage, batch.bake, by)
    except ValueError as error:
        raise Unprocessable(str(error)) from error


async def _nothing() -> None:
    pass


ROUTES: Final = (
    Route(
        "POST", "/batch", "writeBatch", "Write and delete many documents, all or nothing", write_batch,
        {200: Answer(WriteAnswer, "All of it was done, as one revision (or with dryRun would be).")},
        tag="Documents", content=Content(Batch, limit=LIMIT), problems=WRITE_PROBLEMS, writes=True,
        description="YAML is read up to 1 MiB, JSON up to 32 MiB.",
    ),
)  # fmt: skip
