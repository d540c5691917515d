from __future__ import annotations

import pytest

from mesh.names import Key
from mesh.targeting import Caller, CallerRef, RouteName, Subject, TargetRef, concerns

API, API_1 = Key("shop", "api"), Key("shop", "api-1")
ROUTE = RouteName("HTTPRoute", Key("shop", "api"))
WEB = Caller(Key("front", "web-1"), "web", (Key("front", "web"),))
SUBJECT = Subject("shop", API, API_1, ROUTE, WEB)


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (TargetRef.mesh(), "the mesh"),
        (TargetRef.of_namespace("shop"), "namespace shop"),
        (TargetRef.service(API), "service shop/api"),
        (TargetRef.workload(API_1), "workload shop/api-1"),
        (TargetRef.route(ROUTE), "HTTPRoute shop/api"),
        (TargetRef.inline(ROUTE), "HTTPRoute shop/api"),
    ],
)
def test_each_level_covers_its_own(target: TargetRef, shown: str) -> None:
    assert target.covers(SUBJECT)
    assert str(target) == shown
    assert target.covers(Subject("elsewhere")) == (target == TargetRef.mesh())


@pytest.mark.parametrize(
    "target",
    [
        TargetRef.of_namespace("front"),
        TargetRef.service(API_1),
        TargetRef.workload(API),
        TargetRef.route(RouteName("GRPCRoute", ROUTE.key)),
        TargetRef.service(Key("front", "api")),
    ],
)
def test_another_is_not_covered(target: TargetRef) -> None:
    assert not target.covers(SUBJECT)


@pytest.mark.parametrize(
    ("callers", "expected"),
    [
        ((), True),
        ((CallerRef("front"),), True),
        ((CallerRef("front", service="web"),), True),
        ((CallerRef("front", workload="web-1", service_account="web"),), True),
        ((CallerRef("shop", service="web"),), False),
        ((CallerRef("front", service="api"),), False),
        ((CallerRef("front", service="web", service_account="api"),), False),
        ((CallerRef("shop"), CallerRef("front", workload="web-1")), True),
    ],
)
def test_callers(callers: tuple[CallerRef, ...], expected: bool) -> None:
    assert concerns(callers, WEB) is expected


def test_an_unknown_caller_is_concerned_by_what_concerns_everyone() -> None:
    assert concerns((), None)
    assert not concerns((CallerRef("front"),), None)
