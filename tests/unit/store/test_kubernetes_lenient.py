"""What refuses a file, and in a cluster becomes a part of the value of which the status tells."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from documents.parsing import parse
from mesh.gateways import Gateway, ListenerSet, ObjectRef
from mesh.names import Key
from mesh.routes import BackendKind, Route, RouteKind
from policies.registry import KINDS
from store.kubernetes_objects import kept, taken

GROUP = "gateway.networking.k8s.io/v1"


def an_object(kind: str, spec: str, name: str = "one") -> dict[str, Any]:
    read = yaml.safe_load(spec)
    return {
        "apiVersion": GROUP,
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": read,
    }


def value(kind: str, spec: str, name: str = "one") -> Any:
    """The value of an object; as a file, it must be refused."""
    read = an_object(kind, spec, name)
    assert parse("a.yaml", yaml.safe_dump(read).encode(), KINDS).errors, "a file that is refused"
    found = taken(kept(read), "cluster", KINDS)
    assert found.parsed is not None
    assert found.parsed.errors == ()
    return found.parsed.documents[0].value


def gateway(*listeners: str, more: str = "") -> Gateway:
    spec = "gatewayClassName: meshwright\nlisteners:\n" + "".join(f"- {{{each}}}\n" for each in listeners)
    found = value("Gateway", spec + more)
    assert isinstance(found, Gateway)
    return found


HTTP = "name: http, port: 80, protocol: HTTP"


def refusals(found: Gateway | ListenerSet) -> list[tuple[str, str]]:
    return [(each.name, each.reason) for each in found.refused]


def test_a_protocol_of_somebody_else() -> None:
    found = gateway(HTTP, "name: quic, port: 443, protocol: example.com/QUIC")
    assert refusals(found) == [("quic", "UnsupportedProtocol")]
    assert [each.name for each in found.listeners] == ["http"]


def test_of_listeners_that_cannot_be_told_apart_none_is_served() -> None:
    found = gateway(
        HTTP,
        "name: again, port: 80, protocol: HTTP",
        "name: tcp, port: 80, protocol: TCP",
        "name: other, port: 81, protocol: HTTP",
    )
    assert [name for name, _ in refusals(found)] == ["http", "again", "tcp"]
    assert [each.name for each in found.listeners] == ["other"]


def test_of_a_listener_set_the_order_and_the_gateway_decide() -> None:
    spec = f"parentRef: {{name: edge}}\nlisteners:\n- {{name: raw, port: 80, protocol: TCP}}\n- {{{HTTP}}}\n"
    found = value("ListenerSet", spec)
    assert isinstance(found, ListenerSet)
    assert [each.name for each in found.listeners] == ["raw", "http"]
    assert found.refused == ()


def test_a_listener_without_the_certificate_that_it_needs() -> None:
    found = gateway(HTTP, "name: https, port: 443, protocol: HTTPS")
    assert refusals(found) == [("https", "Invalid")]


@pytest.mark.parametrize(
    ("kinds", "known", "unknown"),
    [
        ("[{kind: InvalidRoute}]", (), ("InvalidRoute",)),
        ("[{kind: InvalidRoute}, {kind: HTTPRoute}]", (RouteKind.HTTP,), ("InvalidRoute",)),
        ("[{kind: TCPRoute}]", (), ("TCPRoute",)),
        ("[{group: example.com, kind: HTTPRoute}]", (), ("HTTPRoute",)),
    ],
)
def test_kinds_of_routes_that_a_listener_cannot_take(
    kinds: str, known: tuple[RouteKind, ...], unknown: tuple[str, ...]
) -> None:
    (listener,) = gateway(f"{HTTP}, allowedRoutes: {{kinds: {kinds}}}").listeners
    assert (listener.allowed.kinds, listener.allowed.unknown) == (known, unknown)


def test_certificates_of_kinds_that_are_not_known() -> None:
    refs = "[{group: example.com, kind: Secret, name: a}, {kind: Vault, name: b}, {name: c.example.com}]"
    (listener,) = gateway(
        f"name: https, port: 443, protocol: HTTPS, tls: {{certificateRefs: {refs}, options: {{example.com/x: a}}}}"
    ).listeners
    assert listener.tls is not None
    assert listener.tls.certificates == (
        ObjectRef("Secret", Key("default", "a"), "example.com"),
        ObjectRef("Vault", Key("default", "b")),
        ObjectRef("Secret", Key("default", "c.example.com")),
    )


def test_addresses_of_other_types() -> None:
    found = gateway(
        HTTP,
        more="addresses: [{type: Hostname, value: a.example.com}, {value: 192.0.2.1}, {type: IPAddress}]",
    )
    assert (found.addresses, found.unusable) == (("192.0.2.1",), ("Hostname a.example.com",))


def test_backends_of_kinds_that_are_not_known() -> None:
    found = value(
        "HTTPRoute",
        "rules: [{backendRefs: [{kind: Bucket, name: a}, {group: example.com, name: b, weight: 3}, {name: c, port: 80}]}]",
    )
    assert isinstance(found, Route)
    unknown, grouped, known = found.rules[0].backends
    assert (unknown.kind, unknown.named) == (BackendKind.UNKNOWN, "core/Bucket")
    assert (grouped.kind, grouped.named, grouped.weight) == (BackendKind.UNKNOWN, "example.com/Service", 3)
    assert (known.kind, known.named) == (BackendKind.SERVICE, "")


def test_names_are_those_that_kubernetes_allows() -> None:
    spec = "parentRefs: [{name: edge.example.com}]"
    found = taken(kept(an_object("HTTPRoute", spec, "api.example.com")), "cluster", KINDS)
    assert found.parsed is not None
    assert found.parsed.errors == ()


def test_a_listener_set_of_another_parent_is_not_ours() -> None:
    spec = f"parentRef: {{group: example.com, kind: Edge, name: a}}\nlisteners: [{{{HTTP}}}]"
    assert taken(kept(an_object("ListenerSet", spec)), "cluster", KINDS).parsed is None
