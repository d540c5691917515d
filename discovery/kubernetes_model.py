"""What is kept of Kubernetes' objects: a tenth of what they are. Pure.

Objects of the built-in kinds were checked by the API server; fields are read as
https://kubernetes.io/docs/reference/kubernetes-api/ has them, and what is missing is what the API says it then means.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kube.resource import Object
from mesh.service import Labels

PREFIX = "meshwright.dev/"
SIDECAR = "meshwright-proxy"
"""The container by which a pod is in the mesh."""
GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"
SERVICE_LABEL = "kubernetes.io/service-name"
REGION_LABEL = "topology.kubernetes.io/region"
ZONE_LABEL = "topology.kubernetes.io/zone"
_ON_DEMAND: Final[Mapping[str, bool]] = {"onDemand": True, "all": False}
NO_ADDRESS = "None"
"""What a headless Service has for its address."""


@dataclass(frozen=True, slots=True)
class KubePort:
    """A port of a Service. `name` may be empty where it is the only one; `speaks` is its `appProtocol`."""

    name: str
    number: int
    transport: str
    speaks: str


@dataclass(frozen=True, slots=True)
class KubeService:
    """`addresses` are its cluster IPs, the first of them its main one; none for a headless Service. `outside`: its `externalName`,
    empty but for those of type ExternalName. `gateway`: it leads to a gateway's proxies.
    """

    addresses: tuple[str, ...]
    ports: tuple[KubePort, ...]
    outside: str = ""
    labels: Labels = ()
    gateway: bool = False


@dataclass(frozen=True, slots=True)
class SliceEndpoint:
    """`pod` is empty for an address that is no pod's. `ready`, `serving` and `terminating` as the conditions of these names."""

    address: str
    pod: str
    node: str
    zone: str
    ready: bool
    serving: bool
    terminating: bool


@dataclass(frozen=True, slots=True)
class Slice:
    """An EndpointSlice of `service`. `ports`: the number behind each named port. `family`: IPv4, IPv6 or FQDN."""

    service: str
    family: str
    ports: tuple[tuple[str, int], ...]
    endpoints: tuple[SliceEndpoint, ...]


@dataclass(frozen=True, slots=True)
class Passed:
    """The ports of a pod that are not intercepted, as its annotations say: `excluded`, or all but `included` where that is not empty."""

    excluded: tuple[int, ...] = ()
    included: tuple[int, ...] = ()

    def covers(self, port: int) -> bool:
        return port in self.excluded or (bool(self.included) and port not in self.included)


