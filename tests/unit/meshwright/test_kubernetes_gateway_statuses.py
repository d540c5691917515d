"""Statuses of the Gateway API's objects, as the specification and its conformance suite have them, from objects to what is to stand in them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mesh.events import Declared, SourceSnapshot
from mesh.gateway_secrets import NOTHING_LOADED, Loaded
from mesh.names import Key
from mesh.namespaces import NAMESPACE, namespace
from mesh.service import Service, ServicePort, labels
from mesh.state import MeshState
from mesh.workload import Workload
from meshwright.kubernetes.features import SUPPORTED
from meshwright.kubernetes.gateway_statuses import (
    Facts,
    Made,
    class_statuses,
    gateway_statuses,
)
from meshwright.kubernetes.route_statuses import backend_tls_statuses, route_statuses
from policies.registry import KINDS
from store.kubernetes_held import Held
from store.kubernetes_kinds import CONTROLLER
from store.kubernetes_objects import kept

NOW, BEFORE = "2026-01-02T03:04:05Z", "2025-01-01T00:00:00Z"
EDGE = Key("infra", "edge")
OTHERS = {"controllerName": "example.com/other", "parentRef": {"name": "theirs"}, "conditions": []}
CLASS = f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: meshwright}}
spec: {{controllerName: {CONTROLLER}}}
"""
HTTP = "{name: http, port: 80, protocol: HTTP}"
ALL = "allowedRoutes: {namespaces: {from: All}}"
MADE = Made(addresses=("10.0.0.7",), ready=True)


def gateway(*listeners: str, more: str = "", name: str = "edge") -> str:
    listed = ", ".join(listeners or (HTTP,))
    return f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: infra}}
spec: {{gatewayClassName: meshwright, listeners: [{listed}]{more}}}
"""


def route(
    name: str = "r", parents: str = "{name: edge}", backend: str = "{name: api, port: 80}", ns: str = "infra"
) -> str:
    return f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {ns}}}
spec: {{parentRefs: [{parents}], rules: [{{backendRefs: [{backend}]}}]}}
"""


def listener_set(*listeners: str) -> str:
    return f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {{name: more, namespace: infra}}
spec: {{parentRef: {{name: edge}}, listeners: [{", ".join(listeners)}]}}
"""


def policy(references: str = "{group: '', kind: ConfigMap, name: ca}") -> str:
    return f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: tls, namespace: infra}}
spec:
  targetRefs: [{{group: '', kind: Service, name: api}}]
  validation: {{hostname: api.example.com, caCertificateRefs: [{references}]}}
"""


class World:
    """Objects, the mesh that they make, and the statuses that are wished for them."""

    def __init__(self, *objects: str, statuses: dict[str, Any] | None = None, generation: int = 3) -> None:
        changes = {}
        for text in (CLASS, *objects):
            found = yaml.safe_load(text)
            found["metadata"] |= {"generation": generation, "uid": found["metadata"]["name"]}
            found["status"] = (statuses or {}).get(found["kind"], {})
            made = kept(found)
            changes[made.name] = made
        self.held = Held().with_changes(changes, "cluster", KINDS)
        documents = self.held.documents.to_snapshot("cluster")
        api = Service(Key("infra", "api"), (ServicePort("", 80, assumed=True),))
        player = Workload(
            Key("infra", "edge-1"), (), "edge", "10.0.0.9", (), meshed=True, gateway=EDGE, fronted=True
        )
        backends = Declared(NAMESPACE, namespace("backends", labels({"team": "b"})))
        state = MeshState("mesh.local").apply(documents)[0]
        found_there = SourceSnapshot("kubernetes", (api,), (player,), (backends,))
        self.state = state.apply(found_there)[0]

    def change(self, text: str) -> None:
        """An object becomes another, which the mesh does not take in: what it had before stays in force."""
        found = yaml.safe_load(text)
        found["metadata"] |= {"generation": 3, "uid": found["metadata"]["name"]}
        made = kept(found)
        self.held = self.held.with_changes({made.name: made}, "cluster", KINDS)

    def statuses(
        self, loaded: Loaded = NOTHING_LOADED, made: Made = MADE, problem: str = ""
    ) -> dict[str, dict[str, Any]]:
        facts = Facts(loaded, lambda _: problem, made={EDGE: made}, invalid=self.held.refused())
        given = (self.state, self.held.objects, facts, NOW)
        every = (
            *class_statuses(self.held.objects, facts, NOW),
            *gateway_statuses(*given),
            *route_statuses(*given),
            *backend_tls_statuses(*given),
        )
        names = [found.name for found, _ in every]
        assert len(names) == len(set(names)), "a status is said twice"
        return {f"{found.kind} {found.key.name}": status for found, status in every}


