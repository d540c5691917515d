"""Objects of an API server as documents: what is read, what is left to others, and what is told."""

from __future__ import annotations

from typing import Any

import yaml

from documents.parsing import parse
from mesh.gateways import ReferenceGrant
from mesh.names import Key
from mesh.policy import Policy
from mesh.routes import Route
from policies.registry import KINDS
from store.kubernetes_objects import Taken, kept, taken

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: api
  namespace: shop
  uid: 5a1f
  generation: 7
  resourceVersion: "42"
  creationTimestamp: "2026-01-31T12:00:00Z"
  deletionTimestamp: "2026-01-31T12:00:00Z"
  managedFields: [{manager: kubectl}]
  annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}"}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules: [{backendRefs: [{name: api, port: 80}]}]
status: {parents: [{controllerName: example.com/other}]}
"""


def an_object(text: str = ROUTE, **spec: Any) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(text)
    read["spec"] |= spec
    return read


def take(read: dict[str, Any]) -> Taken:
    return taken(kept(read), "cluster", KINDS)


def value_of(found: Taken) -> Any:
    assert found.parsed is not None
    assert found.parsed.errors == ()
    (document,) = found.parsed.documents
    return document.value


def errors_of(found: Taken) -> str:
    assert found.parsed is not None
    return "\n".join(map(str, found.parsed.errors))


def test_an_object_is_read_as_a_file_would_be() -> None:
    found = take(an_object())
    route = value_of(found)
    assert isinstance(route, Route)
    assert route.key == Key("shop", "api")
    assert route.created is not None
    assert route.origin == ("cluster#7 HTTPRoute shop/api",)
    assert found.ignored == ()


def test_what_is_kept_is_what_it_says_and_its_status() -> None:
    found = kept(an_object())
    assert (found.uid, found.generation, found.resource_version) == ("5a1f", 7, "42")
    assert found.status == {"parents": [{"controllerName": "example.com/other"}]}
    assert "status" not in found.tree
    metadata = found.tree["metadata"]
    assert isinstance(metadata, dict)
    assert sorted(metadata) == ["creationTimestamp", "name", "namespace"]


def test_a_new_status_says_nothing_new() -> None:
    before, after = an_object(), an_object() | {"status": {}}
    after["metadata"] = after["metadata"] | {"resourceVersion": "43"}
    assert kept(after).says_what(kept(before))
    assert not kept(an_object(hostnames=["a.example.com"])).says_what(kept(before))
    assert not kept(before).says_what(None)


def test_fields_of_a_newer_version_are_left_out_and_named() -> None:
    rules = [{"backendRefs": [{"name": "api", "port": 80, "priority": 1}], "hedging": {"after": "1s"}}]
    found = take(an_object(rules=rules, useDefaultGateways="All"))
    assert len(value_of(found).rules) == 1
    assert found.ignored == (
        "spec.rules[0].backendRefs[0].priority",
        "spec.rules[0].hedging",
        "spec.useDefaultGateways",
    )


def test_what_is_left_is_read_again_from_the_text_that_is_kept_on_disk() -> None:
    found = take(an_object(useDefaultGateways="All"))
    assert found.parsed is not None
    (declared,) = found.parsed.declared()
    again = parse("cluster", declared.text.encode(), KINDS)
    assert again.errors == ()


def test_parents_of_others_are_left_to_them() -> None:
    mine = {"group": "", "kind": "Service", "name": "api"}
    others = {"group": "example.com", "kind": "Mesh", "name": "not.a.label"}
    assert len(value_of(take(an_object(parentRefs=[others, mine]))).parents) == 1
    assert take(an_object(parentRefs=[others])).parsed is None


def test_a_route_without_parents_is_taken() -> None:
    read = an_object()
    del read["spec"]["parentRefs"]
    assert value_of(take(read)).parents == ()


GRANT = """
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: g, namespace: shop, uid: a, generation: 1, resourceVersion: "1"}
spec:
  from:
  - {group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: web}
  - {group: example.com, kind: Thing, namespace: web}
  to: [{group: "", kind: Service}, {group: example.com, kind: Widget}]
"""


def test_a_grant_for_others_besides_is_read_for_us_alone() -> None:
    grant = value_of(take(an_object(GRANT)))
    assert isinstance(grant, ReferenceGrant)
    assert len(grant.sources) == len(grant.targets) == 1
    assert take(an_object(GRANT, to=[{"group": "example.com", "kind": "Widget"}])).parsed is None


RETRY = """
apiVersion: meshwright.dev/v1alpha1
kind: RetryPolicy
metadata: {name: api, namespace: shop, uid: a, generation: 1, resourceVersion: "1"}
spec: {targetRefs: [{kind: Service, name: api}], attempts: 3}
"""


def test_our_own_kinds_are_read_strictly() -> None:
    assert isinstance(value_of(take(an_object(RETRY))), Policy)
    assert "RetryPolicy shop/api, spec.atempts: unknown field 'atempts'" in errors_of(
        take(an_object(RETRY, atempts=3))
    )


def test_what_is_wrong_is_told_with_its_path() -> None:
    found = take(an_object(hostnames=["UPPER_case"]))
    assert errors_of(found).startswith("HTTPRoute shop/api, spec.hostnames[0]: ")


def test_a_version_that_is_not_known_is_told() -> None:
    read = an_object() | {"apiVersion": "gateway.networking.k8s.io/v9"}
    assert "HTTPRoute of gateway.networking.k8s.io/v9 is not known" in errors_of(take(read))
