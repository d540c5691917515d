"""What is known of a cluster's objects: one that is wrong, those of other classes, and what need not be read again."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from immutables import Map

from mesh.names import Key
from policies.registry import KINDS
from store.kubernetes_held import Held
from store.kubernetes_kinds import CONTROLLER, own_kinds, plural, watched
from store.kubernetes_objects import ClusterObject, kept
from store.stored import Name

ROUTE = "parentRefs: [{group: '', kind: Service, name: api}]"
GATEWAY = "gatewayClassName: edge\nlisteners: [{name: http, port: 80, protocol: HTTP}]"


def an_object(kind: str, name: str, spec: str, *, generation: int = 1, **more: Any) -> ClusterObject:
    metadata = {"name": name, "generation": generation, "resourceVersion": "1", "uid": name}
    if kind != "GatewayClass":
        metadata["namespace"] = "default"
    read = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": metadata}
    return kept(read | {"spec": yaml.safe_load(spec)} | more)


def held(*objects: ClusterObject, before: Held | None = None, gone: tuple[Name, ...] = ()) -> Held:
    changes = {each.name: each for each in objects} | dict.fromkeys(gone)
    return (before or Held()).with_changes(changes, "cluster", KINDS)


def names(found: Held) -> list[str]:
    return [f"{each.kind} {each.key.name}" for each in found.documents.documents]


def test_objects_come_and_go() -> None:
    found = held(an_object("HTTPRoute", "a", ROUTE), an_object("HTTPRoute", "b", ROUTE))
    assert names(found) == ["HTTPRoute a", "HTTPRoute b"]
    found = held(before=found, gone=(("HTTPRoute", Key("default", "a")),))
    assert names(found) == ["HTTPRoute b"]
    assert list(found.objects) == [("HTTPRoute", Key("default", "b"))]


def test_a_new_status_is_known_and_nothing_is_read_again() -> None:
    before = held(an_object("HTTPRoute", "a", ROUTE))
    after = held(an_object("HTTPRoute", "a", ROUTE, status={"parents": []}), before=before)
    assert after.documents is before.documents
    assert after.objects["HTTPRoute", Key("default", "a")].status == {"parents": []}


def test_one_that_is_wrong_keeps_what_it_held_and_says_why() -> None:
    right = held(an_object("HTTPRoute", "a", ROUTE), an_object("HTTPRoute", "b", ROUTE))
    wrong = an_object("HTTPRoute", "a", f"{ROUTE}\nhostnames: [A_b]", generation=2)
    found = held(wrong, before=right)
    assert names(found) == ["HTTPRoute a", "HTTPRoute b"]
    name = ("HTTPRoute", Key("default", "a"))
    assert found.refusal(name).startswith("spec.hostnames[0]: ")
    assert found.refused() == {name: found.refusal(name)}
    assert right.refused() == {}
    assert held(an_object("HTTPRoute", "a", ROUTE, generation=3), before=found).refused() == {}


def a_policy(name: str, namespace: str, target: str, generation: int = 1) -> ClusterObject:
    metadata = {"name": name, "namespace": namespace, "generation": generation, "uid": f"{namespace}-{name}"}
    read: dict[str, Any] = {
        "apiVersion": "meshwright.dev/v1alpha1",
        "kind": "RetryPolicy",
        "metadata": metadata,
    }
    return kept(read | {"spec": {"targetRefs": [yaml.safe_load(target)], "attempts": 3}})


def test_what_reaches_beyond_its_namespace_is_in_force_in_the_root_namespace_alone() -> None:
    mesh = a_policy("mesh", "evil", "{kind: Mesh}")
    found = held(mesh, a_policy("own", "evil", "{kind: Service, name: api}"))
    assert names(found) == ["RetryPolicy own"]
    assert not found.is_permitted(mesh.name)
    assert list(found.refused()) == [mesh.name]
    other = Held(root_namespace="evil")
    assert names(held(mesh, before=other)) == ["RetryPolicy mesh"]
    rooted = a_policy("rooted", "meshwright-system", "{kind: Service, name: api, namespace: shop}")
    assert names(held(rooted, before=found)) == ["RetryPolicy own", "RetryPolicy rooted"]
    assert names(held(rooted, before=other)) == []


def test_a_document_that_begins_to_reach_further_keeps_what_it_held() -> None:
    before = held(a_policy("a", "shop", "{kind: Service, name: api}"))
    further = a_policy("a", "shop", "{kind: Namespace, name: blog}", generation=2)
    found = held(further, before=before)
    (document,) = found.documents.documents
    assert document.origin.startswith("cluster#1 ")
    assert not found.is_permitted(further.name)
    back = held(a_policy("a", "shop", "{kind: Namespace}", generation=3), before=found)
    assert back.is_permitted(further.name)
    assert [each.origin for each in back.documents.documents] == ["cluster#3 RetryPolicy shop/a"]


def test_gateways_are_ours_while_their_class_is() -> None:
    def gateway_class(controller: str) -> ClusterObject:
        return an_object("GatewayClass", "edge", f"controllerName: {controller}")

    found = held(an_object("Gateway", "g", GATEWAY))
    assert names(found) == []
    found = held(gateway_class(CONTROLLER), before=found)
    assert names(found) == ["Gateway g"]
    assert held(gateway_class("example.com/other"), before=found).classes == frozenset()
    assert names(held(gateway_class("example.com/other"), before=found)) == []
    assert names(held(before=found, gone=(("GatewayClass", Key("", "edge")),))) == []


def test_fields_that_were_not_read_are_named() -> None:
    found = held(an_object("HTTPRoute", "a", f"{ROUTE}\nfuture: 1"))
    name = ("HTTPRoute", Key("default", "a"))
    assert found.ignored[name] == ("spec.future",)
    assert held(an_object("HTTPRoute", "a", ROUTE, generation=2), before=found).ignored == Map()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("RetryPolicy", "retrypolicies"),
        ("Gateway", "gateways"),
        ("GatewayClass", "gatewayclasses"),
        ("MeshTLS", "meshtls"),
        ("Metrics", "metrics"),
    ],
)
def test_plurals(kind: str, expected: str) -> None:
    assert plural(kind) == expected


def test_what_is_watched() -> None:
    found = {each.kind: each for each in watched()}
    assert found["TLSRoute"].versions == ("v1", "v1alpha3", "v1alpha2")
    assert not found["GatewayClass"].namespaced
    assert "Secret" not in found, "ours names files of the control plane"
    assert len({each.plural for each in own_kinds_watched()}) == len(list(own_kinds()))


def own_kinds_watched() -> list[Any]:
    return [each for each in watched() if each.group == "meshwright.dev"]
