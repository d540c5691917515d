"""From changes to scopes: rendered once however many proxies see it, and no work for whom it does not concern."""

from __future__ import annotations

import pytest

from envoy.render import Renderer
from mesh.events import Event, SourceSnapshot, SourceUpdate
from mesh.names import Key
from mesh.service import Protocol
from mesh.state import MeshState
from mesh.workload import Use, WorkloadPort
from meshwright.publisher import Publisher, Update
from meshwright.scopes import Local, Outbound, Secrets, Undiscovered
from tests.support.builders import a_port, a_service, a_snapshot, a_state, a_workload
from tests.support.policy_documents import declared
from tests.support.publishing import told
from xds.types import CLUSTER, ENDPOINT, ROUTE, SCOPED_ROUTE

API, STORE, WEB = Key("default", "api"), Key("default", "store"), Key("default", "web")


class Mesh:
    """A publisher with the state that it was told."""

    def __init__(self, *values: object) -> None:
        self.state: MeshState = a_state()
        self.renderer = Renderer()
        self.publisher = Publisher(self.state, self.renderer)
        self.tell(a_snapshot(*values))  # type: ignore[arg-type]

    def tell(self, event: Event) -> Update:
        self.state, changes = self.state.apply(event)
        return told(self.publisher, self.state, changes)

    def attach(self, name: str, *, proved: bool = True) -> tuple[tuple[object, ...], Update]:
        return self.publisher.attach(Key("default", name), proved=proved, proxyless=False)

    def rendered(self) -> int:
        return self.renderer.renderings.total()


def moved(name: str, port: int) -> SourceUpdate:
    return SourceUpdate("test", workloads=(a_workload(name, app=port),))


def put(update: Update) -> set[tuple[str, str]]:
    return {(each.type_url, each.name) for change in update.changes for each in change.put}


@pytest.mark.parametrize("proxies", [10, 1000])
def test_one_event_renders_as_often_for_1000_proxies_as_for_10(proxies: int) -> None:
    webs = [a_workload(f"web-{number}", meshed=True, sidecar=15006) for number in range(proxies)]
    mesh = Mesh(a_service("api"), a_service("web"), a_workload("api-1"), *webs)
    for web in webs:
        mesh.attach(web.key.name)
    first = mesh.rendered()
    assert first == mesh_rendered_for(2)
    update = mesh.tell(moved("api-1", 9002))
    assert mesh.rendered() - first == 1
    assert len(update.changes) == 1
    assert put(update) == {(ENDPOINT, "default/api:80")}
    assert update.rescoped == {}


def mesh_rendered_for(services: int) -> int:
    """Cluster with routes, scopes and endpoints of each service, the two kinds of listeners, no peers, and a runtime: once each."""
    return services * 3 + 4


def test_equal_proxies_share_their_scopes() -> None:
    mesh = Mesh(
        a_service("api"),
        a_service("web"),
        *(a_workload(f"web-{n}", meshed=True, sidecar=15006) for n in (1, 2)),
    )
    (first, _), (second, update) = mesh.attach("web-1"), mesh.attach("web-2")
    assert first[:2] == second[:2]
    assert isinstance(first[0], Outbound)
    assert isinstance(first[1], Local)
    assert (first[2], second[2]) == (Secrets(Key("default", "web-1")), Secrets(Key("default", "web-2")))
    assert update.changes == []


def test_a_change_touches_only_the_scopes_that_admit_it() -> None:
    mesh = Mesh(
        a_service("api"), a_service("store"), a_service("web"),
        a_workload("api-1"), a_workload("store-1"),
        a_workload("web-1", uses=["api"]), a_workload("web-2", uses=["store"]),
    )  # fmt: skip
    (web_1, _), _ = mesh.attach("web-1"), mesh.attach("web-2")
    assert [change.scope for change in mesh.tell(moved("api-1", 9002)).changes] == [web_1[0]]


def test_a_new_service_brings_cluster_endpoints_scopes_and_routes_together() -> None:
    mesh = Mesh(a_service("web"), a_workload("web-1"))
    mesh.attach("web-1")
    update = mesh.tell(SourceUpdate("test", services=(a_service("api"),), workloads=(a_workload("api-1"),)))
    assert len(update.changes) == 1
    assert {kind for kind, _ in put(update)} == {CLUSTER, ENDPOINT, SCOPED_ROUTE, ROUTE}
    (route,) = [
        each for each in update.changes[0].put if (each.type_url, each.name) == (ROUTE, "default/api")
    ]
    assert route.needs == ((CLUSTER, "default/api:80"), (ENDPOINT, "default/api:80"))


def test_a_removed_service_is_removed_whole() -> None:
    mesh = Mesh(a_service("api"), a_service("web"), a_workload("api-1"), a_workload("web-1"))
    _, opened = mesh.attach("web-1")
    of_api = {name for name in put(opened) if "api" in name[1]}
    update = mesh.tell(
        SourceUpdate("test", removed_services=(API,), removed_workloads=(Key("default", "api-1"),))
    )
    assert {name for change in update.changes for name in change.removed} == of_api