def told(conditions: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    assert {each["observedGeneration"] for each in conditions} == {3}
    return {each["type"]: (each["status"], each["reason"]) for each in conditions}


def test_a_class_of_ours_is_accepted_and_says_what_is_supported() -> None:
    status = World().statuses()["GatewayClass meshwright"]
    assert told(status["conditions"]) == {
        "Accepted": ("True", "Accepted"),
        "SupportedVersion": ("True", "SupportedVersion"),
    }
    assert status["supportedFeatures"] == [{"name": each} for each in SUPPORTED]
    assert list(SUPPORTED) == sorted(SUPPORTED)


def test_a_gateway_that_is_served() -> None:
    status = World(gateway(), route()).statuses()["Gateway edge"]
    assert told(status["conditions"]) == {
        "Accepted": ("True", "Accepted"),
        "Programmed": ("True", "Programmed"),
        "ResolvedRefs": ("True", "ResolvedRefs"),
    }
    assert status["addresses"] == [{"type": "IPAddress", "value": "10.0.0.7"}]
    assert status["attachedListenerSets"] == 0
    (http,) = status["listeners"]
    assert (http["name"], http["attachedRoutes"]) == ("http", 1)
    assert [each["kind"] for each in http["supportedKinds"]] == ["HTTPRoute", "GRPCRoute"]
    assert told(http["conditions"]) == {
        "Accepted": ("True", "Accepted"),
        "Conflicted": ("False", "NoConflicts"),
        "Programmed": ("True", "Programmed"),
        "ResolvedRefs": ("True", "ResolvedRefs"),
    }


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (Made(), "Pending"),
        (Made(ready=True), "AddressNotAssigned"),
        (Made(("10.0.0.7",), "AddressNotUsable: no"), "AddressNotUsable"),
        (Made(("10.0.0.7",), "NoResources: forbidden", ready=True), "NoResources"),
    ],
)
def test_a_gateway_that_is_not_programmed_yet_says_why(made: Made, reason: str) -> None:
    found = told(World(gateway()).statuses(made=made)["Gateway edge"]["conditions"])
    assert (found["Accepted"], found["Programmed"]) == (("True", "Accepted"), ("False", reason))


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        (gateway("{name: bad, port: 1111, protocol: INVALID}"), ("False", "ListenersNotValid")),
        (gateway(HTTP, "{name: bad, port: 1111, protocol: INVALID}"), ("True", "ListenersNotValid")),
        (gateway(more=", addresses: [{type: test/fake, value: x}]"), ("False", "UnsupportedAddress")),
        (
            gateway(more=", infrastructure: {parametersRef: {group: x.io, kind: Odd, name: odd}}"),
            ("False", "InvalidParameters"),
        ),
    ],
)
def test_a_gateway_that_asks_for_what_cannot_be(text: str, accepted: tuple[str, str]) -> None:
    status = World(text).statuses()["Gateway edge"]
    found = told(status["conditions"])
    assert found["Accepted"] == accepted
    if accepted[0] == "False":
        assert found["Programmed"] == ("False", "Invalid")
    for listener in status["listeners"]:
        if listener["name"] == "bad":
            assert listener["supportedKinds"] == []
            assert told(listener["conditions"])["Accepted"] == ("False", "UnsupportedProtocol")


def test_of_listeners_that_cannot_be_told_apart_none_wins() -> None:
    both = (HTTP, "{name: other, port: 80, protocol: HTTP}")
    status = World(gateway(*both)).statuses()["Gateway edge"]
    assert told(status["conditions"])["Accepted"] == ("False", "ListenersNotValid")
    for listener in status["listeners"]:
        found = told(listener["conditions"])
        assert found["Conflicted"] == ("True", "HostnameConflict")
        assert found["Accepted"] == ("False", "HostnameConflict")


@pytest.mark.parametrize(
    ("kinds", "supported"), [("{kind: Odd}", []), ("{kind: Odd}, {kind: HTTPRoute}", ["HTTPRoute"])]
)
def test_kinds_of_routes_that_are_not_known(kinds: str, supported: list[str]) -> None:
    text = gateway(f"{{name: http, port: 80, protocol: HTTP, allowedRoutes: {{kinds: [{kinds}]}}}}")
    (http,) = World(text).statuses()["Gateway edge"]["listeners"]
    assert told(http["conditions"])["ResolvedRefs"] == ("False", "InvalidRouteKinds")
    assert [each["kind"] for each in http["supportedKinds"]] == supported


