"""A cluster: how requests are spread over its endpoints, which there are, and how they are spoken to."""

from __future__ import annotations

from dataclasses import dataclass

from envoy import names
from envoy.clusters import UNLIMITED
from explain.answer import Source, Step
from explain.sight import Sight, listed
from explain.wording import duration
from mesh.names import Key
from mesh.policy import Place
from mesh.state import MeshState
from mesh.workload import Health, Workload, endpoint
from pb.envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.core.v3.base_pb2 import TransportSocket
from pb.envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint
from pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from pb.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext

MATCHED_BY = "envoy.transport_socket_match"
POLICIES = ("LoadBalancing", "CircuitBreaker", "OutlierDetection", "HealthCheck")
"""What is said of a cluster, by kind."""


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint. `workload`: whose it is, where the state knows. `tls`: how it is spoken to; None: in plaintext."""

    address: str
    port: int
    workload: Key | None
    tls: UpstreamTlsContext | None
    locality: str
    priority: int
    weight: int


def targets(cluster: Cluster, assignment: ClusterLoadAssignment, state: MeshState) -> tuple[Target, ...]:
    """The endpoints of the first priority that has some: while they are healthy, they take everything."""
    owners = _owners(cluster.name, state)
    found = []
    for group in assignment.endpoints:
        place = "/".join(
            each for each in (group.locality.region, group.locality.zone, group.locality.sub_zone) if each
        )
        for each in group.lb_endpoints:
            address = each.endpoint.address.socket_address
            at = (address.address, address.port_value)
            weight = each.load_balancing_weight.value or 1
            tls = _tls(_socket(cluster, each))
            found.append(Target(*at, owners.get(at), tls, place, group.priority, weight))
    first = min((each.priority for each in found), default=0)
    return tuple(each for each in found if each.priority == first)


def described(cluster: Cluster, sight: Sight) -> Step:
    """How requests are spread, and the limits on the way, each with what said so."""
    called = names.called(cluster.name)
    place = Place(called[0].namespace, called[0]) if called is not None else None
    connect = sight.blame.merged("TimeoutPolicy", place).get("connect") if place is not None else None
    why = "" if connect is None else f": {connect.source}"
    details = [
        f"load balancing: {_balancing(cluster)}",
        f"connect timeout {duration(cluster.connect_timeout)}{why}",
    ]
    details.extend(_limits(cluster))
    if cluster.HasField("outlier_detection"):
        details.append("endpoints that fail are taken out for a while (outlier detection)")
    details.extend("endpoints are checked by the caller itself (health check)" for _ in cluster.health_checks)
    sources: list[Source] = [] if connect is None else [connect.source]
    if called is not None:
        for kind in POLICIES:
            sources.extend(sight.blame.of(kind, place))
        sources.extend(sight.blame.provenance.service(called[0]))
        if called[2]:
            subsets = sight.blame.state.subsets_of(called[0])
            sources.extend(
                sight.blame.policy("ServiceSubset", each.key, "spec", "labels")
                for each in subsets
                if each.key.name == called[2]
            )
    return sight.step("cluster", cluster.name, tuple(details), tuple(sources))


def endpoints(cluster: str, found: tuple[Target, ...], sight: Sight) -> Step:
    """Who they are, and who is left out."""
    details = [_shown(each) for each in found[:5]]
    if len(found) > 5:
        details.append(f"and {len(found) - 5} more")
    called = names.called(cluster)
    left_out = _critical(sight.blame.state, called[0]) if called is not None else ()
    if left_out:
        details.append(f"left out, for they are critical: {listed(left_out)}")
    further = "" if not found or not found[0].priority else f", of priority {found[0].priority}"
    count = f"{len(found)} endpoint{'' if len(found) == 1 else 's'}{further}"
    return sight.step("endpoints", count if found else "there is none", tuple(details))


def missing(cluster: str, state: MeshState) -> tuple[str, str]:
    """Why a cluster has no endpoint, and the way out."""
    called = names.called(cluster)
    if called is None:
        return f"cluster {cluster} has no endpoint", "Look at who is behind it"
    key, number, subset = called
    service = state.services.get(key)
    if service is None:
        return f"there is no service {key}", f"Declare service {key}, or change what leads there"
    port = next((each for each in service.ports if each.port == number), None)
    if port is None:
        numbers = ", ".join(f"{each.port} ({each.name})" for each in service.ports)
        return f"service {key} has no port {number}", f"Its ports are {numbers}"
    members = [state.workloads[each] for each in state.members.get(key, ())]
    if not members:
        return f"no workload serves {key}", f"Start one, or look why it is not registered as {key}"
    serving = [each for each in members if endpoint(each, key, port) is not None]
    if not serving:
        named = listed(tuple(str(each.key) for each in members))
        return f"no workload of {key} has a port {port.name}", f"Add a port of that name to {named}"
    left_out = _critical(state, key)
    if len(left_out) == len(serving):
        why = f"all workloads of {key} are critical: {listed(left_out)}"
        return why, "Look at the checks that the registry runs on them"
    if subset:
        wanted = next((dict(each.labels) for each in state.subsets_of(key) if each.key.name == subset), {})
        labels = ", ".join(f"{name}={value}" for name, value in wanted.items())
        return (
            f"no healthy workload of {key} has the labels of subset {subset}: {labels}",
            "Give a workload these labels, or change the subset",
        )
    return f"no endpoint of {key} can be reached from here", "Look at the policies of its load balancing"


def secured(found: Target, sight: Sight, caller: Workload) -> Step:
    """How an endpoint is spoken to, and what it has to prove."""
    if found.tls is None:
        why = "the endpoint is called without mesh TLS" if caller.meshed else "the caller has no sidecar"
        return sight.step("transport", f"plaintext: {why}")
    accepted = tuple(
        each.matcher.exact
        for each in found.tls.common_tls_context.combined_validation_context.default_validation_context.match_typed_subject_alt_names
    )
    named = f", and must be {' or '.join(accepted[:3])}" if accepted else ""
    return sight.step("transport", f"TLS for {found.tls.sni or found.address}{named}")


def _socket(cluster: Cluster, of: LbEndpoint) -> TransportSocket:
    said = of.metadata.filter_metadata.get(MATCHED_BY)
    for each in cluster.transport_socket_matches:
        if all(
            said is not None and name in said.fields and said.fields[name] == value
            for name, value in each.match.fields.items()
        ):
            return each.transport_socket
    return cluster.transport_socket


def _tls(socket: TransportSocket) -> UpstreamTlsContext | None:
    packed = socket.typed_config
    return UpstreamTlsContext.FromString(packed.value) if packed.Is(UpstreamTlsContext.DESCRIPTOR) else None


def _owners(cluster: str, state: MeshState) -> dict[tuple[str, int], Key]:
    called = names.called(cluster)
    service = state.services.get(called[0]) if called is not None else None
    port = (
        next((each for each in service.ports if called and each.port == called[1]), None) if service else None
    )
    found: dict[tuple[str, int], Key] = {}
    if called is not None and port is not None:
        for member in state.members.get(called[0], ()):
            at = endpoint(state.workloads[member], called[0], port)
            if at is not None:
                found[at.address, at.port] = member
    return found


def _critical(state: MeshState, service: Key) -> tuple[str, ...]:
    """Those that get no traffic: their checks are critical, or their proxies leave, which counts as much."""
    members = (state.workloads[each] for each in state.members.get(service, ()))
    return tuple(
        f"{each.key} (its proxy leaves)" if each.key in state.leaving else str(each.key)
        for each in members
        if each.health is Health.CRITICAL
    )


def _balancing(cluster: Cluster) -> str:
    if cluster.HasField("load_balancing_policy"):
        policies = (each.typed_extension_config for each in cluster.load_balancing_policy.policies)
        return ", ".join(each.name.rpartition(".")[2].replace("_", " ") for each in policies)
    return Cluster.LbPolicy.Name(cluster.lb_policy).lower().replace("_", " ")


def _limits(cluster: Cluster) -> list[str]:
    said: list[str] = []
    for each in cluster.circuit_breakers.thresholds:
        if each.priority:
            continue
        for name in ("max_connections", "max_pending_requests", "max_requests", "max_retries"):
            limit = _limit(each, name)
            if limit is not None:
                said.append(f"circuit breaker: {name.replace('_', ' ')} {limit}")
        if each.HasField("retry_budget"):
            said.append(f"retries at once: {each.retry_budget.budget_percent.value:g} % of the requests")
    return said


def _limit(of: CircuitBreakers.Thresholds, name: str) -> int | None:
    field = {
        "max_connections": of.max_connections,
        "max_pending_requests": of.max_pending_requests,
        "max_requests": of.max_requests,
        "max_retries": of.max_retries,
    }[name]
    return field.value if field.value not in {0, UNLIMITED} else None


def _shown(each: Target) -> str:
    whose = f"{each.workload} at " if each.workload is not None else ""
    place = f", {each.locality}" if each.locality else ""
    weight = f", weight {each.weight}" if each.weight != 1 else ""
    return f"{whose}{each.address}:{each.port}{place}{weight}"
