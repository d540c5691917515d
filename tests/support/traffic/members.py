"""Who is in the mesh of the traffic tests: services, workloads, their labels, places and ports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mesh.names import Key
from tests.support.ports import LOOPBACK, Ports

TRUST_DOMAIN = "mesh.local"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a service. `protocol` as in documents, or `greet`: TCP whose server speaks first."""

    name: str
    number: int
    protocol: str

    @property
    def declared(self) -> str:
        return "tcp" if self.protocol == "greet" else self.protocol


@dataclass(frozen=True, slots=True)
class MeshService:
    key: Key
    ports: tuple[ServicePort, ...] = (ServicePort("http", 80, "http"),)

    def document(self) -> dict[str, Any]:
        ports = [{"name": each.name, "port": each.number, "protocol": each.declared} for each in self.ports]
        return _document("Service", self.key, {"ports": ports})


@dataclass(frozen=True, slots=True)
class Member:
    """One workload with its sidecar. `uses` None: it may call everything. `local` maps `service/port` to a port on
    loopback that leads there.
    """

    key: Key
    service: MeshService
    outbound_port: int
    labels: dict[str, str] = field(default_factory=dict)
    region: str = "eu"
    zone: str = "a"
    uses: tuple[str, ...] | None = ()
    local: dict[str, int] = field(default_factory=dict)
    app_ports: dict[str, int] = field(default_factory=dict)
    sidecar_ports: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def account(self) -> str:
        return self.service.key.name

    @property
    def identity(self) -> str:
        """Its SPIFFE id."""
        return f"spiffe://{TRUST_DOMAIN}/ns/{self.key.namespace}/sa/{self.account}"

    def endpoint(self, port: str = "http") -> str:
        """Where its sidecar takes mesh TLS, as Envoy's `/clusters` and access logs show it."""
        return f"{LOOPBACK}:{self.sidecar_ports[port]}"

    def document(self) -> dict[str, Any]:
        spec: dict[str, Any] = {
            "services": [self.service.key.name],
            "serviceAccount": self.account,
            "address": LOOPBACK,
            "ports": [
                {
                    "name": each.name,
                    "app": self.app_ports[each.name],
                    "sidecar": self.sidecar_ports[each.name],
                }
                for each in self.service.ports
            ],
            "outboundPort": self.outbound_port,
            "meshed": True,
            "locality": {"region": self.region, "zone": self.zone},
        }
        if self.uses is not None:
            ports = [place.split("/") for place in self.local]
            spec["uses"] = [
                *self.uses,
                *(
                    {"service": service, "port": port, "localPort": number}
                    for (service, port), number in zip(ports, self.local.values(), strict=True)
                ),
            ]
        return _document("Workload", self.key, spec, self.labels)


API = MeshService(Key("default", "api"))
STORE = MeshService(Key("default", "store"))
WEB = MeshService(Key("default", "web"))
PROBE = MeshService(Key("default", "probe"))
DIALER = MeshService(Key("default", "dialer"))
OTHER = MeshService(Key("other", "other"))
GRPC = MeshService(Key("default", "grpc"), (ServicePort("grpc", 80, "grpc"),))
TCP = MeshService(
    Key("default", "tcp"), (ServicePort("echo", 7000, "tcp"), ServicePort("greet", 7001, "greet"))
)


def services() -> tuple[MeshService, ...]:
    return (API, STORE, WEB, PROBE, DIALER, OTHER, GRPC, TCP)


def members(ports: Ports) -> tuple[Member, ...]:
    """All workloads, each on ports of its own.

    `web` and `probe` may call everything. `dialer` reaches TCP and gRPC by local ports, the way without interception.
    `api` calls `store` when it is asked to, for tests of chains.
    """
    v1, v2 = {"version": "v1"}, {"version": "v2"}
    dials = {name: ports.take() for name in ("tcp/echo", "tcp/greet", "grpc/grpc", "api/http")}
    return (
        a_member(ports, WEB, 1, uses=None),
        a_member(ports, PROBE, 1, uses=None),
        a_member(ports, DIALER, 1, local=dials),
        a_member(ports, API, 1, v1, "eu", "a", uses=("store",)),
        a_member(ports, API, 2, v1, "eu", "b", uses=("store",)),
        a_member(ports, API, 3, v2, "eu", "a", uses=("store",)),
        a_member(ports, API, 4, v2, "us", "c", uses=("store",)),
        a_member(ports, STORE, 1),
        a_member(ports, STORE, 2),
        a_member(ports, OTHER, 1),
        a_member(ports, GRPC, 1, v1),
        a_member(ports, GRPC, 2, v2),
        a_member(ports, TCP, 1, v1),
        a_member(ports, TCP, 2, v2),
    )


def a_member(
    ports: Ports,
    service: MeshService,
    number: int,
    labels: dict[str, str] | None = None,
    region: str = "eu",
    zone: str = "a",
    *,
    uses: Iterable[str] | None = (),
    local: dict[str, int] | None = None,
) -> Member:
    """`<service>-<number>`, with ports of its own."""
    return Member(
        Key(service.key.namespace, f"{service.key.name}-{number}"),
        service,
        ports.take(),
        labels or {},
        region,
        zone,
        uses=None if uses is None else tuple(uses),
        local=local or {},
        app_ports={each.name: ports.take() for each in service.ports},
        sidecar_ports={each.name: ports.take() for each in service.ports},
    )


def _document(
    kind: str, key: Key, spec: dict[str, Any], labels: dict[str, str] | None = None
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": key.name, "namespace": key.namespace}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "meshwright.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
