"""What policies come to is made once for equal content, however many workloads it is for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envoy.seams import Parts
from mesh.events import SourceSnapshot, SourceUpdate
from mesh.identity import Identity
from mesh.names import Key
from mesh.state import MeshState
from mesh.views import inbound_view
from mesh.workload import Health
from policies.kind import PolicyKind, Where
from policies.registry import POLICIES
from policies.weave import Weaver
from tests.support.builders import TRUST_DOMAIN, a_proxy, a_service
from tests.support.policy_documents import declared

REPLICAS = 20


def counting(kinds: tuple[PolicyKind, ...], made: list[Where]) -> tuple[PolicyKind, ...]:
    def counted(kind: PolicyKind) -> PolicyKind:
        def effect(fields: object, where: Where) -> Parts:
            made.append(where)
            return kind.effect(fields, where)

        return replace(kind, effect=effect)

    return tuple(counted(each) for each in kinds)


@pytest.mark.parametrize(
    ("kind", "spec", "own"),
    [
        ("AccessLog", "format: json", False),
        ("AccessLog", "otlp: 'collector:4317'", True),
        ("Tracing", "otlp: 'collector:4317'", True),
        ("Tracing", "zipkin: 'collector:9411'", False),
        ("RateLimit", "local: {requests: 5}", False),
        ("ConnectionLimit", "connections: 5", False),
    ],
)
def test_replicas_share_what_does_not_name_them(kind: str, spec: str, own: bool) -> None:
    text = (
        f"apiVersion: meshwright.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: p}}\n"
        f"spec: {{targetRefs: [{{kind: Mesh}}], {spec}}}\n"
    )
    replicas = tuple(a_proxy(f"api-{number}") for number in range(REPLICAS))
    state, _ = MeshState(TRUST_DOMAIN).apply(SourceSnapshot("test", (a_service(),), replicas, declared(text)))
    made: list[Where] = []
    weaver = Weaver(counting(POLICIES, made))
    seams = [weaver.listeners(state, each, inbound_view(state, each)) for each in replicas]
    assert weaver.problems == {}
    assert len(set(seams)) == (REPLICAS if own else 1)
    assert len(made) <= 2 * (REPLICAS if own else 1)


@pytest.mark.parametrize("replicas", [1, REPLICAS])
def test_whom_policies_mention_is_asked_once_however_many_enforce_them(
    replicas: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "---\n".join(
        f"apiVersion: meshwright.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {{name: p{number}}}\n"
        "spec: {targetRefs: [{kind: Mesh}], action: allow, rules: [{from: [{service: web}, {service: api}]}]}\n"
        for number in range(5)
    )
    services, proxies = (a_service(), a_service("web")), tuple(a_proxy(f"api-{n}") for n in range(replicas))
    state, _ = MeshState(TRUST_DOMAIN).apply(SourceSnapshot("test", services, proxies, declared(text)))
    asked: list[Key] = []
    identities = MeshState.caller_identities

    def counted(of: MeshState, service: Key) -> tuple[Identity, ...]:
        asked.append(service)
        return identities(of, service)

    monkeypatch.setattr(MeshState, "caller_identities", counted)
    weaver = Weaver()
    first = [weaver.listeners(state, each, inbound_view(state, each)) for each in proxies]
    assert len(asked) == 5 * 2
    busy = replace(proxies[0], health=Health.CRITICAL)
    state, _ = state.apply(SourceUpdate("test", workloads=(busy,)))
    del asked[:]
    assert weaver.listeners(state, busy, inbound_view(state, busy)) == first[0]
    assert not asked, "whom services are has not changed"
    other = replace(proxies[0], service_account="other")
    state, _ = state.apply(SourceUpdate("test", workloads=(other,)))
    assert weaver.listeners(state, other, inbound_view(state, other)) != first[0]
