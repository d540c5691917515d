"""What the demo runs: three services, their instances, and a free port for everything they listen on."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass

CHAIN: tuple[tuple[str, int, str | None], ...] = (("web", 2, "api"), ("api", 3, "store"), ("store", 2, None))
"""Service, instances, and the service that it calls."""

ADDRESS = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a service with its sidecar. All ports are on loopback."""

    service: str
    name: str
    calls: str | None
    app_port: int
    sidecar_port: int
    outbound_port: int
    envoy_admin_port: int


@dataclass(frozen=True, slots=True)
class Layout:
    instances: tuple[Instance, ...]
    xds_port: int
    join_port: int
    admin_port: int

    def of(self, service: str) -> tuple[Instance, ...]:
        return tuple(each for each in self.instances if each.service == service)


def plan() -> Layout:
    """A layout on ports that are free now."""
    count = 4 * sum(instances for _, instances, _ in CHAIN) + 3
    ports = iter(_free_ports(count))
    instances = tuple(
        Instance(service, f"{service}-{number}", calls, next(ports), next(ports), next(ports), next(ports))
        for service, count_of, calls in CHAIN
        for number in range(1, count_of + 1)
    )
    return Layout(instances, next(ports), next(ports), next(ports))


def documents(layout: Layout) -> Iterator[tuple[str, str]]:
    """File names and YAML: one file for each service, with its instances."""
    for service, _, calls in CHAIN:
        parts = [
            f"""\
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {{name: {service}}}
spec: {{ports: [{{name: http, port: 80, protocol: http}}]}}
"""
        ]
        parts.extend(
            f"""\
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: {each.name}}}
spec:
  services: [{service}]
  serviceAccount: {service}
  address: {ADDRESS}
  ports: [{{name: http, app: {each.app_port}, sidecar: {each.sidecar_port}}}]
  outboundPort: {each.outbound_port}
  meshed: true
  uses: [{calls or ""}]
"""
            for each in layout.of(service)
        )
        yield f"{service}.yaml", "---\n".join(parts)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now: all are held at once, so that no two are the same."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((ADDRESS, 0))
        return [each.getsockname()[1] for each in sockets]