def test_an_undiscovered_workload_waits_and_is_moved_when_it_appears() -> None:
    mesh = Mesh(a_service("api"))
    scopes, update = mesh.attach("api-1")
    assert scopes == (Undiscovered(Key("default", "api-1")),)
    assert update.changes == []
    found = mesh.tell(SourceUpdate("test", workloads=(a_workload("api-1", meshed=True, sidecar=15006),)))
    assert isinstance(found.rescoped["default/api-1"][0], Outbound)
    assert found.rescoped["default/api-1"][2] == Secrets(Key("default", "api-1"))


def test_a_deregistered_workload_keeps_what_it_has_while_it_drains() -> None:
    mesh = Mesh(a_service("api"), a_workload("api-1", meshed=True, sidecar=15006))
    mesh.attach("api-1")
    assert mesh.tell(SourceUpdate("test", removed_workloads=(Key("default", "api-1"),))).rescoped == {}
    assert mesh.attach("api-2")[0] == (Undiscovered(Key("default", "api-2")),)


def test_who_proved_nothing_gets_no_keys() -> None:
    mesh = Mesh(a_service("web"), a_workload("web-1"))
    scopes, _ = mesh.attach("web-1", proved=False)
    assert not any(isinstance(scope, Secrets) for scope in scopes)


def test_what_a_workload_uses_decides_its_scope() -> None:
    mesh = Mesh(a_service("api"), a_service("web"), a_workload("web-1", uses=["api"]))
    mesh.attach("web-1")
    update = mesh.tell(SourceUpdate("test", workloads=(a_workload("web-1", uses=[]),)))
    (scopes,) = update.rescoped.values()
    assert isinstance(scopes[0], Outbound)
    assert scopes[0].view.services == ()


def test_a_changed_service_changes_the_listeners_of_those_who_serve_it() -> None:
    api = a_workload("api-1", meshed=True, sidecar=15006)
    mesh = Mesh(a_service("api"), api)
    mesh.attach("api-1")
    update = mesh.tell(SourceUpdate("test", services=(a_service("api", a_port(port=81)),)))
    assert list(update.rescoped) == ["default/api-1"]


def test_a_local_port_waits_for_its_service() -> None:
    mesh = Mesh(a_service("web"), a_workload("web-1", uses=[Use(STORE, local_port=6379)]))
    scopes, _ = mesh.attach("web-1")
    assert isinstance(scopes[1], Local)
    assert scopes[1].listeners.local == ()
    update = mesh.tell(
        SourceUpdate("test", services=(a_service("store", a_port("redis", 6379, Protocol.TCP)),))
    )
    (now,) = update.rescoped.values()
    assert isinstance(now[1], Local)
    assert [each.local_port for each in now[1].listeners.local] == [6379]


def test_what_envoy_would_refuse_is_not_sent_and_is_told() -> None:
    good = a_workload("web-1", meshed=True, sidecar=15006)
    mesh = Mesh(a_service("web"), good)
    scopes, _ = mesh.attach("web-1")
    # No document says so: they are checked before. A registry may.
    wrong = a_workload("web-1", meshed=True, ports=[WorkloadPort("http", 9001, 70000)])
    update = mesh.tell(SourceUpdate("test", workloads=(wrong,)))
    assert update.rescoped == {}
    assert "workload default/web-1" in mesh.publisher.problems
    mesh.tell(SourceUpdate("test", workloads=(a_workload("web-1", meshed=True, sidecar=15007),)))
    assert mesh.publisher.problems == {}
    del scopes


def test_provenance_follows_a_document_that_moved() -> None:
    mesh = Mesh(a_service("api", origin=("a.yaml#1",)), a_service("web"), a_workload("web-1"))
    mesh.attach("web-1")
    mesh.tell(SourceUpdate("test", services=(a_service("api", a_port(port=81), origin=("b.yaml#1",)),)))
    update = mesh.tell(SourceUpdate("test", services=(a_service("api", origin=("c.yaml#1",)),)))
    (cluster,) = [each for change in update.changes for each in change.put if each.type_url == CLUSTER]
    assert cluster.origin == ("c.yaml#1",)


def test_scopes_that_nobody_uses_are_forgotten_after_a_while() -> None:
    mesh = Mesh(a_service("web"), a_workload("web-1"))
    scopes, _ = mesh.attach("web-1")
    mesh.publisher.detach("default/web-1", now=100.0)
    assert mesh.publisher.sweep(now=130.0) == []
    assert set(mesh.publisher.sweep(now=161.0)) == set(scopes)
    assert mesh.publisher.scopes_in_use() == 0
    assert mesh.tell(moved("web-1", 9)).changes == []


def test_a_proxy_that_comes_back_in_time_finds_its_scopes() -> None:
    mesh = Mesh(a_service("web"), a_workload("web-1"))
    mesh.attach("web-1")
    mesh.publisher.detach("default/web-1", now=100.0)
    _, update = mesh.attach("web-1")
    assert update.changes == []
    assert mesh.publisher.sweep(now=1000.0) == []


