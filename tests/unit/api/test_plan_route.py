"""Who may have a plan made: Envoy is shown what it would write, so nobody plans what they may not write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from api.errors import Forbidden
from api.roles import Caller, Grant, Role, Way
from api.routes.plan import plan
from api.routing import Call, NoQuery
from api.shapes.plan import EnvoyCheck, PlanAnswer, PlanRequest

ANSWER = PlanAnswer(proxies=0, of_proxies=0, check=EnvoyCheck(result="not-run"))


class Backend:
    repository = None
    visible: Callable[[str], bool]

    async def plan(self, request: PlanRequest, visible: Callable[[str], bool]) -> PlanAnswer:
        self.visible = visible
        return ANSWER


def a_call(body: dict[str, Any], *grants: Grant) -> Call[NoQuery, PlanRequest]:
    caller = Caller("ci", Way.TOKEN, "127.0.0.1", grants)
    request = PlanRequest.model_validate(body)
    return Call(cast("Any", None), cast("Any", Backend()), caller, {}, NoQuery(), request)


def a_document(namespace: str | None) -> dict[str, Any]:
    metadata = {"name": "a"} if namespace is None else {"name": "a", "namespace": namespace}
    return {"kind": "Service", "metadata": metadata}


SHOP = Grant(Role.EDITOR, frozenset({"shop"}))


async def test_an_editor_of_a_namespace_plans_there() -> None:
    answer = await plan(
        a_call(
            {
                "documents": [a_document("shop")],
                "delete": [{"kind": "Service", "namespace": "shop", "name": "b"}],
            },
            SHOP,
        )
    )
    assert answer.status == 200


@pytest.mark.parametrize(
    "body",
    [
        {"documents": [a_document("shop"), a_document("other")]},
        {"documents": [a_document(None)]},
        {"delete": [{"kind": "Service", "namespace": "other", "name": "b"}]},
        {"documents": [{**a_document("shop"), "kind": "Secret"}]},
        {"documents": [{**a_document("shop"), "spec": {"targetRefs": [{"kind": "Mesh"}]}}]},
        {"delete": [{"kind": "Secret", "namespace": "shop", "name": "b"}]},
        {"revision": 1},
    ],
)
async def test_and_nowhere_else(body: dict[str, Any]) -> None:
    with pytest.raises(Forbidden):
        await plan(a_call(body, SHOP))


async def test_an_editor_of_all_goes_back_to_a_revision() -> None:
    assert (await plan(a_call({"revision": 1}, Grant(Role.EDITOR)))).status == 200


async def test_of_proxies_are_shown_those_that_may_be_viewed() -> None:
    call = a_call({"documents": [a_document("shop")]}, SHOP)
    await plan(call)
    visible = cast("Backend", call.backend).visible
    assert visible("shop")
    assert not visible("other")


async def test_a_viewer_plans_nothing() -> None:
    with pytest.raises(Forbidden):
        await plan(a_call({"documents": [a_document("shop")]}, Grant(Role.VIEWER)))