NOTHING_PASSED = Passed()


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that has an address and has not ended. `gateway`: the Gateway that its proxy plays, of its own namespace. `uses`: the services
    that it calls, `<name>` or `<namespace>/<name>`; None: all. `on_demand`: see `Workload`.
    """

    address: str
    service_account: str
    node: str
    labels: Labels
    meshed: bool = False
    gateway: str = ""
    passed: Passed = NOTHING_PASSED
    uses: tuple[str, ...] | None = None
    on_demand: bool | None = None


@dataclass(frozen=True, slots=True)
class Node:
    region: str
    zone: str


def keep_service(value: Object) -> KubeService | None:
    spec, metadata = value.get("spec") or {}, value["metadata"]
    found = metadata.get("labels") or {}
    addresses = tuple(spec.get("clusterIPs") or filter(None, (spec.get("clusterIP"),)))
    return KubeService(
        addresses=() if NO_ADDRESS in addresses else addresses,
        ports=tuple(_port(each) for each in spec.get("ports") or ()),
        outside=spec.get("externalName") or "" if spec.get("type") == "ExternalName" else "",
        labels=_labels(found),
        gateway=GATEWAY_LABEL in found or GATEWAY_LABEL in (spec.get("selector") or {}),
    )


def keep_slice(value: Object) -> Slice | None:
    service = (value["metadata"].get("labels") or {}).get(SERVICE_LABEL)
    if not service:
        return None  # nobody's: made by hand for something else
    return Slice(
        service=sys.intern(service),
        family=sys.intern(value.get("addressType") or ""),
        # A port without a number means all ports, which no Service has.
        ports=tuple(
            sorted(
                (sys.intern(each.get("name") or ""), each["port"])
                for each in value.get("ports") or ()
                if each.get("port") is not None
            )
        ),
        endpoints=tuple(_endpoint(each) for each in value.get("endpoints") or () if each.get("addresses")),
    )


def keep_pod(value: Object) -> Pod | None:
    spec, status, metadata = value.get("spec") or {}, value.get("status") or {}, value["metadata"]
    if not status.get("podIP") or status.get("phase") in {"Succeeded", "Failed"}:
        return None
    found = metadata.get("labels") or {}
    # One on its node's own network shares its address with others, whose traffic must not be its sidecar's.
    sidecar = not spec.get("hostNetwork") and any(
        each.get("name") == SIDECAR
        for each in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    )
    annotations = (metadata.get("annotations") or {}) if sidecar else {}
    return Pod(
        address=status["podIP"],
        service_account=sys.intern(spec.get("serviceAccountName") or "default"),
        node=sys.intern(spec.get("nodeName") or ""),
        labels=_labels(found),
        meshed=sidecar,
        gateway=found.get(GATEWAY_LABEL, "") if sidecar else "",
        passed=_passed(annotations),
        uses=_uses(annotations.get(f"{PREFIX}uses")),
        on_demand=_ON_DEMAND.get(annotations.get(f"{PREFIX}clusters", "")),
    )


def keep_node(value: Object) -> Node:
    found = value["metadata"].get("labels") or {}
    return Node(region=found.get(REGION_LABEL, ""), zone=found.get(ZONE_LABEL, ""))


def keep_namespace(value: Object) -> Labels:
    return _labels(value["metadata"].get("labels") or {})


def _port(value: Mapping[str, Any]) -> KubePort:
    return KubePort(
        name=sys.intern(value.get("name") or ""),
        number=value["port"],
        transport=sys.intern(value.get("protocol") or "TCP"),
        speaks=sys.intern(value.get("appProtocol") or ""),
    )


def _endpoint(value: Mapping[str, Any]) -> SliceEndpoint:
    conditions, target = value.get("conditions") or {}, value.get("targetRef") or {}
    ready = conditions.get("ready")
    serving = conditions.get("serving")
    return SliceEndpoint(
        address=value["addresses"][0],  # several mean the same endpoint
        pod=target.get("name", "") if target.get("kind") == "Pod" else "",
        node=sys.intern(value.get("nodeName") or ""),
        zone=sys.intern(value.get("zone") or ""),
        # Unknown means true for both: https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions
        ready=ready is None or bool(ready),
        serving=bool(ready is None or ready) if serving is None else bool(serving),
        terminating=bool(conditions.get("terminating")),
    )


def _passed(annotations: Mapping[str, str]) -> Passed:
    """What is no number is left out here: the webhook refuses it when the pod is made."""

    def ports(name: str) -> tuple[int, ...]:
        parts = (part.strip() for part in annotations.get(PREFIX + name, "").split(","))
        return tuple(sorted({int(part) for part in parts if part.isdecimal()}))

    excluded, included = ports("exclude-inbound-ports"), ports("include-inbound-ports")
    return Passed(excluded, included) if excluded or included else NOTHING_PASSED


def _uses(text: str | None) -> tuple[str, ...] | None:
    """An empty annotation means none. What is no name is left out here: the webhook refuses it when the pod is made."""
    if text is None:
        return None
    names = {part.strip() for part in text.split(",")}
    return tuple(sorted(each for each in names if each and all(each.split("/"))))


def _labels(found: Mapping[str, str]) -> Labels:
    return tuple(sorted((sys.intern(name), sys.intern(value)) for name, value in found.items()))
