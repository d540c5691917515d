"""What of the objects that were made for Gateways must be known: whether they are as they were made, and how far they are. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from kube.resource import Object
from mesh.names import Key, is_address
from meshwright.kubernetes.gateway_manifests import MANAGED_BY, US

LABELS: Final = f"{MANAGED_BY}={US}"
"""Chooses them."""


@dataclass(frozen=True, slots=True)
class Kept:
    """`spec`: a text that is another one when somebody has changed it. `gateway`: the one that owns it, `owner` its uid. `available`: pods
    that take traffic. `cluster_ip`, and `given`: addresses of a Service, the latter by a load balancer.
    """

    gateway: Key
    owner: str
    uid: str
    spec: str
    available: int = 0
    cluster_ip: str = ""
    given: tuple[str, ...] = ()


def kept(found: Object) -> Kept | None:
    """None for what no Gateway owns."""
    metadata, status = found["metadata"], found.get("status") or {}
    owners = metadata.get("ownerReferences") or ()
    owner = next((each for each in owners if each.get("kind") == "Gateway"), None)
    if owner is None:
        return None
    spec = found.get("spec") or {}
    ingress = (status.get("loadBalancer") or {}).get("ingress") or ()
    given = (each.get("ip") or each.get("hostname") for each in ingress)
    said = (metadata.get("generation"), metadata.get("labels"), _said(spec))
    cluster_ip = spec.get("clusterIP") or ""
    return Kept(
        gateway=Key(metadata["namespace"], owner["name"]),
        owner=owner["uid"],
        uid=metadata["uid"],
        spec=repr(said),
        available=status.get("availableReplicas") or 0,
        cluster_ip=cluster_ip if is_address(cluster_ip) else "",  # a headless Service has `None` there
        given=tuple(each for each in given if each),
    )


def _said(spec: dict[str, Any]) -> object:
    """Of a Service, which has no generation."""
    return spec.get("type"), spec.get("selector"), spec.get("ports")
