from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.events import SourceSnapshot
from mesh.state import MeshState
from mesh.transport import BY_OTHERS, BY_SIDECARS
from mesh.views import endpoints_views, inbound_view
from mesh.workload import WorkloadPort
from pb.envoy.extensions.transport_sockets.tls.v3.common_pb2 import TlsParameters
from policies.effects import notes
from policies.mesh_tls import EXAMPLE, KIND
from policies.transport import called
from policies.weave import Weaver
from tests.support.builders import TRUST_DOMAIN, a_key, a_port, a_service, a_workload
from tests.support.policy_documents import CALLEE, accepted, added, declared, refusals

SIDECAR = (WorkloadPort("http", 9001, 15101), WorkloadPort("admin", 9002, 15102))
SHARED = (WorkloadPort("http", 9001, 15101), WorkloadPort("admin", 9002, 15101))


def a_mesh(*policies: str, ports: tuple[WorkloadPort, ...] = SIDECAR) -> MeshState:
    """api has two workloads with sidecars and one without; each of `policies` is a name, a target and what it says."""
    api = a_service("api", a_port("http", 80), a_port("admin", 8080))
    texts = []
    for place, each in enumerate(policies):
        target, _, said = each.partition(": ")
        kind, _, name = target.partition(" ")
        ref = f"{{kind: {kind}, name: {name}}}" if name else f"{{kind: {kind}}}"
        texts.append(
            f"apiVersion: meshwright.dev/v1alpha1\nkind: MeshTLS\nmetadata: {{name: p{place}}}\n"
            f"spec: {{targetRefs: [{ref}], {said}}}\n"
        )
    workloads = (
        a_workload("api-1", meshed=True, ports=ports),
        a_workload("api-2", meshed=True, ports=ports),
        a_workload("api-3", ports=(WorkloadPort("http", 9001), WorkloadPort("admin", 9002))),
    )
    return MeshState(TRUST_DOMAIN).apply(
        SourceSnapshot("file", (api,), workloads, declared("---\n".join(texts)))
    )[0]


def in_plaintext(state: MeshState, *, sidecar: bool = True) -> set[str]:
    """`<workload>:<port>` of all that callers speak plaintext to."""
    how = called(state, a_key("api"), BY_SIDECARS if sidecar else BY_OTHERS)
    return {
        f"{each.workload.name}:{view.port.port}"
        for view in endpoints_views(state, a_key("api"), called=how)
        for each in view.endpoints
        if not each.meshed
    }


CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256, ECDHE-ECDSA-AES256-GCM-SHA384, ECDHE-ECDSA-CHACHA20-POLY1305, "
    "ECDHE-RSA-AES128-GCM-SHA256, ECDHE-RSA-AES256-GCM-SHA384 or ECDHE-RSA-CHACHA20-POLY1305"
)
WITHOUT_SIDECAR = {"api-3:80", "api-3:8080"}


@pytest.mark.parametrize(
    ("said", "plaintext"),
    [
        ("mode: strict", False),
        ("mode: permissive", True),
        ("mode: off", True),
        ("minimumVersion: 1.2", False),
        ("mode: permissive, ports: [{port: 80, mode: strict}]", False),
        ("mode: strict, ports: [{port: 80, mode: permissive}]", True),
        ("ports: [{port: 81, mode: off}]", False),
    ],
)
def test_whether_plaintext_is_taken(said: str, plaintext: bool) -> None:
    assert added(KIND, f"{{{said}}}").plaintext is plaintext


def test_versions_and_ciphers() -> None:
    parts = added(KIND, "{minimumVersion: 1.2, cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]}")
    made = TlsParameters.FromString(parts.tls)
    assert made.tls_minimum_protocol_version == TlsParameters.TLSv1_2
    assert list(made.cipher_suites) == ["ECDHE-RSA-AES128-GCM-SHA256"]
    assert added(KIND, "{minimumVersion: '1.3'}").tls == b""


def test_ciphers_of_several_policies_that_are_wrong_together() -> None:
    with pytest.raises(ValueError, match=r"set minimumVersion to 1\.2"):
        added(KIND, "{cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]}")


def test_where_no_port_is_meant_nothing_is_said() -> None:
    assert not added(KIND, "{mode: off}", replace(CALLEE, port=None))