def test_who_says_a_name_in_plaintext_has_nothing_to_do_with_who_proved_it() -> None:
    """Whatever their order: the one is never given the keys of the other, nor takes them away."""
    mesh = Mesh(a_service("web"))
    waiting, _ = mesh.attach("web-1", proved=False)
    mesh.attach("web-1", proved=True)
    assert waiting == (Undiscovered(Key("default", "web-1")),)
    found = mesh.tell(SourceUpdate("test", workloads=(a_workload("web-1", meshed=True, sidecar=15006),)))
    secrets = Secrets(Key("default", "web-1"))
    assert secrets in found.rescoped["default/web-1"]
    assert secrets not in found.rescoped["default/web-1 (plaintext)"]
    mesh.publisher.detach("default/web-1 (plaintext)", now=1.0)
    moved_on = mesh.tell(
        SourceUpdate("test", workloads=(a_workload("web-1", uses=[], meshed=True, sidecar=15006),))
    )
    assert set(moved_on.rescoped) == {"default/web-1"}
    assert secrets in moved_on.rescoped["default/web-1"]


def test_what_was_opened_beside_refused_listeners_is_opened_when_they_are_mended() -> None:
    """One event changes what a workload uses and makes its listeners refusable; the next mends the listeners."""
    mesh = Mesh(a_service("api"), a_service("web"), a_workload("web-1", meshed=True, sidecar=15006, uses=[]))
    mesh.attach("web-1")
    wrong = a_workload("web-1", meshed=True, uses=["api"], ports=[WorkloadPort("http", 9001, 70000)])
    assert mesh.tell(SourceUpdate("test", workloads=(wrong,))).rescoped == {}
    mended = mesh.tell(
        SourceUpdate("test", workloads=(a_workload("web-1", meshed=True, sidecar=15006, uses=["api"]),))
    )
    (scopes,) = mended.rescoped.values()
    assert scopes[0] in {change.scope for change in mended.changes}
    assert (CLUSTER, "default/api:80") in put(mended)


def test_a_service_that_cannot_be_rendered_harms_nobody_else() -> None:
    mesh = Mesh(
        a_service("api"), a_service("store"), a_service("web"), a_workload("api-1"), a_workload("web-1")
    )
    mesh.attach("web-1")
    # No document says so, and Consul refuses it too: a fault of ours, or of a source to come.
    impossible = a_workload("api-1", weight=2**33)
    update = mesh.tell(SourceUpdate("test", workloads=(impossible, a_workload("store-1", app=9003))))
    assert put(update) == {(ENDPOINT, "default/store:80")}
    assert "it cannot be rendered" in mesh.publisher.problems["endpoints of service default/api"]
    mesh.tell(moved("api-1", 9002))
    assert mesh.publisher.problems == {}


def test_services_that_nobody_waits_for_any_more_are_not_remembered() -> None:
    mesh = Mesh(a_service("web"), a_workload("web-1"))
    mesh.attach("web-1")
    for number in range(20):
        mesh.tell(SourceUpdate("test", workloads=(a_workload("web-1", uses=[f"x{number}"]),)))
    assert set(mesh.publisher.watchers) == {Key("default", "web"), Key("default", "x19")}


def test_listeners_that_were_refused_are_not_remembered() -> None:
    mesh = Mesh(a_service("web"), a_workload("web-1", meshed=True, sidecar=15006))
    mesh.attach("web-1")
    known = set(mesh.publisher.scopes)
    wrong = a_workload("web-1", meshed=True, ports=[WorkloadPort("http", 9001, 70000)])
    mesh.tell(SourceUpdate("test", workloads=(wrong,)))
    assert set(mesh.publisher.scopes) == known


def test_a_route_that_comes_makes_a_policy_matter_to_who_reaches_its_service() -> None:
    """web uses api, whose route leads to store; a policy for web targets a route of store that comes later."""

    def route(name: str, parent: str, backend: str) -> str:
        return (
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
            f"metadata: {{name: {name}}}\n"
            f'spec: {{parentRefs: [{{group: "", kind: Service, name: {parent}}}], '
            f"rules: [{{backendRefs: [{{name: {backend}, port: 80}}]}}]}}\n"
        )

    policy = (
        "---\napiVersion: meshwright.dev/v1alpha1\nkind: TimeoutPolicy\nmetadata: {name: p}\n"
        "spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: later}], "
        "from: [{service: web}], request: 2s}\n"
    )
    services = tuple(a_service(name) for name in ("api", "store", "web"))
    workloads = (a_workload("web-1", uses=["api"]),)
    mesh = Mesh(*services, *workloads)

    def facets(documents: str) -> frozenset[object]:
        update = mesh.tell(SourceSnapshot("test", services, workloads, declared(documents)))
        (outbound,) = (each for each in update.rescoped["default/web-1"] if isinstance(each, Outbound))
        return frozenset(outbound.view.facets)

    mesh.attach("web-1")
    before = route("api", "api", "store") + policy
    assert facets(before) == frozenset()
    assert facets(before + route("later", "store", "store")) == {("TimeoutPolicy", Key("default", "p"))}
