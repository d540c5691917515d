"""What a gateway refers to, and whether it may."""

from __future__ import annotations

import pytest

from mesh.conditions import gateway_conditions
from mesh.gateway_secrets import Loaded, Readable, client_certificate, readable
from mesh.gateway_views import declared, gateway_scope
from mesh.gateways import Gateway
from mesh.names import Key
from mesh.state import MeshState
from mesh.views import outbound_scope, service_view
from tests.support.builders import service_document
from tests.unit.mesh.test_backend_tls_conditions import CA, a_policy
from tests.unit.mesh.test_gateway_views import (
    BASE,
    EDGE,
    HTTP,
    HTTPS,
    PLAYER,
    SECRET,
    a_gateway,
    a_mesh,
    a_player,
    a_route,
    a_view,
)

A, FAR = Key("default", "a"), Key("keys", "far")
SHOWN = "tls: {backend: {clientCertificateRef: {name: a}}}, listeners:"
FAR_REF = "tls: {backend: {clientCertificateRef: {name: far, namespace: keys}}}, listeners:"
FAR_SECRET = SECRET.replace("{name: a}", "{name: far, namespace: keys}")


def asking(*refs: str, mode: str = "AllowValidOnly") -> str:
    """What a Gateway asks of clients, before its listeners; `refs` are kinds and names."""
    said = ", ".join(f"{{group: '', {each}}}" for each in refs)
    return f"tls: {{frontend: {{default: {{validation: {{mode: {mode}, caCertificateRefs: [{said}]}}}}}}}}, listeners:"


def edge(state: MeshState) -> Gateway:
    found = declared(state, EDGE)
    assert found is not None
    return found


def a_grant(kind: str) -> str:
    return (
        "---\napiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: keys}\n"
        "spec: {from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}], "
        f"to: [{{group: '', kind: {kind}}}]}}\n"
    )


def test_what_is_shown_to_backends_is_part_of_what_the_gateway_calls() -> None:
    state = a_mesh(*BASE, a_gateway(HTTP).replace("listeners:", SHOWN), SECRET, a_route("r"), a_policy())
    assert readable(state, edge(state)) == Readable(certificates=(A,))
    for loaded, shown in ((["a"], A), ([], None)):
        view = a_view(state, loaded)
        assert view.certificate == shown
        scope = gateway_scope(state, outbound_scope(state, state.workloads[PLAYER]), view)
        assert scope.certificate == shown
        ((_, said),) = service_view(state, Key("default", "api"), "default", scope.certificate).tls
        assert said.certificate == shown


def test_nothing_of_it_is_part_of_services_that_speak_no_tls() -> None:
    state = a_mesh(*BASE)
    key = Key("default", "api")
    assert service_view(state, key, "", A) == service_view(state, key)


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_a_certificate_for_backends_from_another_namespace_needs_a_grant_for_secrets(kind: str) -> None:
    state = a_mesh(*BASE, a_gateway(HTTP).replace("listeners:", FAR_REF), FAR_SECRET, a_grant(kind))
    granted = kind == "Secret"
    assert readable(state, edge(state)).certificates == ((FAR,) if granted else ())
    assert client_certificate(state, edge(state), Loaded(frozenset({FAR}))) == (FAR if granted else None)


@pytest.mark.parametrize(
    ("documents", "loaded", "reason"),
    [
        ((a_gateway(HTTP),), (), None),
        ((a_gateway(HTTP).replace("listeners:", SHOWN), SECRET), (A,), "ResolvedRefs"),
        ((a_gateway(HTTP).replace("listeners:", SHOWN),), (), "InvalidClientCertificateRef"),
        ((a_gateway(HTTP).replace("listeners:", FAR_REF), FAR_SECRET), (A, FAR), "RefNotPermitted"),
        ((a_gateway(HTTPS),), (), "ListenersNotResolved"),
    ],
)
def test_the_condition_of_a_gateways_references(
    documents: tuple[str, ...], loaded: tuple[Key, ...], reason: str | None
) -> None:
    state = a_mesh(service_document("api"), a_player(), *documents)
    found = gateway_conditions(state, edge(state), Loaded(frozenset(loaded)), lambda _: "")
    assert [each.reason for each in found if each.type == "ResolvedRefs" and not each.listener] == (
        [] if reason is None else [reason]
    )


def test_several_authorities_are_one_bundle_whatever_kind_they_are_called_by() -> None:
    two = CA.replace("{name: ca}", "{name: two}")
    asked = asking("kind: Secret, name: two", "kind: ConfigMap, name: ca", "kind: ConfigMap, name: gone")
    state = a_mesh(*BASE, a_gateway(HTTPS).replace("listeners:", asked), SECRET, CA, two)
    # One that is not there yet is among them: it comes without another listener.
    bundle = (Key("default", "ca"), Key("default", "gone"), Key("default", "two"))
    assert readable(state, edge(state)) == Readable((A,), (bundle,))
    assert a_view(state, ["a"]).ports == ()
    (port,) = a_view(state, ["a"], ["two"]).ports
    assert (port.chains[0].authorities, port.chains[0].optional) == (bundle, False)
    told = {
        (each.type, each.reason): each
        for each in gateway_conditions(
            state, edge(state), Loaded(frozenset({A}), frozenset(bundle[::2])), lambda _: ""
        )
    }
    assert "Secret default/gone" in told["ResolvedRefs", "InvalidCACertificateRef"].message
    assert told["Accepted", "Accepted"].listener == "https"


def test_clients_that_need_no_certificate_are_told_of() -> None:
    asked = asking("kind: ConfigMap, name: ca", mode="AllowInsecureFallback")
    state = a_mesh(*BASE, a_gateway(HTTPS, HTTP).replace("listeners:", asked), SECRET, CA)
    (port,) = (each for each in a_view(state, ["a"], ["ca"]).ports if each.secure)
    assert port.chains[0].optional
    found = gateway_conditions(state, edge(state), Loaded(), lambda _: "")
    (told,) = (each for each in found if each.type == "InsecureFrontendValidationMode")
    assert told.status
    assert "at port 8443 " in told.message
