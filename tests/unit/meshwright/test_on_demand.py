"""Which clusters a proxy is given unasked, where they come on demand."""

from __future__ import annotations

import pytest

from envoy.render import Renderer
from mesh.events import Event, SourceUpdate
from mesh.state import MeshState
from meshwright.publisher import Publisher, Update, client_id
from meshwright.scopes import Local, Outbound
from meshwright.sizes import CLUSTER_MEMORY
from tests.support.builders import a_key, a_port, a_proxy, a_service, a_snapshot, a_state, a_workload
from tests.support.policy_documents import declared
from tests.support.publishing import told
from xds.on_request import OnRequest
from xds.types import CLUSTER

DB = a_service("db", a_port("sql", 5432, "tcp"))
SERVICES = (a_service("api"), a_service("copy"), a_service("other"), DB)

MIRROR = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules:
  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: copy, port: 80}}}]
    backendRefs: [{name: api, port: 80}]
"""
ELSEWHERE = """
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: db}
spec:
  parentRefs: [{group: "", kind: Service, name: db}]
  rules:
  - backendRefs: [{name: other, port: 80}]
"""


class World:
    def __init__(self, *, on_demand: bool | None = True, usual: bool = False) -> None:
        self.state: MeshState = a_state()
        self.publisher = Publisher(self.state, Renderer(), on_demand=usual)
        self.held: dict[str, bool] = {}
        self.tell(a_snapshot(*SERVICES, a_proxy("web", on_demand=on_demand)))

    def tell(self, event: Event) -> Update:
        self.state, changes = self.state.apply(event)
        return self._note(told(self.publisher, self.state, changes))

    def attach(self) -> tuple[object, ...]:
        scopes, update = self.publisher.attach(a_key("web"), proved=True, proxyless=False)
        self._note(update)
        return scopes

    def _note(self, update: Update) -> Update:
        for change in update.changes:
            for each in change.put:
                if each.type_url == CLUSTER and isinstance(change.scope, Outbound):
                    self.held[each.name] = each.on_request
        return update

    def on_request(self) -> set[str]:
        return {name for name, aside in self.held.items() if aside}


def with_document(text: str) -> SourceUpdate:
    return SourceUpdate("documents", declared=tuple(declared(text)))


def test_clusters_of_http_come_on_request_and_those_of_tcp_at_once() -> None:
    world = World()
    first, local, *_ = world.attach()
    assert isinstance(first, OnRequest)
    assert isinstance(first.scope, Outbound)
    assert isinstance(local, Local)
    assert [each.name for each in local.seams.outbound.http_filters] == ["envoy.filters.http.on_demand"]
    assert world.on_request() == {"default/api:80", "default/copy:80", "default/other:80"}
    assert world.held["default/db:5432"] is False


@pytest.mark.parametrize(
    ("said", "usual", "wanted"), [(None, True, True), (None, False, False), (False, True, False)]
)
def test_what_a_workload_says_goes_before_what_is_usual(said: bool | None, usual: bool, wanted: bool) -> None:
    world = World(on_demand=said, usual=usual)
    assert isinstance(world.attach()[0], OnRequest) is wanted


@pytest.mark.parametrize(("text", "needed"), [(MIRROR, "default/copy:80"), (ELSEWHERE, "default/other:80")])
def test_what_envoy_does_not_look_for_comes_at_once_while_a_route_says_so(text: str, needed: str) -> None:
    world = World()
    world.attach()
    before = world.on_request()
    update = world.tell(with_document(text))
    assert world.on_request() == before - {needed}
    assert not update.rescoped, "no client is visited for it"
    (document,) = declared(text)
    world.tell(SourceUpdate("documents", removed_declared=(document.name,)))
    assert world.on_request() == before


def test_a_stream_that_had_everything_keeps_it_until_it_comes_anew() -> None:
    world = World(on_demand=False)
    assert isinstance(world.attach()[0], Outbound)
    update = world.tell(SourceUpdate("test", workloads=(a_proxy("web", on_demand=True),)))
    first, local, *_ = update.rescoped[client_id(a_key("web"))]
    assert isinstance(first, Outbound)
    assert isinstance(local, Local)
    assert local.seams.outbound.http_filters, "whoever comes from now on is looked for on demand"
    world.publisher.detach(client_id(a_key("web")), 0.0)
    assert isinstance(world.attach()[0], OnRequest)
    update = world.tell(SourceUpdate("test", workloads=(a_proxy("web", on_demand=False),)))
    assert isinstance(update.rescoped[client_id(a_key("web"))][0], Outbound)


def test_what_is_spared_is_told() -> None:
    world = World()
    world.attach()
    client = client_id(a_key("web"))
    few = world.publisher.sizes()[client]
    assert (few.clusters, few.of_clusters, few.memory) == (1, 4, CLUSTER_MEMORY)
    more = world.publisher.sizes(lambda _: ("default/api:80", "default/nobody:80"))[client]
    assert (more.clusters, more.memory) == (2, 2 * CLUSTER_MEMORY)
    assert few.size < more.size < more.of_size


def test_an_endpoint_change_renders_one_and_visits_no_client() -> None:
    world = World()
    world.attach()
    update = world.tell(SourceUpdate("test", workloads=(a_workload("api-1"),)))
    assert not update.rescoped
    assert len(update.changes) == 1
