"""From Kubernetes' Services, EndpointSlices, Pods and Nodes to the services and workloads of the mesh. Pure.

- A Service is the service of its namespace and name; its first cluster IP is its virtual address. A headless one has an address of the
  mesh's own, derived from its name, and its pods are called by theirs (`mesh/direct.py`). One of type ExternalName is a service outside,
  called by the host that it names. The Services of gateways are none: they lead to proxies, which callers reach as they would without
  a mesh.
- What a port speaks is its `appProtocol`, else what its name begins with (`http-metrics`), else TCP, as `assumed`
  (https://kubernetes.io/docs/concepts/services-networking/service/#application-protocol, and Istio's names of ports).
- A pod is the workload of its namespace and name, with the identity of its service account, whether or not a Service selects it. It
  serves what EndpointSlices say, and is critical while it is not ready. What ends is used only where nothing else of that
  service is ready, and only while it serves, as kube-proxy does
  (https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions). A pod of several services is used where it
  is ready for all of them: a sidecar is told of its ports before they are called, and a pod has one health.
- An endpoint that is no pod's is a workload without a sidecar, named after its service and address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from discovery.kubernetes_model import KubePort, KubeService, Node, Pod, Slice, SliceEndpoint
from mesh.errors import MeshError
from mesh.external import External
from mesh.interception import Interception
from mesh.names import Key, check_label, is_address, is_local
from mesh.service import Protocol, Service, ServicePort
from mesh.workload import Health, Locality, Use, Workload, WorkloadPort

_SPOKEN: Final[Mapping[str, Protocol]] = {
    "http": Protocol.HTTP,
    "http2": Protocol.HTTP2,
    "h2c": Protocol.HTTP2,
    "ws": Protocol.HTTP,
    "grpc": Protocol.GRPC,
    "grpc-web": Protocol.HTTP,
    "tls": Protocol.TLS,
    "https": Protocol.TLS,
    "wss": Protocol.TLS,
    "tcp": Protocol.TCP,
    "mongo": Protocol.TCP,
    "mysql": Protocol.TCP,
    "postgresql": Protocol.TCP,
    "redis": Protocol.TCP,
}
_KUBERNETES: Final = "kubernetes.io/"
"""Before names that Kubernetes defines itself: https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/3726-standard-application-protocols."""
_CLUSTER_NAMES: Final = (".svc", ".svc.cluster.local")
UNNAMED: Final = "main"
"""The name of a port that has none, and speaks nobody says what; as for services of Consul."""
INTERCEPTED: Final = Interception()
"""How every sidecar in a pod is set up: `meshwright.dev` annotations change what passes it by, not where it listens."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """A Service as the mesh has it: None if it is none of the mesh's. `names`: of its ports, by those that Kubernetes has."""

    service: Service | None = None
    names: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Served:
    """What one workload serves of one service, and whether it is to be called for that."""

    endpoint: SliceEndpoint
    ports: tuple[WorkloadPort, ...]
    usable: bool


def map_service(source: str, key: Key, found: KubeService) -> Mapped:
    """`source` is named as the origin of what it makes."""
    who = f"{source}: Service {key}"
    if found.gateway or not found.ports:
        return Mapped()
    try:
        check_label("service", key.name)
        check_label("namespace", key.namespace)
    except MeshError as error:
        return Mapped(warnings=(f"{who} is left out: {error}",))
    external: External | None = None
    if found.outside:
        host = found.outside.lower().rstrip(".")
        if host.endswith(_CLUSTER_NAMES) or is_address(host):
            hint = "call that Service by its own name" if not is_address(host) else "make it an EndpointSlice"
            return Mapped(
                warnings=(
                    f"{who} is left out: its externalName {host} is no host outside the cluster: {hint}",
                )
            )
        if is_local(host):
            return Mapped(
                warnings=(
                    f"{who} is left out: its externalName {host} is the proxy itself that would call it: name a host elsewhere",
                )
            )
        external = External((host,))
    ports, names, warnings = _ports(who, found.ports)
    if not ports:
        return Mapped(warnings=warnings)
    service = Service(
        key,
        ports,
        address=found.addresses[0] if found.addresses else None,
        labels=found.labels,
        external=external,
        headless=external is None and not found.addresses,
        reserved=found.addresses,
        origin=(who,),
    )
    return Mapped(service, names, warnings)


def serving(key: Key, found: KubeService, mapped: Mapped, slices: Iterable[Slice]) -> dict[str, Served]:
    """What the slices of a service say, by the names of workloads."""
    if mapped.service is None or mapped.service.external is not None:
        return {}
    names = dict(mapped.names)
    parts = _of_one_family(found, slices)
    endpoints = [each for part in parts for each in part.endpoints]
    # Where nobody is ready, what still serves while it ends is better than nobody.
    last = not any(each.ready for each in endpoints)
    served: dict[str, Served] = {}
    for part in parts:
        ports = tuple(WorkloadPort(names[name], number) for name, number in part.ports if name in names)
        for each in part.endpoints:
            usable = each.ready or (last and each.serving and each.terminating)
            name = each.pod or _unnamed(key, each)
            known = served.get(name)
            if known is not None:
                # In two slices for a moment, as it moves between them; or for ports that have other numbers in some pods.
                added = tuple(port for port in ports if port not in known.ports)
                served[name] = replace(known, ports=known.ports + added, usable=known.usable or usable)
            else:
                served[name] = Served(each, ports, usable)
    return served


