"""Workloads: the instances that serve and call, and the endpoints that they make."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from mesh.identity import Identity
from mesh.interception import Interception
from mesh.names import Key
from mesh.service import Labels, Protocol, ServicePort

OUTBOUND_PORT = 15001
"""Where a sidecar listens for outbound HTTP by host name unless its workload says otherwise."""


class Health(StrEnum):
    """What the registry's checks say. CRITICAL takes no traffic at all, whatever Envoy's panic threshold."""

    PASSING = "passing"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    region: str = ""
    zone: str = ""
    sub_zone: str = ""


@dataclass(frozen=True, slots=True, order=True)
class WorkloadPort:
    """A port of one workload: `app` is the application's, `sidecar` the one that its sidecar takes mesh TLS on.

    `sidecar` is None without a sidecar, or where traffic is intercepted transparently. `service`: the name of the one service whose
    port of that name it is, where others that the workload serves have another behind theirs; empty: any service's. `passed`: the
    application takes it by itself, past the sidecar.
    """

    name: str
    app: int
    sidecar: int | None = None
    service: str = ""
    passed: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """A service that a workload calls; `local_port` on loopback leads to the port `port` (a name) of that service.

    `port` None means the only port, or every port where there is no `local_port`.
    """

    service: Key
    port: str | None = None
    local_port: int | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """One instance. `uses` None means that it may call every service of the mesh; an empty tuple, none.

    `weight` is relative to the other workloads of a service, 1 or more. `network` is empty for the mesh's one flat
    network. `interception` is None where traffic reaches the sidecar by explicit ports only. `gateway`: the Gateway that this
    workload's proxy plays, whose listeners are then its; `fronted`: the addresses of that Gateway are of what stands before its proxies, which
    listen everywhere. `on_demand`: whether its proxy is given the clusters of services when a request
    needs them first; None: as is usual in the mesh. `origin` is provenance and no part of the value.
    """

    key: Key
    services: tuple[Key, ...]
    service_account: str
    address: str
    ports: tuple[WorkloadPort, ...]
    locality: Locality = Locality()
    labels: Labels = ()
    meshed: bool = False
    uses: tuple[Use, ...] | None = None
    health: Health = Health.PASSING
    weight: int = 1
    network: str = ""
    outbound_port: int = OUTBOUND_PORT
    interception: Interception | None = None
    gateway: Key | None = None
    fronted: bool = False
    on_demand: bool | None = None
    origin: tuple[str, ...] = field(default=(), compare=False)

    def identity(self, trust_domain: str) -> Identity:
        return Identity(trust_domain, self.key.namespace, self.service_account)

    def port_named(self, name: str) -> WorkloadPort | None:
        return next((port for port in self.ports if port.name == name), None)

    def port_of(self, service: Key, name: str) -> WorkloadPort | None:
        """Where it serves the port `name` of `service`."""
        return next(
            (port for port in self.ports if port.name == name and port.service in {"", service.name}), None
        )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one workload serves one port of a service: the sidecar's port when `meshed`, else the application's."""

    workload: Key
    address: str
    port: int
    service_account: str
    meshed: bool
    health: Health = Health.PASSING
    weight: int = 1
    locality: Locality = Locality()
    labels: Labels = ()
    network: str = ""


def endpoint(workload: Workload, service: Key, of: ServicePort) -> Endpoint | None:
    """The endpoint of `workload` for the port `of` of `service`; None if it serves no port of that name.

    Sidecars take no datagrams: those go to the application itself.
    """
    port = workload.port_of(service, of.name)
    if port is None:
        return None
    meshed = workload.meshed and not port.passed and of.protocol is not Protocol.UDP
    number = port.sidecar if meshed and port.sidecar is not None else port.app
    return Endpoint(
        workload=workload.key,
        address=workload.address,
        port=number,
        service_account=workload.service_account,
        meshed=meshed,
        health=workload.health,
        weight=workload.weight,
        locality=workload.locality,
        labels=workload.labels,
        network=workload.network,
    )
