"""Whoever may view something is told how far a revision is; names are of namespaces that they may view."""

from __future__ import annotations

from api.roles import Caller, Grant, Role, Way
from api.routes.acknowledgements import seen_by
from api.shapes.acknowledgements import Acknowledgements, Behind, Refusing

DOCUMENTS = ("store#7 HTTPRoute shop/web", "shop/all.yaml#2 HTTPRoute blog/web")
FOUND = Acknowledgements(
    revision=7,
    state="waiting",
    proxies=5,
    behind=tuple(
        Behind(proxy=name, replica="", peer="", pending={}, why="late")
        for name in ("shop/web-1", "shop/web-2 (plaintext)", "blog/web-1")
    ),
    refused=tuple(
        Refusing(
            proxy=name, replica="", type="CDS", names=("x",), message="no", documents=DOCUMENTS, seconds=1
        )
        for name in ("shop/api-1", "blog/api-1")
    ),
    quarantined=("HTTPRoute shop/web", "HTTPRoute blog/web"),
)


def caller(*grants: Grant) -> Caller:
    return Caller("token:ci", Way.TOKEN, "", grants)


def test_who_may_view_all_is_told_all() -> None:
    assert seen_by(caller(Grant(Role.VIEWER)), FOUND) is FOUND


def test_who_may_view_one_namespace_is_told_its_names_and_the_numbers_of_all() -> None:
    told = seen_by(caller(Grant(Role.EDITOR, frozenset({"shop"}))), FOUND)
    assert (told.state, told.proxies, told.unseen) == ("waiting", 5, 2)
    assert [each.proxy for each in told.behind] == ["shop/web-1", "shop/web-2 (plaintext)"]
    assert [(each.proxy, each.documents) for each in told.refused] == [("shop/api-1", DOCUMENTS[:1])]
    assert told.quarantined == ("HTTPRoute shop/web",)
    assert "blog" not in told.model_dump_json()
