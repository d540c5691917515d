"""Documents, as they are read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from api import preconditions
from api.errors import Unprocessable
from api.lookup import item_of, missing, name_of, of_files, stored_at
from api.paging import Place, page, place, token
from api.roles import Caller, Role
from api.routing import Answer, Call, Reply, Route
from api.selectors import BadSelector, Requirement, field_selector, fields_match, label_selector, labels_match
from api.shapes.documents import (
    DocumentPage,
    GetQuery,
    ListQuery,
)
from api.showing import Item, shown
from documents.reading import Tree
from store.stored import Name

ETAG: Final = ("ETag",)
PATH: Final = "/documents/{kind}/{namespace}/{name}"


async def list_documents(call: Call[ListQuery, None]) -> Reply:
    query, backend = call.query, call.backend
    try:
        labels, fields = label_selector(query.label_selector), field_selector(query.field_selector)
    except BadSelector as error:
        raise Unprocessable(str(error)) from error
    asked = query.model_dump_json(exclude={"continue_", "limit"})
    begin = place(query.continue_, asked) if query.continue_ else None
    at = begin.revision if begin is not None else query.at
    stored, revision = await stored_at(backend, at)
    files, wanted = backend.files(), _wanted(query, call.caller)

    def found() -> tuple[list[dict[str, Tree]], Name | None, int]:
        items = {name: Item(name, each) for name, each in stored.items() if wanted(name)}
        if query.at is None:
            items |= {item.name: item for item in of_files(files) if wanted(item.name)}
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
    backend, query, (kind, key) = call.backend, call.query, name_of(call)
    item = await item_of(backend, (kind, key), query.at)
    if item is None:
        raise missing(kind, key)
    headers = {} if item.version is None else {"ETag": preconditions.etag(item.version)}
    if item.version is not None and preconditions.unmodified(call.request.headers, item.version):
        return Reply(None, status=304, headers=headers)
    conditions = None if query.at is not None else backend.conditions
    (tree,) = await asyncio.to_thread(shown, (item,), conditions, owners=query.managed_fields)
    return Reply(tree, headers=headers)


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


DOCUMENT: Final = "Document"

ROUTES: Final = (
    Route(
        "GET", "/documents", "listDocuments", "Documents, in the order of kind, namespace and name", list_documents,
        {200: Answer(DocumentPage, "A page of documents.")},
        tag="Documents", query=ListQuery, problems=(404, 410, 422, 503),
        description="Of namespaces that the caller may view alone. Documents of files are among them, with status.readOnly.",
    ),
    Route(
        "GET", PATH, "getDocument", "A document", get_document,
        {200: Answer(None, "The document.", component=DOCUMENT, headers=ETAG), 304: Answer(None, "It is what you have.", headers=ETAG)},
        tag="Documents", query=GetQuery, headers=(preconditions.IF_NONE_MATCH,), problems=(404, 410, 503),
    ),
)  # fmt: skip
