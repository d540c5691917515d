"""Which documents of a cluster have business where they stand: of a namespace, or of the root namespace."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from documents.errors import NotPermitted
from store.kubernetes_objects import kept
from store.kubernetes_tenants import not_permitted

OURS = "meshwright.dev/v1alpha1"
T = "targetRefs: [{kind: Service, name: api}]"


def judged(
    kind: str, spec: str, namespace: str = "shop", *, group: str = OURS, root: str = "root"
) -> list[NotPermitted]:
    read: dict[str, Any] = {
        "apiVersion": group,
        "kind": kind,
        "metadata": {"name": "a", "namespace": namespace},
    }
    return list(not_permitted(kept(read | {"spec": yaml.safe_load(spec)}), root))


@pytest.mark.parametrize(
    ("target", "where"),
    [
        ("{kind: Mesh}", "the whole mesh"),
        ("{kind: Namespace, name: blog}", "namespace blog"),
        ("{kind: Namespace, namespace: blog}", "namespace blog"),
        ("{kind: Service, name: api, namespace: blog}", "namespace blog"),
        ("{kind: Workload, name: api-1, namespace: blog}", "namespace blog"),
        ("{kind: HTTPRoute, name: api, namespace: blog}", "namespace blog"),
    ],
)
def test_who_reaches_further_is_told_the_field_and_the_way_out(target: str, where: str) -> None:
    spec = f"targetRefs: [{{kind: Service, name: own}}, {target}]"
    (error,) = judged("AccessPolicy", spec)
    assert error.where.path == "spec.targetRefs[1]"
    assert error.reason == f"it reaches {where}, and stands in namespace shop"
    assert error.remedy == "Put it into namespace root, or target what is in namespace shop"
    assert judged("AccessPolicy", spec, "root") == []
    assert judged("AccessPolicy", spec, root="shop") == []


@pytest.mark.parametrize(
    "target",
    [
        "{kind: Namespace}",
        "{kind: Namespace, name: shop}",
        "{kind: Service, name: api}",
        "{kind: Service, name: api, namespace: shop}",
    ],
)
def test_what_concerns_its_own_namespace_is_anybodys(target: str) -> None:
    assert judged("MeshTLS", f"targetRefs: [{target}]\nmode: permissive") == []


def test_what_can_do_all_that_a_proxy_can_is_for_the_root_namespace() -> None:
    for kind in ("EnvoyPatch", "Extension"):
        (error,) = judged(kind, T)
        assert error.where.path == "kind"
        assert error.remedy.startswith("Put it into namespace root")
        assert judged(kind, T, "root") == []


def test_the_gateway_api_has_rules_of_its_own() -> None:
    elsewhere = "parentRefs: [{name: edge, namespace: infra}]\ntargetRefs: [{kind: Service, name: api, namespace: blog}]"
    assert judged("HTTPRoute", elsewhere, group="gateway.networking.k8s.io/v1") == []
    # Of another's group, whatever it is called.
    assert judged("EnvoyPatch", "targetRefs: [{kind: Mesh}]", group="example.com/v1") == []


PORTS = "ports: [{name: http, port: 80, protocol: http, targetPort: 15000}]"


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("ExternalService", "{resolution: static, hosts: [a.example], endpoints: [192.0.2.1, 127.0.0.1], PORTS}", "endpoints[1]"),
        ("ExternalService", "{hosts: [a.example], endpoints: [x.localhost], PORTS}", "endpoints[0]"),
        ("ExternalService", "{hosts: [LocalHost.LocalDomain.], PORTS}", "hosts[0]"),
        ("ExternalService", "{hosts: ['*.localhost'], PORTS}", "hosts[0]"),
        ("ExternalService", "{resolution: static, hosts: [a.example], endpoints: [169.254.169.254], PORTS}", "endpoints[0]"),
        ("Workload", "{address: '::1', services: [api]}", "address"),
    ],
)  # fmt: skip
def test_nobody_in_a_namespace_leads_proxies_to_themselves(kind: str, spec: str, field: str) -> None:
    """A gateway that many namespaces share would be asked for whatever it has on loopback."""
    spec = spec.replace("PORTS", PORTS)
    (error,) = judged(kind, spec)
    assert error.where.path == f"spec.{field}"
    assert "the caller's own host or link" in error.reason
    assert error.remedy == "Put it into namespace root, or give what others reach"
    assert judged(kind, spec, "root") == []


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("ExternalService", "{resolution: static, hosts: [a.localhost], endpoints: [192.0.2.1], PORTS}"),
        ("ExternalService", "{hosts: ['*.example.com'], PORTS}"),
        ("Workload", "{address: 10.0.0.1}"),
        # Refused for what they are, elsewhere.
        ("ExternalService", "[]"),
        ("ExternalService", "{hosts: 7, endpoints: [{}]}"),
        ("Workload", "{address: [127.0.0.1]}"),
    ],
)
def test_what_is_elsewhere_is_anybodys(kind: str, spec: str) -> None:
    assert judged(kind, spec.replace("PORTS", PORTS)) == []
