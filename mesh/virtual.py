"""Services as applications see them that know nothing of the mesh: names that resolve, and addresses that can be connected to.

The whole inputs of rendering, as in `mesh.views`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mesh import external, routing
from mesh.addresses import address_of
from mesh.names import Key, hostnames
from mesh.rules import BackendView
from mesh.service import Protocol, ServicePort
from mesh.state import MeshState


@dataclass(frozen=True, slots=True)
class VirtualPort:
    """A port of a virtual address. `backends`: where routes for TCP send its connections, if they do."""

    port: ServicePort
    backends: tuple[BackendView, ...] = ()


@dataclass(frozen=True, slots=True)
class VirtualView:
    """The virtual address of a service as callers of one namespace see it, and the names that they reach it by.

    `external`: it is outside the mesh, and which of its names is meant makes a difference.
    """

    service: Key
    address: str
    names: tuple[str, ...]
    ports: tuple[VirtualPort, ...]
    external: bool = False
    origin: tuple[str, ...] = field(default=(), compare=False)


def virtual_view(state: MeshState, key: Key, caller_namespace: str) -> VirtualView | None:
    """None for a service without a virtual address, for it is another's, and for a wildcard, which is no name."""
    service, address = state.services[key], address_of(state, key)
    outside = service.external
    if address is None or (outside is not None and outside.wildcard):
        return None
    names = hostnames(key, caller_namespace) if outside is None else external.owned(state, service)
    if not names:
        return None
    ports = tuple(
        VirtualPort(
            port,
            () if port.protocol.is_http else routing.tcp_backends(state, key, port, caller_namespace),
        )
        for port in service.ports
        if port.protocol is not Protocol.UDP  # nobody intercepts datagrams
    )
    return VirtualView(key, address, names, ports, outside is not None, origin=service.origin)
