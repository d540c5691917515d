"""The kind ExternalService: what it declares, and what is wrong with it."""

from __future__ import annotations

import pytest

from documents.checks import dangling
from documents.parsing import parse
from mesh.external import External, Origination, Resolution
from mesh.service import Protocol, Service, ServicePort

HEAD = "apiVersion: meshwright.dev/v1alpha1\nkind: ExternalService\nmetadata: {name: pay}\nspec: "
PORTS = "ports: [{name: http, port: 80, protocol: http}]"


def test_what_it_declares() -> None:
    parsed = parse(
        "f.yaml",
        f"""{HEAD}
  hosts: [API.example.com.]
  ports: [{{name: http, port: 80, targetPort: 443, protocol: http}}, {{name: db, port: 5432}}]
  tls: {{sni: edge.example.com, subjectAltNames: ["*.example.com"], caFile: /ca.pem}}
""".encode(),
    )
    assert parsed.errors == ()
    (service,) = parsed.services()
    assert service.ports == (ServicePort("http", 80, Protocol.HTTP), ServicePort("db", 5432))
    assert service.external == External(
        ("api.example.com",),
        Resolution.DNS,
        tls=Origination("edge.example.com", ("*.example.com",), (), "/ca.pem"),
        targets=((80, 443),),
    )


@pytest.mark.parametrize(
    ("spec", "path", "reason"),
    [
        (f"{{hosts: [localhost], {PORTS}}}", "spec.hosts[0]", "is not a DNS name"),
        (f"{{hosts: [10.0.0.1], {PORTS}}}", "spec.hosts[0]", "is not a DNS name"),
        (f"{{hosts: [a.default.mesh], {PORTS}}}", "spec.hosts[0]", "is a name of this mesh"),
        (f"{{hosts: [a.b, c.d], {PORTS}}}", "spec.hosts", "addresses of its own"),
        (f"{{hosts: [a.b, a.b], {PORTS}, endpoints: [x.y]}}", "spec.hosts[1]", "already"),
        (f"{{hosts: [a.b], {PORTS}, resolution: static}}", "spec.endpoints", "missing"),
        (
            f"{{hosts: [a.b], {PORTS}, resolution: static, endpoints: [c.d]}}",
            "spec.endpoints[0]",
            "is not an IP address",
        ),
        (
            f"{{hosts: [a.b], {PORTS}, resolution: logicalDns, endpoints: [c.d, e.f]}}",
            "spec.endpoints",
            "one name only",
        ),
        (f"{{hosts: [a.b], {PORTS}, resolution: passthrough}}", "spec.resolution", "passthrough"),
        (f"{{hosts: ['*.b.c', a.b], {PORTS}}}", "spec.hosts", "different ways"),
        (f"{{hosts: ['*.b.c'], {PORTS}, endpoints: [a.b]}}", "spec.endpoints", "by itself"),
        (
            "{hosts: ['*.b.c'], ports: [{name: db, port: 1}]}",
            "spec.ports[0].protocol",
            "does not say which name",
        ),
        (f"{{hosts: [a.b], {PORTS}, tls: {{mode: mutual}}}}", "spec.tls.certificateFile", "missing"),
        (f"{{hosts: [a.b], {PORTS}, tls: {{privateKeyFile: /k}}}}", "spec.tls.privateKeyFile", "no effect"),
        (f"{{hosts: [a.b], {PORTS}, tls: {{caFile: ca.pem}}}}", "spec.tls.caFile", "not an absolute path"),
    ],
)
def test_what_is_wrong(spec: str, path: str, reason: str) -> None:
    error = parse("f.yaml", (HEAD + spec).encode()).errors[0]
    assert error.where.path == path
    assert reason in str(error)


def test_it_shares_the_names_of_services() -> None:
    service = (
        "\n---\napiVersion: meshwright.dev/v1alpha1\nkind: Service\nmetadata: {name: pay}\nspec: {"
        + PORTS
        + "}"
    )
    parsed = parse("f.yaml", f"{HEAD}{{hosts: [a.b], {PORTS}}}{service}".encode())
    assert "declared already, by" in str(parsed.errors[0])
    assert all(isinstance(each.value, Service) for each in parsed.documents)


def test_nothing_in_the_mesh_serves_it() -> None:
    workload = """
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {name: pay-1}
spec: {services: [pay], address: 127.0.0.1, ports: [{name: http, app: 80}]}
"""
    parsed = parse("f.yaml", f"{HEAD}{{hosts: [a.b], {PORTS}}}{workload}".encode())
    outside, served = parsed.documents
    assert isinstance(outside.value, Service)
    (error,) = dangling(served, {outside.key: outside.value}.get)
    assert "nothing in the mesh serves it" in str(error)
