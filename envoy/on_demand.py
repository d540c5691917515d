"""Clusters on demand: a request that is led to a cluster which the proxy does not have waits until the cluster was asked for and has
come, with its endpoints.

The filter asks for the cluster that the chosen route names, of a split the one that was drawn; copies of a request and TCP go to what is
there. A request without a body is then treated from the start, so the filter stands last: a filter before it may choose another route,
and sees the first request to a cluster twice.
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/on_demand_updates_filter
"""

from __future__ import annotations

from dataclasses import replace

from envoy import packing
from envoy.seams import FilterOrder, HttpFilter, ListenerSeams, serialised
from pb.envoy.extensions.filters.http.on_demand.v3.on_demand_pb2 import OnDemand

ON_DEMAND = "envoy.filters.http.on_demand"
TIMEOUT = 3
"""Seconds that a request waits for its cluster at most: then it is answered with 503. A cluster that does not exist is answered at once;
this is for a control plane that is away, and for endpoints whose first health check takes long."""


def discovering(seams: ListenerSeams) -> ListenerSeams:
    """`seams` with the filter in whatever takes a workload's own calls by HTTP."""
    outbound = replace(seams.outbound, http_filters=(*seams.outbound.http_filters, _filter()))
    return replace(seams, outbound=outbound)


def _filter() -> HttpFilter:
    config = OnDemand()
    packing.from_ads(config.odcds.source)
    config.odcds.timeout.seconds = TIMEOUT
    return HttpFilter(FilterOrder.DISCOVERY, ON_DEMAND, packing.type_url(OnDemand), serialised(config))
