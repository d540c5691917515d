"""Whether calls to a port are mesh TLS: what its sidecar takes, and what callers speak to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from mesh.names import Key
from mesh.service import ServicePort
from mesh.workload import Endpoint

MESH_TLS = "MeshTLS"
"""The kind of the policies that say so."""


class TlsMode(StrEnum):
    """STRICT: mesh TLS and nothing else. PERMISSIVE: plaintext, too; callers of the mesh speak mesh TLS. OFF: callers of the mesh speak
    plaintext. Its sidecar takes both even then, so that callers who have not heard of it yet lose nothing.
    """

    STRICT = "strict"
    PERMISSIVE = "permissive"
    OFF = "off"


@dataclass(frozen=True, slots=True, order=True)
class Passage:
    """A port of a service, as one workload serves it, that goes from strict to off or back. No order is kept between proxies, so it is
    permissive meanwhile, which loses nothing either way: until its sidecar takes plaintext, or until no caller speaks it any more.
    """

    workload: Key
    service: Key
    port: int


BY_SIDECARS = frozenset({TlsMode.OFF})
"""The modes in which callers that have a sidecar speak plaintext."""

BY_OTHERS = frozenset({TlsMode.OFF, TlsMode.PERMISSIVE})
"""Those in which whoever has none can call."""


@dataclass(frozen=True, slots=True)
class Plaintext:
    """`places`: the workloads of a service, and the numbers of its ports, that are called in plaintext."""

    places: frozenset[tuple[Key, int]]

    def called(self, endpoints: tuple[Endpoint, ...], port: ServicePort) -> tuple[Endpoint, ...]:
        """`endpoints` of `port` as they are called: these as if they had no sidecar, at the same address."""
        return tuple(
            replace(each, meshed=False) if (each.workload, port.port) in self.places else each
            for each in endpoints
        )
