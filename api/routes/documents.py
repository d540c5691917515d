"""Documents: list, get, create, replace, patch, apply, delete, and batches of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from api import preconditions
from api.backend import Backend
from api.bodies import beside, parsed
from api.drafts import Draft, Sent, draft, named
from api.errors import BadRequest, Conflicting, Forbidden, NotFound, Unavailable, Unprocessable
from api.ownership import Applied, applied, updated
from api.paging import Place, page, place, token
from api.patching import MERGE, PATCH, JsonPatch, merged, patched
from api.roles import Caller, Role
from api.routing import JSON, YAML, Answer, Call, Content, Reply, Route
from api.selectors import BadSelector, Requirement, field_selector, fields_match, label_selector, labels_match
from api.shapes.documents import (
    Batch,
    DeleteQuery,
    DocumentPage,
    GetQuery,
    ListQuery,
    PatchQuery,
    WriteAnswer,
    WriteQuery,
)
from api.shapes.problem import FieldOwner, FieldProblem
from api.shapes.shape import Query
from api.showing import Item, shown
from api.standing import Stand
from api.store_errors import answered
from api.writing import Plan, PlannedPut, Writer
from documents.kinds import SECRET
from documents.reading import Tree
from documents.sets import DocumentSet
from mesh.names import Key
from store.repository import Repository
from store.stored import Name, Stored

APPLY_YAML: Final = "application/apply-patch+yaml"
APPLY_JSON: Final = "application/apply-patch+json"
BATCH_LIMIT: Final = 32 << 20
ETAG: Final = ("ETag",)


async def list_documents(call: Call[ListQuery, None]) -> Reply:
    query, backend = call.query, call.backend
    try:
        labels, fields = label_selector(query.label_selector), field_selector(query.field_selector)
    except BadSelector as error:
        raise Unprocessable(str(error)) from error
    asked = query.model_dump_json(exclude={"continue_", "limit"})
    begin = place(query.continue_, asked) if query.continue_ else None
    at = begin.revision if begin is not None else query.at
    stored, revision = await _stored(backend, at)
    files, wanted = backend.files(), _wanted(query, call.caller)

    def found() -> tuple[list[dict[str, Tree]], Name | None, int]:
        items = {name: Item(name, each) for name, each in stored.items() if wanted(name)}
        if query.at is None:
            items |= {item.name: item for item in _of(files) if wanted(item.name)}
        matching = sorted(name for name, item in items.items() if _matches(item, labels, fields))
        names, remaining = page(matching, begin.after if begin is not None else None, query.limit)
        conditions = None if query.at is not None else backend.conditions
        return shown((items[name] for name in names), conditions), names[-1] if names else None, remaining

    trees, last, remaining = await asyncio.to_thread(found)
    following = token(Place(revision, last), asked) if remaining and last is not None else ""
    return Reply(
        DocumentPage.model_construct(
            items=tuple(trees), revision=revision, continue_=following, remaining=remaining
        )
    )


async def get_document(call: Call[GetQuery, None]) -> Reply:
    backend, query, (kind, key) = call.backend, call.query, _name(call)
    item = await _item(backend, (kind, key), query.at)
    if item is None:
        raise _missing(kind, key)
    headers = {} if item.version is None else {"ETag": preconditions.etag(item.version)}
    if item.version is not None and preconditions.unmodified(call.request.headers, item.version):
        return Reply(None, status=304, headers=headers)
    conditions = None if query.at is not None else backend.conditions
    (tree,) = await asyncio.to_thread(shown, (item,), conditions, owners=query.managed_fields)
    return Reply(tree, headers=headers)


async def create_document(call: Call[WriteQuery, Sent]) -> Reply:
    given = await read(call.body)

    def plan(stand: Stand) -> Plan:
        present = stand.stored.get((given.kind, given.key))
        if present is not None:
            raise Conflicting(
                f"{given} is there already (version {present.resource_version}): replace or patch it, or choose another name"
            )
        return Plan((_put(given, None, _manager(call.query.field_manager, call.caller)),))

    return await _write_one(call, given, plan, status=201)


async def replace_document(call: Call[WriteQuery, Sent]) -> Reply:
    kind, key = _name(call)
    given = named(await read(call.body), kind, key)
    version = given.resource_version

    def plan(stand: Stand) -> Plan:
        present = stand.stored.get((kind, key))
        _check(call, present, kind, key)
        _same_version(given, version, present)
        return Plan((_put(given, present, _manager(call.query.field_manager, call.caller)),))

    return await _write_one(call, given, plan)


async def patch_document(call: Call[PatchQuery, Sent]) -> Reply:
    if call.body.media in {APPLY_YAML, APPLY_JSON}:
        return await _apply(call)
    kind, key = _name(call)
    if call.query.force:
        raise Unprocessable("force is for server-side apply alone: leave it out")
    change = await _change(call.body)

    def plan(stand: Stand) -> Plan:
        present = stand.stored.get((kind, key))
        if present is None:
            raise _missing(kind, key)
        _check(call, present, kind, key)
        new = named(Draft(change(present.document())), kind, key)
        _same_version(new, new.resource_version, present)
        return Plan((_put(new, present, _manager(call.query.field_manager, call.caller)),))

    return await _write_one(
        call, Draft({"kind": kind, "metadata": {"namespace": key.namespace, "name": key.name}}), plan
    )


async def delete_document(call: Call[DeleteQuery, None]) -> Reply:
    kind, key = _name(call)
    _permit(call.caller, kind, key.namespace)

    def plan(stand: Stand) -> Plan:
        present = stand.stored.get((kind, key))
        if present is None:
            held = _of_file(call.backend, (kind, key))
            raise _read_only(held) if held is not None else _missing(kind, key)
        _check(call, present, kind, key)
        return Plan(deletes=((kind, key),))

    query = call.query
    answer = await writer(call.backend).write(
        plan, author=call.caller.name, reason=query.reason, dry_run=query.dry_run
    )
    return _told(call, answer)


async def write_batch(call: Call[Query, Batch]) -> Reply:
    batch = call.body
    call.told["reason"] = batch.reason
    if batch.stage is None and batch.bake is not None:
        raise Unprocessable("bake goes with stage: say both, or neither")
    drafts = [Draft(tree, place=f"documents[{place}]") for place, tree in enumerate(batch.documents)]
    for each in drafts:
        _permit(call.caller, each.kind, each.key.namespace)
    for gone in batch.delete:
        _permit(call.caller, gone.kind, gone.namespace)
    manager = _manager(batch.field_manager, call.caller)
    versions = [each.resource_version for each in drafts]

    def plan(stand: Stand) -> Plan:
        wrong = []
        puts = []
        for each, version in zip(drafts, versions, strict=True):
            present = stand.stored.get((each.kind, each.key))
            wrong += _changed_meanwhile(str(each), version, present, each.place)
            puts.append(_put(each, present, manager))
        for place_, gone in enumerate(batch.delete):
            name = gone.kind, Key(gone.namespace, gone.name)
            present, at = stand.stored.get(name), f"delete[{place_}]"
            if present is None:
                wrong.append(_problem(f"{name[0]} {name[1]}", at, "it is not there", "Leave it out"))
            wrong += _changed_meanwhile(f"{name[0]} {name[1]}", gone.resource_version, present, at)
        if wrong:
            raise Conflicting("documents are not as you believe: nothing was written", errors=tuple(wrong))
        return Plan(tuple(puts), tuple((each.kind, Key(each.namespace, each.name)) for each in batch.delete))

    forget = await _staged(call, batch, frozenset((each.kind, each.key) for each in drafts))
    written = False
    try:
        answer = await writer(call.backend).write(
            plan, author=call.caller.name, reason=batch.reason, dry_run=batch.dry_run
        )
        written = not batch.dry_run and any(each.op != "unchanged" for each in answer.changes)
    finally:
        if not written:
            forget()
    return _told(call, answer)


async def _staged(call: Call[Query, Batch], batch: Batch, names: frozenset[Name]) -> Callable[[], None]:
    """Announce a write that is to go out by stages. What is returned takes it back. Unprocessable."""
    if batch.stage is None:
        return lambda: None
    gone = {(each.kind, Key(each.namespace, each.name)) for each in batch.delete}
    by = f"a write of {call.caller.name}"
    try:
        return await call.backend.rollouts.stage(names | gone, batch.stage, batch.bake, by)
    except ValueError as error:
        raise Unprocessable(str(error)) from error


async def _apply(call: Call[PatchQuery, Sent]) -> Reply:
    """Server-side apply."""
    (kind, key), query = _name(call), call.query
    if query.field_manager is None:
        raise Unprocessable("fieldManager is missing: to apply, say who owns what is applied")
    manager = query.field_manager
    given = named(await read(call.body), kind, key)
    if given.metadata.get("managedFields") is not None:
        raise Unprocessable("metadata.managedFields cannot be applied: leave it out")
    version = given.resource_version

    def plan(stand: Stand) -> Plan:
        present = stand.stored.get((kind, key))
        _check(call, present, kind, key)
        _same_version(given, version, present)
        live, owners = (present.body, present.managed) if present is not None else (None, {})
        made = applied(kind, live, owners, _object(given), manager, force=query.force)
        if made.clashes:
            raise _clashing(kind, key, made)
        return Plan((PlannedPut(replace(given, tree=made.body), made.managed),))

    return await _write_one(call, given, plan)


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


async def _write_one(
    call: Call[Any, Sent], given: Draft, plan: Callable[[Stand], Plan], status: int = 200
) -> Reply:
    """Write one document; the answer has it as it is now."""
    _permit(call.caller, given.kind, given.key.namespace)
    query = call.query
    answer = await writer(call.backend).write(
        plan, author=call.caller.name, reason=query.reason, dry_run=query.dry_run
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
    return _told(call, answer.model_copy(update={"document": document}), status, headers)


def _told(
    call: Call[Any, Any], answer: WriteAnswer, status: int = 200, headers: Mapping[str, str] | None = None
) -> Reply:
    call.told["revision"] = answer.revision
    call.told["dry_run"] = "yes" if answer.dry_run else ""
    call.told["documents"] = [
        f"{each.op} {each.kind} {each.namespace}/{each.name}" for each in answer.changes[:100]
    ]
    return Reply(answer, status, headers or {})


def _put(given: Draft, present: Stored | None, manager: str) -> PlannedPut:
    live, owners = (present.body, present.managed) if present is not None else (None, {})
    return PlannedPut(given, updated(given.kind, live, owners, _object(given), manager))


def _object(given: Draft) -> Mapping[str, Tree]:
    return given.tree if isinstance(given.tree, dict) else {}


def _check(call: Call[Any, Any], present: Stored | None, kind: str, key: Key) -> None:
    version = present.resource_version if present is not None else None
    preconditions.check(call.request.headers, version, f"{kind} {key}")


def _same_version(given: Draft, version: str | None, present: Stored | None) -> None:
    wrong = _changed_meanwhile(str(given), version, present, "")
    if wrong:
        raise Conflicting(f"{given}: {wrong[0].reason}: nothing was written", errors=tuple(wrong))


def _changed_meanwhile(what: str, version: str | None, present: Stored | None, at: str) -> list[FieldProblem]:
    if version is None or (present is not None and present.resource_version == version):
        return []
    now = f"has version {present.resource_version}" if present is not None else "is not there"
    path = f"{at}.metadata.resourceVersion".strip(".")
    return [
        _problem(
            what,
            path,
            f"you have version {version[:40]}, and it {now}",
            "Read it again, and repeat the change on that",
        )
    ]


def _problem(what: str, path: str, reason: str, remedy: str) -> FieldProblem:
    return FieldProblem(document=what, path=path, reason=reason, remedy=remedy)


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


def _wanted(query: ListQuery, caller: Caller) -> Callable[[Name], bool]:
    allowed: dict[str, bool] = {}

    def wanted(name: Name) -> bool:
        kind, key = name
        if query.kind not in {None, kind} or query.namespace not in {None, key.namespace}:
            return False
        if key.namespace not in allowed:
            allowed[key.namespace] = caller.may(Role.VIEWER, key.namespace)
        return allowed[key.namespace]

    return wanted


def _matches(item: Item, labels: tuple[Requirement, ...], fields: tuple[Requirement, ...]) -> bool:
    if labels and not labels_match(labels, item.labels()):
        return False
    return not fields or fields_match(fields, item.tree())


async def _stored(backend: Backend, at: int | None) -> tuple[Mapping[Name, Stored], int]:
    if backend.repository is None:
        if at:
            raise NotFound("there are no revisions: this control plane has no store")
        return {}, 0
    with answered():
        snapshot = await backend.repository.documents(at)
    return snapshot.documents, snapshot.revision.number


async def _item(backend: Backend, name: Name, at: int | None) -> Item | None:
    if backend.repository is not None:
        with answered():
            stored = await backend.repository.get(*name, at=at)
        if stored is not None:
            return Item(name, stored)
    if at is not None:
        return None
    return _of_file(backend, name)


def _of(files: DocumentSet) -> Iterator[Item]:
    for document in files.documents:
        yield Item((document.kind, document.key), document)


def _of_file(backend: Backend, name: Name) -> Item | None:
    kind, key = name
    files = backend.files()
    found = files.index.get(name) or files.index.get(
        ("Service", key)
    )  # An ExternalService has a service's name.
    return Item(name, found) if found is not None and found.kind == kind else None


def repository(backend: Backend) -> Repository:
    """The store. Unavailable if there is none."""
    if backend.repository is None:
        raise _no_store()
    return backend.repository


def writer(backend: Backend) -> Writer:
    """Who writes to the store. Unavailable if there is none."""
    if backend.writer is None:
        raise _no_store()
    return backend.writer


def _no_store() -> Unavailable:
    return Unavailable(
        "this control plane has no store, so nothing can be written here: see the setting store"
    )


def _name(call: Call[Any, Any]) -> Name:
    return call.path["kind"], Key(call.path["namespace"], call.path["name"])


def _missing(kind: str, key: Key) -> NotFound:
    return NotFound(f"there is no {kind} {key}: GET /api/v1/documents lists what there is")


def _read_only(item: Item) -> Conflicting:
    where = getattr(item.held, "where", "")
    return Conflicting(
        f"{item.name[0]} {item.name[1]} is read-only: it is of {where}, which the API does not write; change it there"
    )


def _manager(given: str | None, caller: Caller) -> str:
    return given or caller.name


def _permit(caller: Caller, kind: str, namespace: str) -> None:
    """Whoever writes a Secret has the control plane read files of its host: that is for admins alone."""
    role = Role.ADMIN if kind == SECRET.name else Role.EDITOR
    if not caller.may(role, namespace):
        raise Forbidden(
            f"{caller.name} is not {role} in namespace {namespace[:63]}, which a {kind[:63]} takes"
        )


DOCUMENT: Final = "Document"
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
_PATH: Final = "/documents/{kind}/{namespace}/{name}"
_WRITE_PROBLEMS: Final = (409, 413, 415, 422, 503, 507)

ROUTES: Final = (
    Route(
        "GET", "/documents", "listDocuments", "Documents, in the order of kind, namespace and name", list_documents,
        {200: Answer(DocumentPage, "A page of documents.")},
        tag="Documents", query=ListQuery, problems=(404, 410, 422, 503),
        description="Of namespaces that the caller may view alone. Documents of files are among them, with status.readOnly.",
    ),
    Route(
        "POST", "/documents", "createDocument", "Create a document", create_document,
        {200: _DONE, 201: _CREATED}, tag="Documents", query=WriteQuery, content=_ONE,
        problems=_WRITE_PROBLEMS, writes=True,
    ),
    Route(
        "GET", _PATH, "getDocument", "A document", get_document,
        {200: Answer(None, "The document.", component=DOCUMENT, headers=ETAG), 304: Answer(None, "It is what you have.", headers=ETAG)},
        tag="Documents", query=GetQuery, headers=(preconditions.IF_NONE_MATCH,), problems=(404, 410, 503),
    ),
    Route(
        "PUT", _PATH, "replaceDocument", "Replace a document, or create it", replace_document,
        {200: _DONE, 201: _CREATED}, tag="Documents", query=WriteQuery, content=_ONE,
        headers=(preconditions.IF_MATCH, preconditions.IF_NONE_MATCH), problems=(412, *_WRITE_PROBLEMS), writes=True,
    ),
    Route(
        "PATCH", _PATH, "patchDocument", "Change a part of a document, or apply (server-side)", patch_document,
        {200: _DONE, 201: _CREATED}, tag="Documents", query=PatchQuery, content=_PATCH,
        headers=(preconditions.IF_MATCH, preconditions.IF_NONE_MATCH), problems=(404, 412, *_WRITE_PROBLEMS), writes=True,
    ),
    Route(
        "DELETE", _PATH, "deleteDocument", "Delete a document", delete_document,
        {200: Answer(WriteAnswer, "It was deleted (or with dryRun would be).")}, tag="Documents", query=DeleteQuery,
        headers=(preconditions.IF_MATCH, preconditions.IF_NONE_MATCH), problems=(404, 409, 412, 503, 507), writes=True,
    ),
    Route(
        "POST", "/batch", "writeBatch", "Write and delete many documents, all or nothing", write_batch,
        {200: Answer(WriteAnswer, "All of it was done, as one revision (or with dryRun would be).")},
        tag="Documents", content=Content(Batch, limit=BATCH_LIMIT), problems=_WRITE_PROBLEMS, writes=True,
        description="YAML is read up to 1 MiB, JSON up to 32 MiB.",
    ),
)  # fmt: skip
