"""The kind Workload: one instance, what it serves and what it calls."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from documents.envelope import (
    Envelope,
    Name,
    Namespace,
    Part,
    Port,
    PortName,
    Problem,
    ServiceName,
    repeated,
    wrong,
)
from documents.interception import InterceptionSpec
from documents.reading import Path, show
from documents.service import Address, ServiceAccount
from mesh.names import Key
from mesh.service import labels
from mesh.workload import OUTBOUND_PORT, Health, Locality, Use, Workload, WorkloadPort

ON_DEMAND: Final = "onDemand"


def _reachable(text: str) -> str:
    address = ipaddress.ip_address(text)
    if address.is_unspecified or address.is_multicast:
        raise wrong(f"{text} is not the address of one instance", "Use the address at which others reach it")
    return text


class WorkloadPortSpec(Part):
    name: PortName = Field(description="The name of the service port that is served here.")
    app: Port = Field(description="Where the application listens.")
    sidecar: Port | None = Field(
        None, description="Where the sidecar takes mesh TLS; none where traffic is intercepted transparently."
    )


class LocalitySpec(Part):
    region: str = Field(default="", description="As of a cloud provider, or a site.")
    zone: str = Field(default="", description="Of the region: a data centre.")
    sub_zone: str = Field(default="", description="Of the zone: a rack, say.")


class UseSpec(Part):
    service: ServiceName = Field(description="The service that is called.")
    namespace: Namespace | None = Field(None, description="Its namespace; by default the workload's own.")
    port: PortName | None = Field(
        None, description="The name of its port; may be left out if it has one only."
    )
    local_port: Port | None = Field(None, description="A port on loopback that leads there.")


def _use(given: object) -> object:
    return {"service": given} if isinstance(given, str) else given


class WorkloadSpec(Part):
    services: list[ServiceName] = Field([], description="What it serves, all in its own namespace.")
    service_account: ServiceAccount | None = Field(
        None, description="Its identity; by default named after its first service, or else after itself."
    )
    address: Annotated[Address, AfterValidator(_reachable)] = Field(description="Where others reach it.")
    ports: list[WorkloadPortSpec] = Field([], description="Where it serves them.")
    locality: LocalitySpec = Field(
        LocalitySpec(), description="Where it is, for those who prefer to call near."
    )
    meshed: bool = Field(default=False, description="Whether it has a sidecar.")
    uses: list[Annotated[UseSpec, BeforeValidator(_use, json_schema_input_type=str | UseSpec)]] | None = (
        Field(None, description="What it calls, by name or in full; left out: it may call every service.")
    )
    health: Health = Field(Health.PASSING, strict=False, description="Critical ones get no traffic at all.")
    weight: Annotated[int, Field(ge=1, le=65535)] = Field(
        1, description="Relative to the others of a service."
    )
    network: str = Field("", description="Empty for the mesh's one flat network.")
    outbound_port: Port = Field(
        OUTBOUND_PORT,
        description="Where its sidecar takes HTTP by host name, and all that is intercepted on its way out.",
    )
    interception: InterceptionSpec | None = Field(
        None,
        description="Set, if only to {}, where `meshwright intercept` runs: what its sidecar listens on for that.",
    )
    gateway: Name | None = Field(
        None,
        description="The Gateway of its own namespace that its proxy plays; it needs no services and ports then.",
    )
    clusters: Literal["all", "onDemand"] | None = Field(
        None,
        description="What its proxy is given of the services that it may call: all clusters, or the cluster of each when a request needs "
        "it first; by default as the setting `clusters` says.",
    )


class WorkloadDocument(Envelope):
    """One instance. Consul and Kubernetes provide these by themselves."""

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["Workload"]
    spec: WorkloadSpec

    def problems(self) -> Iterator[Problem]:
        spec, ports = self.spec, ("spec", "ports")
        yield from repeated(("spec", "services"), "", spec.services, "service")
        yield from repeated(ports, "name", [port.name for port in spec.ports], "name")
        yield from repeated(ports, "sidecar", [port.sidecar for port in spec.ports], "sidecar port")
        if spec.meshed:
            yield from self._sidecar_problems()
        if spec.interception is not None:
            at = ("spec", "interception")
            if not spec.meshed:
                yield Problem(at, "there is no sidecar to send its traffic to", "Set meshed: true")
            yield from spec.interception.problems(at)
        if spec.gateway is not None:
            yield from self._gateway_problems()

    def _gateway_problems(self) -> Iterator[Problem]:
        """A proxy is a gateway's or an application's: one that was both would let outside and inside meet on its ports."""
        spec = self.spec
        for name, given in (
            ("services", spec.services),
            ("ports", spec.ports),
            ("uses", spec.uses),
            ("interception", spec.interception),
            ("clusters", spec.clusters),
        ):
            if given:
                yield Problem(
                    ("spec", name),
                    f"a workload that plays a gateway has no {name}: its listeners and routes say what it takes and calls",
                    f"Remove {name}, or declare another workload for it",
                )

    def _sidecar_problems(self) -> Iterator[Problem]:
        """Ports that its application and its sidecar, which share its address, would both listen on."""
        taken = {port.app: f"spec.ports[{place}].app" for place, port in enumerate(self.spec.ports)}
        listeners: list[tuple[Path, int | None]] = [
            *(
                (("spec", "ports", place, "sidecar"), port.sidecar)
                for place, port in enumerate(self.spec.ports)
            ),
            (("spec", "outboundPort"), self.spec.outbound_port),
            *(self.spec.interception.listeners() if self.spec.interception else ()),
            *(
                (("spec", "uses", place, "localPort"), use.local_port)
                for place, use in enumerate(self.spec.uses or ())
            ),
        ]
        sidecars: dict[int, str] = {}
        for path, number in listeners:
            if number is None:
                continue
            owner = taken.get(number) or sidecars.get(number)
            if owner is not None and not (path[1] == "ports" and owner.endswith(".sidecar")):
                yield Problem(path, f"port {number} is already taken by {owner}", "Use another port")
            sidecars.setdefault(number, show(path))

    def value(self, origin: tuple[str, ...]) -> Workload:
        spec, key = self.spec, self.metadata.key
        uses = None if spec.uses is None else tuple(_used(use, key.namespace) for use in spec.uses)
        return Workload(
            key=key,
            services=tuple(Key(key.namespace, service) for service in spec.services),
            service_account=spec.service_account or (spec.services[0] if spec.services else key.name),
            address=spec.address,
            ports=tuple(WorkloadPort(port.name, port.app, port.sidecar) for port in spec.ports),
            locality=Locality(spec.locality.region, spec.locality.zone, spec.locality.sub_zone),
            labels=labels(self.metadata.labels),
            meshed=spec.meshed or spec.gateway is not None,
            uses=uses,
            health=spec.health,
            weight=spec.weight,
            network=spec.network,
            outbound_port=spec.outbound_port,
            interception=spec.interception.value() if spec.interception else None,
            gateway=None if spec.gateway is None else Key(key.namespace, spec.gateway),
            on_demand=None if spec.clusters is None else spec.clusters == ON_DEMAND,
            origin=origin,
        )


def _used(use: UseSpec, own_namespace: str) -> Use:
    return Use(Key(use.namespace or own_namespace, use.service), use.port, use.local_port)


EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {name: api-3, labels: {version: v2}}
spec:
  services: [api]
  address: 127.0.0.9
  ports: [{name: http, app: 9003, sidecar: 15103}]
  locality: {region: eu, zone: a}
  meshed: true
  uses: [catalogue, {service: db, localPort: 5432}]
"""
