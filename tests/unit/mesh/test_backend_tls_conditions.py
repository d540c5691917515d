"""What the status of BackendTLSPolicies says."""

from __future__ import annotations

import pytest

from mesh.backend_tls_conditions import backend_tls_conditions, backend_tls_policies
from mesh.gateway_secrets import Loaded
from mesh.names import Key
from mesh.state import MeshState
from tests.support.builders import service_document
from tests.unit.mesh.test_gateway_views import SECRET, a_mesh

LOADED = Loaded(authorities=frozenset({Key("default", "ca")}))
CA = SECRET.replace("{name: a}", "{name: ca}").replace(
    "certificateFile: a.pem, keyFile: a.key", "authoritiesFile: ca.pem"
)
SYSTEM = "wellKnownCACertificates: System"


def a_policy(
    *authorities: str, name: str = "p", target: str = "name: api", created: str = "2020-01-01T00:00:00Z"
) -> str:
    refs = ", ".join(f'{{group: "", kind: ConfigMap, name: {each}}}' for each in authorities)
    trusted = f"caCertificateRefs: [{refs}]" if authorities else SYSTEM
    return (
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\n"
        f"metadata: {{name: {name}, creationTimestamp: '{created}'}}\n"
        f"spec: {{targetRefs: [{{{target}}}], validation: {{hostname: a.b, {trusted}}}}}\n"
    )


def told(state: MeshState, problem: str = "") -> dict[str, list[tuple[str, str, str]]]:
    """Of each policy: at what, the reason, and the message."""
    return {
        policy.key.name: [
            (each.target, each.reason, each.message)
            for each in backend_tls_conditions(state, policy, LOADED, lambda _: problem)
        ]
        for policy in backend_tls_policies(state)
    }


def test_one_that_holds() -> None:
    at = "Service default/api#http"
    state = a_mesh(service_document("api"), CA, a_policy("ca", target="name: api, sectionName: http"))
    assert told(state) == {"p": [(at, "Accepted", "it holds"), (at, "ResolvedRefs", "all references hold")]}
    assert [reason for _, reason, _ in told(a_mesh(service_document("api"), a_policy()))["p"]] == [
        "Accepted",
        "ResolvedRefs",
    ]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("name: gone", "there is no Service default/gone"),
        (
            "group: meshwright.dev, kind: ExternalService, name: api",
            "there is no ExternalService default/api",
        ),
        ("name: api, sectionName: admin", "Service default/api has no port admin, but http"),
    ],
)
def test_a_target_that_is_not_there(target: str, message: str) -> None:
    accepted = told(a_mesh(service_document("api"), a_policy(target=target)))["p"][0]
    assert accepted[1:] == ("TargetNotFound", message)


def test_of_two_for_one_target_the_older_holds() -> None:
    state = a_mesh(
        service_document("api"),
        a_policy(name="a", created="2021-01-01T00:00:00Z"),
        a_policy(name="b"),
        a_policy(name="of-port", target="name: api, sectionName: http", created="2022-01-01T00:00:00Z"),
    )
    found = told(state)
    assert {name: of[0][1] for name, of in found.items()} == {
        "a": "Conflicted",
        "b": "Accepted",
        "of-port": "Accepted",
    }
    assert "BackendTLSPolicy default/b holds for it already" in found["a"][0][2]


def test_authorities_that_cannot_be_used() -> None:
    service, without = service_document("api"), SECRET.replace("{name: a}", "{name: empty}")
    some = told(a_mesh(service, CA, a_policy("ca", "gone")))["p"]
    assert [reason for _, reason, _ in some] == ["Accepted", "InvalidCACertificateRef"]
    assert some[1][2] == "no document declares Secret default/gone"
    none = told(a_mesh(service, without, a_policy("gone", "empty")))["p"]
    assert [reason for _, reason, _ in none] == ["NoValidCACertificate", "InvalidCACertificateRef"]
    assert "ConfigMap default/empty has no authoritiesFile" in none[1][2]
    broken = told(a_mesh(service, CA, a_policy("ca")), "ca.pem cannot be read")["p"]
    assert broken[1][2] == "ConfigMap default/ca: ca.pem cannot be read"
    assert broken[0][1:] == ("NoValidCACertificate", "who was trusted before still is")
