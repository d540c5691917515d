"""What of the history a caller of some namespaces is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from api.errors import Forbidden
from api.roles import Caller, Grant, Role, Way
from api.routes.revisions import list_revisions, watch
from api.routing import Call
from api.shapes.revisions import RevisionsQuery, WatchQuery
from mesh.names import Key
from store.revision import Change, Revision


def a_revision(number: int, *namespaces: str) -> Revision:
    changes = tuple(Change("Service", Key(each, "api"), "put", "b") for each in namespaces)
    when = datetime(2026, 1, 1, tzinfo=UTC)
    return Revision(number, f"r{number}", "", when, "token:ann", "why", changes, "root")


class Repository:
    """Of the store, what the route reads."""

    async def history(self, *_asked: object, **_page: object) -> list[Revision]:
        return [a_revision(3, "shop", "blog"), a_revision(2, "blog"), a_revision(1, "shop")]


class Backend:
    repository = Repository()


def a_call(query: object, *grants: Grant) -> Call[Any, None]:
    caller = Caller("ci", Way.TOKEN, "127.0.0.1", grants)
    return Call(cast("Any", None), cast("Any", Backend()), caller, {}, query, None)


SHOP = Grant(Role.EDITOR, frozenset({"shop"}))
BLOG = {"kind": "Service", "namespace": "blog", "name": "api"}


async def test_the_history_of_a_document_that_may_not_be_viewed_is_not_told() -> None:
    with pytest.raises(Forbidden, match="not viewer in namespace blog"):
        await list_revisions(a_call(RevisionsQuery.model_validate(BLOG), SHOP))
    with pytest.raises(Forbidden, match="not viewer in namespace blog"):
        await watch(a_call(WatchQuery(namespace="blog"), SHOP))


async def test_who_changed_other_namespaces_and_why_is_not_told() -> None:
    page = await list_revisions(a_call(RevisionsQuery(), SHOP))
    assert [(each.number, each.author, each.reason) for each in page.items] == [
        (3, "token:ann", "why"),
        (2, "", ""),
        (1, "token:ann", "why"),
    ]
    page = await list_revisions(a_call(RevisionsQuery(), Grant(Role.VIEWER)))
    assert {each.author for each in page.items} == {"token:ann"}