@pytest.mark.parametrize(
    "reference", ["{name: gone}", "{group: odd.io, kind: Secret, name: a}", "{kind: Odd, name: a}"]
)
def test_a_certificate_that_cannot_be_used(reference: str) -> None:
    text = gateway(f"{{name: https, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{reference}]}}}}")
    status = World(text).statuses(Loaded(frozenset({Key("infra", "a")})))["Gateway edge"]
    (https,) = status["listeners"]
    found = told(https["conditions"])
    assert found["ResolvedRefs"] == ("False", "InvalidCertificateRef")
    assert found["Programmed"][0] == "False"
    assert told(status["conditions"])["Programmed"] == ("True", "Programmed")


def test_a_set_of_listeners_waits_for_its_gateway() -> None:
    more = ", allowedListeners: {namespaces: {from: Same}}"
    world = World(
        gateway(more=more),
        listener_set("{name: own, port: 81, protocol: HTTP}", HTTP),
        route("r", "{kind: ListenerSet, name: more, sectionName: own}"),
    )
    statuses = world.statuses()
    assert statuses["Gateway edge"]["attachedListenerSets"] == 1
    status = statuses["ListenerSet more"]
    assert told(status["conditions"]) == {
        "Accepted": ("True", "ListenersNotValid"),
        "Programmed": ("True", "Programmed"),
    }
    own, taken = status["listeners"]
    assert (own["attachedRoutes"], told(own["conditions"])["Accepted"]) == (1, ("True", "Accepted"))
    assert told(taken["conditions"])["Conflicted"] == ("True", "HostnameConflict")
    waiting = world.statuses(made=Made())["ListenerSet more"]
    assert told(waiting["conditions"])["Programmed"] == ("False", "Pending")
    refused = World(gateway(), listener_set("{name: own, port: 81, protocol: HTTP}")).statuses()[
        "ListenerSet more"
    ]
    assert told(refused["conditions"])["Accepted"] == ("False", "NotAllowed")
    assert refused["listeners"] == []


def test_of_a_set_by_itself_the_listeners_that_fit_its_gateway_are_served() -> None:
    """ListenerSetProtocolConflict of the conformance suite: a set that speaks two protocols at a port keeps the one of its gateway."""
    both = (
        "{name: a, port: 80, protocol: HTTP, hostname: a.example.com}",
        "{name: bytes, port: 80, protocol: TCP}",
        "{name: b, port: 80, protocol: HTTP, hostname: b.example.com}",
    )
    allowing = ", allowedListeners: {namespaces: {from: All}}"
    status = World(gateway(more=allowing), listener_set(*both)).statuses()["ListenerSet more"]
    assert told(status["conditions"])["Accepted"] == ("True", "ListenersNotValid")
    accepted = {each["name"]: told(each["conditions"])["Accepted"] for each in status["listeners"]}
    assert accepted == {
        "a": ("True", "Accepted"),
        "bytes": ("False", "ProtocolConflict"),
        "b": ("True", "Accepted"),
    }


def test_a_route_is_told_of_at_each_parent_as_its_object_names_it() -> None:
    parents = "{name: edge, sectionName: http}, {name: edge, namespace: infra, sectionName: gone}, {name: theirs}, {group: '', kind: Service, name: api}"
    entries = World(gateway(), gateway(name="other"), route(parents=parents)).statuses()["HTTPRoute r"][
        "parents"
    ]
    # The Gateway that is nobody's whom we know is told of by whoever runs it.
    assert [each["parentRef"] for each in entries] == [
        {"name": "edge", "sectionName": "http"},
        {"name": "edge", "namespace": "infra", "sectionName": "gone"},
        {"group": "", "kind": "Service", "name": "api"},
    ]
    assert {each["controllerName"] for each in entries} == {CONTROLLER}
    assert told(entries[0]["conditions"]) == {
        "Accepted": ("True", "Accepted"),
        "ResolvedRefs": ("True", "ResolvedRefs"),
    }
    assert told(entries[1]["conditions"])["Accepted"] == ("False", "NoMatchingParent")


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("{group: odd.io, kind: Odd, name: api, port: 80}", "InvalidKind"),
        ("{name: gone, port: 80}", "BackendNotFound"),
        ("{name: api, namespace: far, port: 80}", "RefNotPermitted"),
    ],
)
def test_a_route_to_what_cannot_be_used(backend: str, reason: str) -> None:
    (entry,) = World(gateway(), route(backend=backend)).statuses()["HTTPRoute r"]["parents"]
    assert told(entry["conditions"]) == {
        "Accepted": ("True", "Accepted"),
        "ResolvedRefs": ("False", reason),
    }