@pytest.mark.parametrize(
    ("policies", "sidecars", "others"),
    [
        ((), set(), set()),
        (("Mesh: mode: permissive",), set(), {"api-1:80", "api-1:8080", "api-2:80", "api-2:8080"}),
        (("Service api: mode: off, ports: [{port: 80, mode: strict}]",), {"api-1:8080", "api-2:8080"}, None),
        (("Mesh: mode: off", "Workload api-2: mode: strict"), {"api-1:80", "api-1:8080"}, None),
        (("Workload api-1: mode: off",), {"api-1:80", "api-1:8080"}, None),
        (("Namespace: mode: off", "Service api: mode: permissive"), set(), {"api-1:80", "api-1:8080", "api-2:80", "api-2:8080"}),
    ],
)  # fmt: skip
def test_who_is_called_in_plaintext(
    policies: tuple[str, ...], sidecars: set[str], others: set[str] | None
) -> None:
    state = a_mesh(*policies)
    assert in_plaintext(state) == sidecars | WITHOUT_SIDECAR
    assert in_plaintext(state, sidecar=False) == (sidecars if others is None else others) | WITHOUT_SIDECAR


def test_two_applications_behind_one_port_stay_strict_and_it_is_said() -> None:
    state = a_mesh("Mesh: mode: off", ports=SHARED)
    assert in_plaintext(state) == WITHOUT_SIDECAR
    weaver, workload = Weaver(), state.workloads[a_key("api-1")]
    weaver.listeners(state, workload, inbound_view(state, workload))
    assert weaver.problems["MeshTLS at service default/api, port 80"] == (
        "left out: port 15101 of the sidecar serves default/api:8080, default/api:80, and plaintext does not say which of them is called: "
        "give each a sidecar port of its own"
    )


def test_policies_that_are_wrong_together_leave_callers_and_callee_as_they_were() -> None:
    state = a_mesh("Mesh: mode: off", "Service api: cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]")
    assert in_plaintext(state) == WITHOUT_SIDECAR
    weaver, workload = Weaver(), state.workloads[a_key("api-1")]
    seams = weaver.listeners(state, workload, inbound_view(state, workload))
    assert not any(parts.plaintext for _, parts in seams.inbound)
    assert "cipherSuites are those of TLS 1.2" in weaver.problems["MeshTLS at service default/api"]


def test_a_policy_of_one_workload_changes_the_endpoints_of_what_it_serves() -> None:
    before = a_mesh()
    (policy,) = declared(
        "apiVersion: meshwright.dev/v1alpha1\nkind: MeshTLS\nmetadata: {name: p}\n"
        "spec: {targetRefs: [{kind: Workload, name: api-1}], mode: off}\n"
    )
    snapshot = SourceSnapshot(
        "file", tuple(before.services.values()), tuple(before.workloads.values()), (policy,)
    )
    _, changes = before.apply(snapshot)
    assert not changes.services
    assert changes.endpoints == {a_key("api")}
    assert changes.workloads == {a_key("api-1")}


def test_ports_that_the_service_does_not_have_are_told() -> None:
    state = a_mesh(
        "Service api: mode: permissive, ports: [{port: 80, mode: strict}, {port: 81, mode: strict}]"
    )
    (policy,) = state.policies.policies.values()
    assert list(notes(state, policy)) == [
        "no effect at service default/api: spec.ports: it has no port 81, but 80, 8080"
    ]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("mode: on", "spec.mode: 'on' is not known here. Use strict, permissive or off"),
        ("mode: mutual", "spec.mode: 'mutual' is not known here. Use strict, permissive or off"),
        (
            "ports: [{port: 0, mode: off}]",
            "spec.ports[0].port: 0 is not a port. Use a number from 1 to 65535",
        ),
        ("ports: [{port: 80}]", "spec.ports[0].mode: mode is missing. Add it"),
        (
            "ports: [{port: 80, mode: off}, {port: 80, mode: strict}]",
            "spec.ports[1].port: port 80 is already that of ports[0]. Give each its own port",
        ),
        ("minimumVersion: 1.1", "spec.minimumVersion: '1.1' is not known here. Use 1.2 or 1.3"),
        ("cipherSuites: [RC4-SHA]", f"spec.cipherSuites[0]: 'RC4-SHA' is not known here. Use {CIPHERS}"),
        ("cipherSuites: []", "spec.cipherSuites: the list is empty. Give at least 1"),
        (
            "mode: off, from: [{service: web}]",
            "spec.from: a MeshTLS holds for all callers: it cannot tell them apart. Remove from",
        ),
        (
            "mode: off, port: 80",
            "spec.port: unknown field 'port'. Did you mean ports? Known here: mode, ports, minimumVersion, cipherSuites, targetRefs, from, enforced",
        ),
    ],
)
def test_wrong_documents(spec: str, said: str) -> None:
    assert refusals("MeshTLS", spec) == [said]


def test_the_example() -> None:
    accepted(EXAMPLE)
