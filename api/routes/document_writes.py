"""Single documents, as they are written: create, replace, patch, apply, delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from api import preconditions
from api.bodies import beside, parsed
from api.changing import (
    WRITE_PROBLEMS,
    check_headers,
    manager_of,
    mapping_of,
    permit,
    permit_draft,
    permits,
    planned,
    same_version,
    told,
)
from api.drafts import Draft, Sent, draft, named
from api.errors import BadRequest, Conflicting, Unprocessable
from api.lookup import missing, name_of, of_file, read_only, repository, writer
from api.ownership import Applied, applied
from api.patching import MERGE, PATCH, JsonPatch, merged, patched
from api.routes.documents import ETAG, PATH
from api.routing import JSON, YAML, Answer, Call, Content, Reply, Route
from api.shapes.documents import (
    DeleteQuery,
    PatchQuery,
    WriteAnswer,
    WriteQuery,
)
from api.shapes.problem import FieldOwner
from api.showing import Item, shown
from api.standing import Stand
from api.store_errors import answered
from api.writing import Plan, PlannedPut
from documents.reading import Tree
from mesh.names import Key

APPLY_YAML: Final = "application/apply-patch+yaml"
APPLY_JSON: Final = "application/apply-patch+json"


async def create_document(call: Call[WriteQuery, Sent]) -> Reply:
    given = await read(call.body)

    def plan(stand: Stand) -> Plan:
        present = stand.stored.get((given.kind, given.key))
        if present is not None:
            raise Conflicting(
                f"{given} is there already (version {present.resource_version}): replace or patch it, or choose another name"
            )
        return Plan((planned(given, None, manager_of(call.query.field_manager, call.caller)),))

    return await _write_one(call, given, plan, status=201)


async def replace_document(call: Call[WriteQuery, Sent]) -> Reply:
    kind, key = name_of(call)
    given = named(await read(call.body), kind, key)
    version = given.resource_version

    def plan(stand: Stand) -> Plan:
        present = stand.stored.get((kind, key))
        check_headers(call, present, kind, key)
        same_version(given, version, present)
        return Plan((planned(given, present, manager_of(call.query.field_manager, call.caller)),))

    return await _write_one(call, given, plan)


async def patch_document(call: Call[PatchQuery, Sent]) -> Reply:
    if call.body.media in {APPLY_YAML, APPLY_JSON}:
        return await _apply(call)
    kind, key = name_of(call)
    if call.query.force:
        raise Unprocessable("force is for server-side apply alone: leave it out")
    change = await _change(call.body)

    def plan(stand: Stand) -> Plan:
        present = stand.stored.get((kind, key))
        if present is None:
            raise missing(kind, key)
        check_headers(call, present, kind, key)
        new = named(Draft(change(present.document())), kind, key)
        same_version(new, new.resource_version, present)
        return Plan((planned(new, present, manager_of(call.query.field_manager, call.caller)),))

    return await _write_one(
        call, Draft({"kind": kind, "metadata": {"namespace": key.namespace, "name": key.name}}), plan
    )


async def delete_document(call: Call[DeleteQuery, None]) -> Reply:
    kind, key = name_of(call)
    permit(call.caller, kind, key.namespace)

    def plan(stand: Stand) -> Plan:
        present = stand.stored.get((kind, key))
        if present is None:
            held = of_file(call.backend, (kind, key))
            raise read_only(held) if held is not None else missing(kind, key)
        check_headers(call, present, kind, key)
        return Plan(deletes=((kind, key),))

    query = call.query
    answer = await writer(call.backend).write(
        plan, permit=permits(call.caller), author=call.caller.name, reason=query.reason, dry_run=query.dry_run
    )
    return told(call, answer)


async def _apply(call: Call[PatchQuery, Sent]) -> Reply:
    """Server-side apply."""
    (kind, key), query = name_of(call), call.query
    if query.field_manager is None:
        raise Unprocessable("fieldManager is missing: to apply, say who owns what is applied")
    manager = query.field_manager
    given = named(await read(call.body), kind, key)
    if given.metadata.get("managedFields") is not None:
        raise Unprocessable("metadata.managedFields cannot be applied: leave it out")
    version = given.resource_version

    def plan(stand: Stand) -> Plan:
        present = stand.stored.get((kind, key))
        check_headers(call, present, kind, key)
        same_version(given, version, present)
        live, owners = (present.body, present.managed) if present is not None else (None, {})
        made = applied(kind, live, owners, mapping_of(given), manager, force=query.force)
        if made.clashes:
            raise _clashing(kind, key, made)
        return Plan((PlannedPut(replace(given, tree=made.body), made.managed),))

    return await _write_one(call, given, plan)


async def _write_one(
    call: Call[Any, Sent], given: Draft, plan: Callable[[Stand], Plan], status: int = 200
) -> Reply:
    """Write one document; the answer has it as it is now."""
    permit_draft(call.caller, given)
    query = call.query
    answer = await writer(call.backend).write(
        plan, permit=permits(call.caller), author=call.caller.name, reason=query.reason, dry_run=query.dry_run
    )
    document, headers = None, {}
    (change,) = answer.changes
    if not query.dry_run:
        name = change.kind, Key(change.namespace, change.name)
        with answered():
            stored = await repository(call.backend).get(*name, at=answer.revision)
        if stored is not None:
            (document,) = shown((Item(name, stored),), None)
        headers = {"ETag": preconditions.etag(change.resource_version)}
    if change.op != "created" or query.dry_run:
        status = 200
    elif status == 200:
        status = 201
    return told(call, answer.model_copy(update={"document": document}), status, headers)


async def read(sent: Sent) -> Draft:
    """The one document of a body. BadRequest."""
    return await beside(sent, lambda: draft(sent))


async def _change(sent: Sent) -> Callable[[Tree], Tree]:
    if sent.media == PATCH:
        operations = await beside(sent, lambda: parsed(sent, JsonPatch))
        return lambda tree: patched(tree, operations)
    patch = (await read(sent)).tree
    if not isinstance(patch, dict):
        raise BadRequest("a merge patch of a document is a mapping")
    return lambda tree: merged(tree, patch)


def _clashing(kind: str, key: Key, made: Applied) -> Conflicting:
    owners = tuple(
        FieldOwner(document=f"{kind} {key}", path=each.path, manager=each.manager)
        for each in made.clashes[:200]
    )
    others = ", ".join(sorted({each.manager for each in made.clashes}))
    return Conflicting(
        f"{len(made.clashes)} field{'' if len(made.clashes) == 1 else 's'} of {kind} {key} would change, and belong to {others}: "
        "leave them out, give them the same values, or take them over with force=true",
        owners=owners,
    )


WRITTEN: Final = "WrittenDocument"
_ONE: Final = Content(
    schemas={JSON: WRITTEN, YAML: WRITTEN},
    description="A document. Its metadata.resourceVersion, if given, must be what it has now.",
)
_PATCH: Final = Content(
    media=(MERGE, PATCH, APPLY_YAML, APPLY_JSON),
    schemas={
        MERGE: "MergePatch",
        PATCH: JsonPatch,
        APPLY_YAML: "AppliedDocument",
        APPLY_JSON: "AppliedDocument",
    },
    description="A merge patch (RFC 7396), a JSON patch (RFC 6902), or what its manager wants to be there (server-side apply).",
)
_DONE: Final = Answer(WriteAnswer, "What was done (or with dryRun would be).", headers=ETAG)
_CREATED: Final = Answer(WriteAnswer, "It was created.", headers=ETAG)

ROUTES: Final = (
    Route(
        "POST", "/documents", "createDocument", "Create a document", create_document,
        {200: _DONE, 201: _CREATED}, tag="Documents", query=WriteQuery, content=_ONE,
        problems=WRITE_PROBLEMS, writes=True,
    ),
    Route(
        "PUT", PATH, "replaceDocument", "Replace a document, or create it", replace_document,
        {200: _DONE, 201: _CREATED}, tag="Documents", query=WriteQuery, content=_ONE,
        headers=(preconditions.IF_MATCH, preconditions.IF_NONE_MATCH), problems=(412, *WRITE_PROBLEMS), writes=True,
    ),
    Route(
        "PATCH", PATH, "patchDocument", "Change a part of a document, or apply (server-side)", patch_document,
        {200: _DONE, 201: _CREATED}, tag="Documents", query=PatchQuery, content=_PATCH,
        headers=(preconditions.IF_MATCH, preconditions.IF_NONE_MATCH), problems=(404, 412, *WRITE_PROBLEMS), writes=True,
    ),
    Route(
        "DELETE", PATH, "deleteDocument", "Delete a document", delete_document,
        {200: Answer(WriteAnswer, "It was deleted (or with dryRun would be).")}, tag="Documents", query=DeleteQuery,
        headers=(preconditions.IF_MATCH, preconditions.IF_NONE_MATCH), problems=(404, 409, 412, 503, 507), writes=True,
    ),
)  # fmt: skip