def pod_workload(
    source: str, key: Key, pod: Pod, served: Mapping[Key, Served], node: Node | None
) -> Workload:
    """`served`: what it serves of each service."""
    if pod.gateway:
        return Workload(
            key=key,
            services=(),
            service_account=pod.service_account,
            address=pod.address,
            ports=(),
            locality=_locality(node, ""),
            labels=pod.labels,
            meshed=True,
            gateway=Key(key.namespace, pod.gateway),
            fronted=True,
            origin=(f"{source}: Pod {key}",),
        )
    zone = next((each.endpoint.zone for each in served.values()), "")
    ports = _merged(served)
    if pod.meshed and (pod.passed.excluded or pod.passed.included):
        ports = tuple(replace(each, passed=pod.passed.covers(each.app)) for each in ports)
    return Workload(
        key=key,
        services=tuple(sorted(served)),
        service_account=pod.service_account,
        address=pod.address,
        ports=ports,
        locality=_locality(node, zone),
        labels=pod.labels,
        meshed=pod.meshed,
        uses=_uses(key.namespace, pod.uses),
        health=_health(served),
        interception=INTERCEPTED if pod.meshed else None,
        on_demand=pod.on_demand,
        origin=(f"{source}: Pod {key}",),
    )


def other_workload(source: str, key: Key, service: Key, served: Served, node: Node | None) -> Workload:
    """An endpoint that is no pod's."""
    return Workload(
        key=key,
        services=(service,),
        service_account=service.name,
        address=served.endpoint.address,
        ports=served.ports,
        locality=_locality(node, served.endpoint.zone),
        health=_health({service: served}),
        origin=(f"{source}: EndpointSlices of {service}",),
    )


def spoken(port: KubePort) -> Protocol | None:
    """What a port speaks, if anybody says so."""
    said = port.speaks.lower()
    if said:
        # What we do not know is somebody's own protocol over TCP, and declared.
        return _SPOKEN.get(said.removeprefix(_KUBERNETES), Protocol.TCP)
    name = port.name.lower()
    return next(
        (
            _SPOKEN[prefix]
            for prefix in ("grpc-web", name.partition("-")[0])
            if prefix in _SPOKEN and (name == prefix or name.startswith(f"{prefix}-"))
        ),
        None,
    )


def _ports(
    who: str, found: Iterable[KubePort]
) -> tuple[tuple[ServicePort, ...], tuple[tuple[str, str], ...], tuple[str, ...]]:
    made: dict[int, ServicePort] = {}
    names: list[tuple[str, str]] = []
    warnings: list[str] = []
    # A number is one port of the mesh: where TCP and UDP share it, as for DNS, TCP has it, for datagrams pass sidecars by anyway.
    for port in sorted(found, key=lambda each: each.transport != "TCP"):
        if port.transport not in {"TCP", "UDP"}:
            warnings.append(f"{who}: port {port.number} is left out: Envoy knows no {port.transport}")
            continue
        if port.number in made:
            continue
        declared = Protocol.UDP if port.transport == "UDP" else spoken(port)
        name = port.name or (declared.value if declared else UNNAMED)
        made[port.number] = ServicePort(name, port.number, declared or Protocol.TCP, assumed=declared is None)
        names.append((port.name, name))
    return tuple(made[number] for number in sorted(made)), tuple(names), tuple(warnings)


def _of_one_family(found: KubeService, slices: Iterable[Slice]) -> list[Slice]:
    """Those of the family of the service's main address: the others have the same pods once more."""
    parts = list(slices)
    families = {each.family for each in parts if each.endpoints}
    if found.addresses:
        wanted = "IPv6" if ":" in found.addresses[0] else "IPv4"
        if wanted not in families and families:
            wanted = min(families - {"FQDN"}, default=wanted)
    else:
        wanted = "IPv4" if "IPv4" in families else "IPv6"
    return [each for each in parts if each.family == wanted]


def _merged(served: Mapping[Key, Served]) -> tuple[WorkloadPort, ...]:
    """The ports of a workload that serves all of these. Most serve one."""
    if len(served) <= 1:
        return next((each.ports for each in served.values()), ())
    numbers: dict[str, set[int]] = {}
    for each in served.values():
        for port in each.ports:
            numbers.setdefault(port.name, set()).add(port.app)
    made = {
        port if len(numbers[port.name]) == 1 else replace(port, service=service.name)
        for service, each in served.items()
        for port in each.ports
    }
    return tuple(sorted(made, key=lambda each: (each.name, each.service, each.app)))


def _uses(namespace: str, names: tuple[str, ...] | None) -> tuple[Use, ...] | None:
    """Services named by a pod: of its own namespace where they name none."""
    if names is None:
        return None
    return tuple(Use(Key.parse(each) if "/" in each else Key(namespace, each)) for each in names)


def _health(served: Mapping[Key, Served]) -> Health:
    return Health.PASSING if all(each.usable for each in served.values()) else Health.CRITICAL


def _locality(node: Node | None, zone: str) -> Locality:
    if node is None:
        return Locality(zone=zone) if zone else _NOWHERE
    return Locality(node.region, zone or node.zone)


_NOWHERE: Final = Locality()


def _unnamed(service: Key, endpoint: SliceEndpoint) -> str:
    address = endpoint.address.replace(".", "-").replace(":", "-").strip("-")
    return f"{service.name}.{address}"