def test_namespaces_are_chosen_by_their_labels() -> None:
    allowed = "allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: %s}}}}"
    listener = f"{{name: http, port: 80, protocol: HTTP, {allowed}}}"
    far = route(parents="{name: edge, namespace: infra}", backend="{name: x, port: 80}", ns="backends")
    for team, accepted in (("b", "True"), ("c", "False")):
        (entry,) = World(gateway(listener % team), far).statuses()["HTTPRoute r"]["parents"]
        assert told(entry["conditions"])["Accepted"][0] == accepted


def test_what_others_say_stays_and_what_has_not_changed_keeps_its_time() -> None:
    first = World(gateway(), route()).statuses()["HTTPRoute r"]["parents"]
    old = [{**each, "lastTransitionTime": BEFORE} for each in first[0]["conditions"]]
    old[1]["status"] = "False"
    parents = [OTHERS, {**first[0], "conditions": old}]
    world = World(gateway(), route(), statuses={"HTTPRoute": {"parents": parents}})
    theirs, ours = world.statuses()["HTTPRoute r"]["parents"]
    assert theirs == OTHERS
    assert [each["lastTransitionTime"] for each in ours["conditions"]] == [BEFORE, NOW]
    # A route that leaves us keeps what others say of it.
    left = World(route(), statuses={"HTTPRoute": {"parents": parents}})
    assert left.statuses()["HTTPRoute r"]["parents"] == [OTHERS]
    assert "HTTPRoute r" not in World(route()).statuses()


def test_a_policy_is_told_of_at_the_gateways_that_follow_it() -> None:
    ca = Loaded(authorities=frozenset({Key("infra", "ca")}))
    world = World(gateway(), route(), policy())
    (entry,) = world.statuses(ca)["BackendTLSPolicy tls"]["ancestors"]
    assert entry["ancestorRef"] == {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "namespace": "infra",
        "name": "edge",
    }
    assert told(entry["conditions"]) == {
        "Accepted": ("True", "Accepted"),
        "ResolvedRefs": ("True", "ResolvedRefs"),
    }
    (entry,) = world.statuses()["BackendTLSPolicy tls"]["ancestors"]
    assert told(entry["conditions"]) == {
        "Accepted": ("False", "NoValidCACertificate"),
        "ResolvedRefs": ("False", "InvalidCACertificateRef"),
    }
    odd = World(gateway(), route(), policy("{group: odd.io, kind: Odd, name: ca}"))
    (entry,) = odd.statuses(ca)["BackendTLSPolicy tls"]["ancestors"]
    assert told(entry["conditions"]) == {
        "Accepted": ("False", "NoValidCACertificate"),
        "ResolvedRefs": ("False", "InvalidKind"),
    }
    (entry,) = World(policy()).statuses(ca)["BackendTLSPolicy tls"]["ancestors"]
    assert entry["ancestorRef"]["kind"] == "Service"


def test_what_was_not_read_says_why() -> None:
    text = gateway(more=", addresses: [{value: 10.0.0.1}, {value: 10.0.0.1}]")
    world = World(text)
    (why,) = world.held.refused().values()
    status = world.statuses()["Gateway edge"]
    assert told(status["conditions"])["Accepted"] == ("False", "Invalid")
    assert status["conditions"][0]["message"] == why


def test_of_what_is_refused_while_something_older_is_in_force_only_the_refusal_is_told() -> None:
    world = World(gateway(), route(), policy())
    twice = ", addresses: [{value: 10.0.0.1}, {value: 10.0.0.1}]"
    world.change(gateway(more=twice))
    world.change(route(parents="{name: edge}, {name: edge}"))
    world.change(policy().replace("api.example.com", "10.0.0.1"))
    assert len(world.held.refused()) == 3
    statuses = world.statuses()
    assert told(statuses["Gateway edge"]["conditions"])["Accepted"] == ("False", "Invalid")
    for entry in statuses["HTTPRoute r"]["parents"]:
        assert told(entry["conditions"]) == {"Accepted": ("False", "UnsupportedValue")}
    (entry,) = statuses["BackendTLSPolicy tls"]["ancestors"]
    assert told(entry["conditions"]) == {"Accepted": ("False", "Invalid")}
    assert entry["ancestorRef"] == {"group": "", "kind": "Service", "name": "api", "namespace": "infra"}
