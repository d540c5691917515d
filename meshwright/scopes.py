"""The scopes of resources that streams are given: values, so that proxies which see the same share one."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.names import Key
from mesh.views import InboundView, OutboundListenersView, OutboundScope


@dataclass(frozen=True, slots=True)
class Outbound:
    """What callers with one view of the mesh see of it: clusters, endpoints, scoped routes and routes."""

    view: OutboundScope


@dataclass(frozen=True, slots=True)
class Proxyless:
    """The same for gRPC clients that speak xDS themselves, in the form that they understand (gRFC A27)."""

    view: OutboundScope


@dataclass(frozen=True, slots=True)
class Local:
    """What a sidecar listens on. Keyed by the whole input, so equal sidecars share listeners and inbound clusters."""

    listeners: OutboundListenersView
    inbound: InboundView


@dataclass(frozen=True, slots=True)
class Secrets:
    """The keys of one workload: given to the streams that have proved to be it, to nobody else."""

    workload: Key


@dataclass(frozen=True, slots=True)
class Undiscovered:
    """Never published: the streams of a workload that no source has named yet wait in it."""

    workload: Key


Scope = Outbound | Proxyless | Local | Secrets | Undiscovered
