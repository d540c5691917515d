"""The history of the store: revisions, what they changed, the way back, and a stream of those that come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from api.changing import permits
from api.errors import Forbidden, Unprocessable
from api.lookup import past, writer
from api.paging import Place, page, place, token
from api.roles import Caller, Role
from api.routing import Answer, Call, Content, NoQuery, Reply, Route
from api.shapes.documents import DocumentPage, PageQuery, WriteAnswer
from api.shapes.revisions import (
    DiffQuery,
    DocumentDifference,
    RevisionChange,
    RevisionDiff,
    RevisionPage,
    RevisionShown,
    RevisionsQuery,
    Rollback,
    WatchedChange,
    WatchLine,
    WatchQuery,
)
from api.showing import Item, shown
from api.store_errors import answered
from api.streaming import MEDIA_TYPE, lines
from documents.reading import Tree
from mesh.names import Key
from store.repository import Repository
from store.revision import Change, Revision
from store.stored import Stored


async def list_revisions(call: Call[RevisionsQuery, None]) -> RevisionPage:
    query = call.query
    if (query.namespace is None) != (query.name is None):
        raise Unprocessable("namespace and name go together: give both, or neither")
    _viewer(call.caller, query.namespace)
    key = Key(query.namespace, query.name) if query.namespace and query.name else None
    with answered():
        found = await past(call.backend, query.kind, key).history(
            query.kind, key, limit=query.limit, before=query.before
        )
    more = found[-1].number if len(found) == query.limit and found[-1].number > 1 else None
    return RevisionPage(items=tuple(_shown(each, call.caller) for each in found), before=more)


async def get_revision(call: Call[NoQuery, None]) -> RevisionShown:
    with answered():
        return _shown(await past(call.backend).revision(call.path["number"]), call.caller)


async def list_documents_of_revision(call: Call[PageQuery, None]) -> Reply:
    number, query = call.path["number"], call.query
    begin = place(query.continue_, f"revision {number}") if query.continue_ else None
    with answered():
        stored = await past(call.backend).list(at=number)

    def found() -> tuple[list[dict[str, Tree]], str, int]:
        visible = {each.name: each for each in stored if call.caller.may(Role.VIEWER, each.key.namespace)}
        names, remaining = page(list(visible), begin.after if begin else None, query.limit)
        following = token(Place(number, names[-1]), f"revision {number}") if remaining and names else ""
        return shown((Item(name, visible[name]) for name in names), None), following, remaining

    trees, following, remaining = await asyncio.to_thread(found)
    return Reply(
        DocumentPage.model_construct(
            items=tuple(trees), revision=number, continue_=following, remaining=remaining
        )
    )


async def diff_revisions(call: Call[DiffQuery, None]) -> Reply:
    store, start = past(call.backend), call.path["number"]
    with answered():
        to = call.query.to if call.query.to is not None else (await store.head()).number
        found = await store.diff(start, to)

    def made() -> RevisionDiff:
        return RevisionDiff.model_construct(
            from_=start,
            to=to,
            items=tuple(
                DocumentDifference.model_construct(
                    kind=each.kind,
                    namespace=each.key.namespace,
                    name=each.key.name,
                    before=_document(each.before),
                    after=_document(each.after),
                )
                for each in found
                if call.caller.may(Role.VIEWER, each.key.namespace)
            ),
        )

    return Reply(await asyncio.to_thread(made))


async def rollback(call: Call[NoQuery, Rollback]) -> WriteAnswer:
    wish = call.body
    call.told["reason"] = wish.reason
    answer = await writer(call.backend).rollback(
        wish.to,
        permit=permits(call.caller),
        author=call.caller.name,
        reason=wish.reason,
        dry_run=wish.dry_run,
    )
    call.told["revision"] = answer.revision
    call.told["to"] = wish.to
    call.told["dry_run"] = "yes" if answer.dry_run else ""
    return answer


async def watch(call: Call[WatchQuery, None]) -> web.StreamResponse:
    store, query, caller = past(call.backend), call.query, call.caller
    _viewer(caller, query.namespace)
    with answered():
        head = (await store.head()).number
        after = query.after if query.after is not None else head
        if after != head:
            # What is wrong with it is said before the stream begins.
            await store.revision(after + 1 if after < head else after)
        revisions = store.watch(after)

    async def told() -> AsyncIterator[WatchLine]:
        with answered():
            async for revision in revisions:
                yield await _line(store, revision, query, caller)

    return await lines(call, told(), lambda last: WatchLine(type="heartbeat", revision=last), after)


async def _line(store: Repository, revision: Revision, query: WatchQuery, caller: Caller) -> WatchLine:
    wanted = [
        each
        for each in revision.changes
        if query.kind in {None, each.kind}
        and query.namespace in {None, each.key.namespace}
        and caller.may(Role.VIEWER, each.key.namespace)
    ]
    known = _known(revision, caller)
    documents: dict[str, Stored] = {}
    if query.documents:
        documents = await store.blobs.stored({each.blob for each in wanted if each.blob is not None})
    changes = tuple(
        WatchedChange.model_construct(
            op=each.op,
            kind=each.kind,
            namespace=each.key.namespace,
            name=each.key.name,
            document=_document(documents.get(each.blob or "")),
        )
        for each in wanted
    )
    return WatchLine.model_construct(
        type="revision",
        revision=revision.number,
        at=revision.at,
        author=revision.author if known else "",
        reason=revision.reason if known else "",
        changes=changes,
    )


def _document(stored: Stored | None) -> dict[str, Tree] | None:
    return stored.document() if stored is not None else None


def _shown(revision: Revision, caller: Caller) -> RevisionShown:
    """What `caller` may know of it: of documents in other namespaces, nothing; of one that changed only such, that it is there."""
    known = _known(revision, caller)
    return RevisionShown(
        number=revision.number,
        id=revision.id,
        parent=revision.parent,
        at=revision.at,
        author=revision.author if known else "",
        reason=revision.reason if known else "",
        changes=tuple(
            _change(each) for each in revision.changes if caller.may(Role.VIEWER, each.key.namespace)
        ),
    )


def _known(revision: Revision, caller: Caller) -> bool:
    """Whether `caller` may know who made it, and why: what others do elsewhere is theirs."""
    return caller.may(Role.VIEWER) or any(
        caller.may(Role.VIEWER, each.key.namespace) for each in revision.changes
    )


def _viewer(caller: Caller, namespace: str | None) -> None:
    """Forbidden, unless `caller` may view `namespace`; None: none is asked for."""
    if namespace is not None and not caller.may(Role.VIEWER, namespace):
        raise Forbidden(f"{caller.name} is not viewer in namespace {namespace}")


def _change(change: Change) -> RevisionChange:
    return RevisionChange(
        op=change.op, kind=change.kind, namespace=change.key.namespace, name=change.key.name
    )


_GONE: Final = (404, 410, 503)

ROUTES: Final = (
    Route(
        "GET", "/revisions", "listRevisions", "Revisions, the newest first", list_revisions,
        {200: Answer(RevisionPage, "A page of revisions.")}, tag="History", query=RevisionsQuery, problems=(422, *_GONE),
    ),
    Route(
        "GET", "/revisions/{number}", "getRevision", "A revision", get_revision,
        {200: Answer(RevisionShown, "The revision.")}, tag="History", problems=_GONE,
    ),
    Route(
        "GET", "/revisions/{number}/documents", "listDocumentsOfRevision", "All documents as of a revision",
        list_documents_of_revision, {200: Answer(DocumentPage, "A page of documents.")},
        tag="History", query=PageQuery, problems=(422, *_GONE),
    ),
    Route(
        "GET", "/revisions/{number}/diff", "diffRevisions", "How documents differ between two revisions", diff_revisions,
        {200: Answer(RevisionDiff, "Every document that differs.")}, tag="History", query=DiffQuery, problems=_GONE,
        description="Revision 0 is an empty store.",
    ),
    Route(
        "POST", "/rollback", "rollback", "All documents as they were at a revision, as a new revision", rollback,
        {200: Answer(WriteAnswer, "It was done (or with dryRun would be).")}, tag="History",
        content=Content(Rollback), problems=(404, 409, 410, 413, 415, 422, 503, 507), writes=True,
    ),
    Route(
        "GET", "/watch", "watch", "Revisions as they come, a line of JSON each", watch,
        {200: Answer(WatchLine, "A stream of lines, without an end.", media=MEDIA_TYPE)}, tag="History",
        query=WatchQuery, problems=(404, 410, 503),
        description="To go on after it broke, ask for revisions after the last `revision` of a line. 410: these are not kept any more; read all again.",
    ),
)  # fmt: skip
