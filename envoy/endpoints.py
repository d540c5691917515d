"""ClusterLoadAssignments. The fast lane: one is made for each change of an instance, and may hold a thousand.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/endpoint/v3/endpoint.proto
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy import names
from envoy.clusters import MTLS
from mesh.views import EndpointsView
from mesh.workload import Endpoint, Health, Locality
from pb.envoy.config.core.v3.health_check_pb2 import HEALTHY
from pb.envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint
from pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment


def load_assignment(view: EndpointsView) -> ClusterLoadAssignment:
    """The endpoints of one port, by locality. Addresses are IP addresses: sources resolve names, EDS takes none.

    A workload whose checks warn stays HEALTHY and has the weight that its registry gives it while it warns (in Consul
    `weights.warning`). DEGRADED would take all traffic from it at the first warning and put it on the others. A critical one is
    never sent, so that no panic threshold can bring it back.
    """
    return _assignment(view, view.endpoints)


def peers(view: EndpointsView | None) -> ClusterLoadAssignment:
    """The same for a proxy's own service, by the name that its bootstrap has for it (see `envoy.bootstrap`)."""
    made = ClusterLoadAssignment() if view is None else load_assignment(view)
    made.cluster_name = names.LOCAL_CLUSTER
    return made


def reachable_without_sidecar(view: EndpointsView) -> ClusterLoadAssignment:
    """The endpoints for gRPC clients that speak xDS themselves, and no mesh TLS: those without a sidecar, for the others
    would refuse them.

    Such a client divides its traffic among localities by weight, and ignores one without (gRFC A27); ours weigh what their
    endpoints do.
    """
    made = _assignment(view, (each for each in view.endpoints if not each.meshed))
    for group in made.endpoints:
        group.load_balancing_weight.value = sum(
            each.load_balancing_weight.value for each in group.lb_endpoints
        )
    return made


def _assignment(view: EndpointsView, endpoints: Iterable[Endpoint]) -> ClusterLoadAssignment:
    made = ClusterLoadAssignment(cluster_name=names.cluster(view.service, view.port.port, view.subset))
    by_locality: dict[Locality, list[Endpoint]] = {}
    for each in endpoints:
        if each.health is not Health.CRITICAL:
            by_locality.setdefault(each.locality, []).append(each)
    # What many endpoints have in common is encoded once and merged into each.
    common: dict[tuple[int, bool], bytes] = {}
    placements = {each.locality: each for each in view.placements}
    if view.overprovisioning is not None:
        made.policy.overprovisioning_factor.value = view.overprovisioning
    # Sorted, so that the order of the groups does not depend on who comes first.
    for locality in sorted(by_locality):
        group = made.endpoints.add()
        group.locality.region = locality.region
        group.locality.zone = locality.zone
        group.locality.sub_zone = locality.sub_zone
        placement = placements.get(locality)
        if placement is not None:
            group.priority = placement.priority
            if placement.weight:
                group.load_balancing_weight.value = placement.weight
        add = group.lb_endpoints.add
        for each in by_locality[locality]:
            kind = each.weight, each.meshed
            encoded = common.get(kind)
            if encoded is None:
                encoded = common[kind] = _common(*kind)
            # No keyword arguments here: in upb they cost three times as much as building in place.
            added = add()
            added.MergeFromString(encoded)
            address = added.endpoint.address.socket_address
            address.address = each.address
            address.port_value = each.port
    return made


def _common(weight: int, meshed: bool) -> bytes:
    made = LbEndpoint(health_status=HEALTHY)
    made.load_balancing_weight.value = weight
    if meshed:
        made.metadata.filter_metadata["envoy.transport_socket_match"][MTLS] = True
    return made.SerializeToString(deterministic=True)
