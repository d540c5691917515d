"""The synthetic mesh: how large it is, and its documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

PROXY = "proxy-%d"


@dataclass(frozen=True, slots=True)
class Shape:
    """`services` services of `endpoints` endpoints each, all seen by `proxies` proxies.

    `meshed` endpoints carry the metadata by which clusters choose mTLS.
    """

    services: int
    endpoints: int
    proxies: int
    meshed: bool = False

    def __str__(self) -> str:
        return (
            f"{self.services} services of {self.endpoints} {'meshed ' if self.meshed else ''}endpoints, "
            f"{self.proxies} proxies"
        )


def service_name(number: int) -> str:
    return f"svc-{number}"


def address(service: int, endpoint: int) -> str:
    """As the peer numbers them."""
    return f"10.{service // 250}.{service % 250}.{endpoint + 1}"


def service_documents(shape: Shape, number: int, first: str | None = None) -> str:
    """One file: a service and its workloads. `first` (IP:PORT) takes the place of the first endpoint's address."""
    name = service_name(number)
    service = (
        f"apiVersion: meshwright.dev/v1alpha1\nkind: Service\nmetadata: {{name: {name}}}\n"
        "spec: {ports: [{name: http, port: 80, protocol: http}]}\n"
    )
    parts = [service]
    for endpoint in range(shape.endpoints):
        host, port = address(number, endpoint), "8080"
        if endpoint == 0 and first is not None:
            host, _, port = first.rpartition(":")
        app, sidecar = ("80", f", sidecar: {port}") if shape.meshed else (port, "")
        parts.append(
            f"apiVersion: meshwright.dev/v1alpha1\nkind: Workload\nmetadata: {{name: {name}-{endpoint}}}\n"
            f"spec: {{services: [{name}], address: {host}, ports: [{{name: http, app: {app}{sidecar}}}], "
            f"locality: {{zone: a}}, meshed: {str(shape.meshed).lower()}}}\n"
        )
    return "---\n".join(parts)


def proxy_documents(shape: Shape) -> str:
    """The workloads that the simulated proxies are: they serve nothing and may call everything."""
    return "---\n".join(
        f"apiVersion: meshwright.dev/v1alpha1\nkind: Workload\nmetadata: {{name: {proxy_name(number)}}}\n"
        "spec: {serviceAccount: web, address: 127.0.0.1}\n"
        for number in range(shape.proxies)
    )


def proxy_name(number: int) -> str:
    return PROXY % number


def policy_documents(shape: Shape, count: int) -> str:
    """`count` policies: one of each kind for the mesh, the others for services, in turn."""
    said = {
        "TimeoutPolicy": "request: 15s",
        "RetryPolicy": "attempts: 3",
        "CircuitBreaker": "connections: 1000",
        "OutlierDetection": "consecutive5xx: 7",
        "FaultInjection": "delay: {fixed: 1ms, percent: 0}",
    }
    parts = []
    for number in range(count):
        kind, spec = list(said.items())[number % len(said)]
        target = (
            "kind: Mesh"
            if number < len(said)
            else f"kind: Service, name: {service_name(number % shape.services)}"
        )
        parts.append(
            f"apiVersion: meshwright.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: policy-{number}}}\n"
            f"spec: {{targetRefs: [{{{target}}}], {spec}}}\n"
        )
    return "---\n".join(parts)


def files(shape: Shape) -> Iterator[tuple[str, str]]:
    """Names and contents of all files of documents."""
    for number in range(shape.services):
        yield f"{service_name(number)}.yaml", service_documents(shape, number)
    yield "proxies.yaml", proxy_documents(shape)
