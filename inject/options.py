"""What the sidecars of a mesh have in common; annotations of a pod change it for that pod."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Interception(StrEnum):
    """Who has the kernel hand the pod's connections to its sidecar."""

    INIT = "init"
    """An init container with the capabilities NET_ADMIN and NET_RAW."""
    NONE = "none"
    """Somebody else, a CNI plugin for example: with the rules that `meshwright intercept` would make."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Quantities as Kubernetes writes them; empty: none is asked for."""

    cpu: str = "20m"
    memory: str = "192Mi"
    cpu_limit: str = ""
    memory_limit: str = "1Gi"


@dataclass(frozen=True, slots=True)
class InjectOptions:
    """`image` is Meshwright's own. Addresses are `host:port` as pods reach the control plane.

    `cluster` is the name by which the control plane knows the cluster of the pod, whose API server vouches for its token. `lifetime` of
    the token, `leave_patience` (what callers get to hear that a pod ends) and `drain_time` (what their last connections get then) are in
    seconds. `concurrency`: Envoy's worker threads; more use the CPUs of a large node, and memory.
    """

    image: str
    control_plane: str = "meshwright.meshwright-system.svc:15010"
    join: str = "meshwright.meshwright-system.svc:15011"
    trust_domain: str = "mesh.local"
    cluster: str = "kubernetes"
    audience: str = "meshwright"
    lifetime: int = 3600
    pull_policy: str = ""
    pull_secrets: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)
    concurrency: int = 2
    interception: Interception = Interception.INIT
    dns: bool = False
    rewrite_probes: bool = True
    leave_patience: int = 10
    drain_time: int = 5
    log_level: str = "info"


@dataclass(frozen=True, slots=True)
class Passed:
    """What of a pod is not intercepted, as the options of `meshwright intercept` of these names."""

    exclude_inbound_ports: tuple[int, ...] = ()
    include_inbound_ports: tuple[int, ...] = ()
    exclude_inbound_cidrs: tuple[str, ...] = ()
    exclude_outbound_ports: tuple[int, ...] = ()
    exclude_outbound_cidrs: tuple[str, ...] = ()
    include_outbound_cidrs: tuple[str, ...] = ()
