"""What a policy that goes by places changes: for whom, and for whom not."""

from __future__ import annotations

from dataclasses import replace

from envoy import names
from envoy.endpoints import load_assignment, peers
from mesh.events import SourceSnapshot, SourceUpdate
from mesh.state import MeshState
from mesh.views import EndpointsView, OutboundScope, endpoints_views, outbound_scope
from mesh.workload import Locality
from policies.weave import Weaver
from tests.support.builders import TRUST_DOMAIN, a_key, a_service, a_workload
from tests.support.policy_documents import declared

API, WEB = a_key("api"), a_key("web-1")
HERE, THERE, FAR = Locality("eu", "a"), Locality("eu", "b"), Locality("us", "c")


def policy(spec: str, name: str = "p", extra: str = "") -> str:
    return (
        f"apiVersion: meshwright.dev/v1alpha1\nkind: LoadBalancing\nmetadata: {{name: {name}}}\n"
        f"spec: {{targetRefs: [{{kind: Service, name: api}}], {extra} {spec}}}\n"
    )


def mesh(*policies: str) -> MeshState:
    workloads = (
        a_workload("web-1", services=(), locality=HERE),
        *(a_workload(f"api-{n}", locality=place) for n, place in enumerate((HERE, THERE, FAR), start=1)),
    )
    documents = declared("---\n".join(policies)) if policies else ()
    return MeshState(TRUST_DOMAIN).apply(SourceSnapshot("t", (a_service(),), workloads, documents))[0]


def seen(state: MeshState, workload: str = "web-1") -> tuple[OutboundScope, EndpointsView]:
    scope = outbound_scope(state, state.workloads[a_key(workload)])
    spread = Weaver().spread(state, scope, API)
    return scope, next(endpoints_views(state, API, spread, scope.locality))


def test_without_such_a_policy_callers_share_one_scope_wherever_they_are() -> None:
    scope, view = seen(mesh(policy("algorithm: random")))
    assert scope.locality == Locality()
    assert view.placements == ()
    assert all(not each.priority for each in load_assignment(view).endpoints)


def test_endpoints_have_priorities_as_the_caller_sees_them() -> None:
    state = mesh(policy("locality: {overprovisioningPercent: 200}"))
    scope, view = seen(state)
    assert scope.locality == HERE
    made = load_assignment(view)
    assert [(each.locality.zone, each.priority) for each in made.endpoints] == [("a", 0), ("b", 1), ("c", 2)]
    assert made.policy.overprovisioning_factor.value == 200
    _, view = seen(state, "api-3")
    assert [(each.locality.zone, each.priority) for each in load_assignment(view).endpoints] == [
        ("a", 1),
        ("b", 1),
        ("c", 0),
    ]


def test_a_policy_for_other_callers_spreads_nothing_here() -> None:
    _, view = seen(mesh(policy("locality: {mode: failover}", extra="from: [{service: api}],")))
    assert view.placements == ()


def test_nearer_fields_replace_farther_ones() -> None:
    far = policy("locality: {mode: failover, overprovisioningPercent: 300}", "far").replace(
        "{kind: Service, name: api}", "{kind: Mesh}"
    )
    state = mesh(far, policy("locality: {mode: strict}"))
    _, view = seen(state)
    assert {each.locality for each in view.endpoints} == {HERE}
    assert view.overprovisioning == 300


def test_callers_move_when_such_a_policy_comes_and_goes() -> None:
    state = mesh()
    state, changes = state.apply(SourceUpdate("t", declared=declared(policy("locality: {mode: failover}"))))
    assert changes.callers
    moved = replace(state.workloads[WEB], locality=FAR)
    state, changes = state.apply(SourceUpdate("t", workloads=(moved,)))
    assert WEB in changes.workloads
    assert outbound_scope(state, state.workloads[WEB]).locality == FAR
    name = ("LoadBalancing", a_key("p"))
    state, changes = state.apply(SourceUpdate("t", removed_declared=(name,)))
    assert changes.callers
    assert outbound_scope(state, state.workloads[WEB]).locality == Locality()


def test_peers_go_by_the_name_that_bootstraps_have() -> None:
    _, view = seen(mesh())
    assert peers(None).cluster_name == peers(view).cluster_name == names.LOCAL_CLUSTER
    assert [each.locality.zone for each in peers(view).endpoints] == ["a", "b", "c"]
    assert not peers(None).endpoints
