"""Services that proxies ask for a policy: they reach them whatever their workloads use."""

from __future__ import annotations

import pytest

from documents.parsing import parse
from envoy.seams import Called
from mesh.events import SourceSnapshot
from mesh.names import Key
from mesh.state import MeshState
from mesh.views import OutboundScope
from meshwright.scopes import calling, clusters_of
from policies.calling import called_for_routes
from policies.registry import KINDS

AUTHORIZER = Called(Key("shop", "authorizer"), 80)
WORLD = """\
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {name: api}
spec: {ports: [{name: http, port: 80, protocol: http}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules: [{backendRefs: [{name: api, port: 80}]}]
---
apiVersion: meshwright.dev/v1alpha1
kind: ExternalAuthorization
metadata: {name: whole, namespace: shop}
spec: {targetRefs: [{kind: Mesh}], protocol: http, service: {name: authorizer, port: 80}}
"""
OF_ROUTE = """\
---
apiVersion: meshwright.dev/v1alpha1
kind: ExternalAuthorization
metadata: {name: api}
spec: {targetRefs: [{kind: HTTPRoute, name: api}], SAID}
"""


def state(text: str) -> MeshState:
    parsed = parse("world.yaml", text.encode(), KINDS)
    assert not parsed.errors, parsed.errors
    snapshot = SourceSnapshot(
        "file", tuple(parsed.services()), tuple(parsed.workloads()), tuple(parsed.declared())
    )
    return MeshState("mesh.test").apply(snapshot)[0]


def scope(*services: str) -> OutboundScope:
    return OutboundScope("default", tuple(Key("default", each) for each in services))


def test_a_policy_of_a_route_makes_its_callers_ask() -> None:
    assert not called_for_routes(state(WORLD), scope("api")), "the sidecar of api asks, not its callers"
    with_one = state(WORLD + OF_ROUTE.replace("SAID", "timeout: 2s"))
    assert called_for_routes(with_one, scope("api")) == {AUTHORIZER}
    assert not called_for_routes(with_one, scope("store"))
    assert not called_for_routes(with_one, OutboundScope("default", None)), "it reaches everything"


def test_one_that_is_switched_off_does_not() -> None:
    off = state(WORLD + OF_ROUTE.replace("SAID", "enabled: false"))
    assert not called_for_routes(off, scope("api"))


@pytest.mark.parametrize("services", [None, (AUTHORIZER.service,)])
def test_who_reaches_it_anyway_shares_the_scope_of_others(services: tuple[Key, ...] | None) -> None:
    before = OutboundScope("default", services)
    assert calling(before, [AUTHORIZER]) is before


def test_the_scope_of_others_is_widened() -> None:
    widened = calling(scope("store", "api"), [AUTHORIZER])
    assert widened.services == (Key("default", "api"), Key("default", "store"), AUTHORIZER.service)
    assert clusters_of([AUTHORIZER]) == ("shop/authorizer:80",)
