"""What `meshwright status` shows: the shape of its JSON. Times are ISO 8601 in UTC; ages and delays are seconds."""

from __future__ import annotations

from pydantic import Field

from api.shapes.shape import Shape


class Refusal(Shape):
    """A NACK: what a proxy refused, why in Envoy's words, and which documents or sources made it."""

    names: tuple[str, ...]
    message: str
    version: str
    age: float
    origin: tuple[str, ...]


class TypeStatus(Shape):
    """One type of resource at one proxy. `pending`: some of the names that are not acknowledged yet, `late` if for too long; `held_back`:
    names that it refused, until their content changes.
    """

    type: str
    subscribed: str
    sent: int
    acknowledged: int
    in_sync: bool
    late: bool
    pending: tuple[str, ...]
    held_back: tuple[str, ...]
    refused: Refusal | None


class Sees(Shape):
    """How much of the mesh a proxy is given. Sizes are bytes of configuration; memory is Envoy's for clusters, in bytes, about.

    With clusters on demand, it has `clusters` of the `of_clusters` that it may need.
    """

    services: int
    of_services: int
    size: int
    of_size: int
    memory: int
    of_memory: int
    clusters: int = 0
    of_clusters: int = 0


class ProxyStatus(Shape):
    """A proxy. `state`: connected, or waiting (no source has named its workload yet). `note`: what is odd about it. `sees`: None while it
    waits, and for what is no caller.
    """

    proxy: str
    state: str
    peer: str
    agent: str
    protocol: str
    connected_for: float
    types: tuple[TypeStatus, ...]
    note: str
    sees: Sees | None = None


class ServiceListing(Shape):
    """A service. `passing` of its `endpoints` take traffic."""

    service: str
    ports: tuple[str, ...]
    accounts: tuple[str, ...]
    endpoints: int
    passing: int
    source: str
    origin: tuple[str, ...]


class WorkloadListing(Shape):
    """A workload. `proxy`: connected, or empty."""

    workload: str
    services: tuple[str, ...]
    account: str
    address: str
    ports: tuple[str, ...]
    health: str
    meshed: bool
    proxy: str
    source: str
    origin: tuple[str, ...]


class Listing(Shape):
    services: tuple[ServiceListing, ...]
    workloads: tuple[WorkloadListing, ...]


class HoldStatus(Shape):
    service: str
    source: str
    endpoints: int
    reason: str
    held_for: float
    ends_in: float


class SourceState(Shape):
    """`state`: starting, live, failed or restored. `at`: the commit of documents that are in a working tree of Git."""

    source: str
    state: str
    since: float
    services: int
    workloads: int
    error: str | None
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    at: str | None = None


class ConditionStatus(Shape):
    """A condition of the Gateway API: `at` is the parent of a route, the target of a policy, or the listener of a gateway or of a set,
    empty for all of it.
    """

    at: str
    type: str
    status: bool
    reason: str
    message: str


class RouteStatus(Shape):
    """A route, `<kind> <namespace>/<name>`, with two conditions for each of its parents: Accepted and ResolvedRefs."""

    route: str
    conditions: tuple[ConditionStatus, ...]
    origin: tuple[str, ...]


class GatewayStatus(Shape):
    """A gateway. `workloads`: those that play it. `attached_routes`: how many each of its own listeners follows;
    `attached_listener_sets`: how many sets it has. `addresses`: what it says, else those of the workloads that play it.
    """

    gateway: str
    workloads: tuple[str, ...]
    conditions: tuple[ConditionStatus, ...]
    origin: tuple[str, ...]
    attached_routes: dict[str, int] = Field(default={})
    attached_listener_sets: int = 0
    addresses: tuple[str, ...] = ()


class ListenerSetStatus(Shape):
    """A ListenerSet: first two conditions of all of it, Accepted and Programmed, then those of its listeners."""

    listener_set: str
    gateway: str
    conditions: tuple[ConditionStatus, ...]
    origin: tuple[str, ...]
    attached_routes: dict[str, int] = Field(default={})


class BackendTlsStatus(Shape):
    """A BackendTLSPolicy, with two conditions for each of its targets: Accepted and ResolvedRefs."""

    policy: str
    conditions: tuple[ConditionStatus, ...]
    origin: tuple[str, ...]


class ReplicaStatus(Shape):
    """A control plane of several over one store: the newest revision that it has taken, and who of its proxies is behind, or refuses."""

    replica: str
    revision: int
    state: str
    proxies: int
    behind: tuple[str, ...]
    refusing: tuple[str, ...]


class Status(Shape):
    """`problems`: what is wrong, by subject. `quarantined` and `of_rollouts` are the subjects among them that were sent, but that proxies
    refused or that a rollout speaks of, `of_cluster` those of Kubernetes' objects that the mesh itself needs; what is said of all others was not
    sent.
    """

    version: str
    trust_domain: str
    ready: bool
    services: int
    workloads: int
    proxies: tuple[ProxyStatus, ...]
    sources: tuple[SourceState, ...]
    holds: tuple[HoldStatus, ...]
    problems: dict[str, str]
    notes: tuple[str, ...]
    conflicts: tuple[str, ...]
    certificates: dict[str, str]
    routes: tuple[RouteStatus, ...] = ()
    gateways: tuple[GatewayStatus, ...] = ()
    listener_sets: tuple[ListenerSetStatus, ...] = ()
    backend_tls: tuple[BackendTlsStatus, ...] = ()
    federated: dict[str, str] = Field(default={})
    replicas: tuple[ReplicaStatus, ...] = ()
    quarantined: tuple[str, ...] = ()
    of_rollouts: tuple[str, ...] = ()
    of_cluster: tuple[str, ...] = ()


class PlaintextCall(Shape):
    """Calls without mesh TLS from one address. `workloads`: those that have it. `spoken`: http, tcp, or tls, which is the application's own.
    `count`: requests of HTTP, else connections. `first` and `last`: how many seconds ago.
    """

    service: str
    port: int
    caller: str
    workloads: tuple[str, ...]
    spoken: str
    count: int
    first: float
    last: float


class UnstrictPort(Shape):
    """A port that takes calls without mesh TLS, in `modes` (more than one where its workloads differ). Of its `sidecars` so many are
    `connected`, and would tell. `last`: how many seconds ago such a call came; None: none since it is watched.
    """

    service: str
    port: int
    modes: tuple[str, ...]
    sidecars: int
    connected: int
    last: float | None


class PlaintextReport(Shape):
    """Who speaks plaintext to whom. `watched_for`: seconds; what came before is not known. `crowded_out`: callers that there was no room
    for. `replicas`: how many control planes there are; sidecars that are connected to another one tell that one of their callers.
    """

    watched_for: float
    crowded_out: int
    ports: tuple[UnstrictPort, ...]
    calls: tuple[PlaintextCall, ...]
    replicas: int = 1
