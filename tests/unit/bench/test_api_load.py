from __future__ import annotations

from bench.api_load import between, parse

BEFORE = """
# TYPE apiserver_flowcontrol_dispatched_requests_total counter
apiserver_flowcontrol_dispatched_requests_total{flow_schema="exempt",priority_level="exempt"} 463
apiserver_flowcontrol_dispatched_requests_total{flow_schema="service-accounts",priority_level="workload-low"} 2
# TYPE apiserver_request_total counter
apiserver_request_total{code="200",component="apiserver",group="",resource="services",scope="cluster",verb="LIST",version="v1"} 3
# TYPE apiserver_response_sizes histogram
apiserver_response_sizes_bucket{group="",le="+Inf",resource="services",scope="cluster",verb="LIST",version="v1"} 3
apiserver_response_sizes_sum{group="",resource="services",scope="cluster",verb="LIST",version="v1"} 1000
apiserver_response_sizes_count{group="",resource="services",scope="cluster",verb="LIST",version="v1"} 3
"""
AFTER = """
# TYPE apiserver_flowcontrol_dispatched_requests_total counter
apiserver_flowcontrol_dispatched_requests_total{flow_schema="exempt",priority_level="exempt"} 600
apiserver_flowcontrol_dispatched_requests_total{flow_schema="service-accounts",priority_level="workload-low"} 7
# TYPE apiserver_request_total counter
apiserver_request_total{code="200",component="apiserver",group="",resource="services",scope="cluster",verb="LIST",version="v1"} 4
apiserver_request_total{code="200",component="apiserver",group="meshwright.dev",resource="services",scope="cluster",verb="LIST",version="v1alpha1"} 1
apiserver_request_total{code="200",component="apiserver",group="coordination.k8s.io",resource="leases",scope="cluster",verb="LIST",version="v1"} 9
apiserver_request_total{code="200",component="apiserver",group="",resource="pods",scope="cluster",verb="WATCH",version="v1"} 5
# TYPE apiserver_response_sizes histogram
apiserver_response_sizes_sum{group="",resource="services",scope="cluster",verb="LIST",version="v1"} 51000
apiserver_response_sizes_sum{group="meshwright.dev",resource="services",scope="cluster",verb="LIST",version="v1alpha1"} 120
# TYPE apiserver_watch_events_sizes histogram
apiserver_watch_events_sizes_sum{group="discovery.k8s.io",resource="endpointslices",version="v1"} 4000
apiserver_watch_events_sizes_count{group="discovery.k8s.io",resource="endpointslices",version="v1"} 4
"""


def test_what_moved_between_two_looks_is_told_by_resource_with_its_group() -> None:
    load = between(parse(BEFORE), parse(AFTER))
    assert load.requests == 5, "of the account alone"
    assert load.lists == {"services": 1, "services.meshwright.dev": 1}
    assert load.list_bytes == {"services": 50000, "services.meshwright.dev": 120}
    assert load.event_bytes == {"endpointslices.discovery.k8s.io": 1000}


def test_a_server_that_was_asked_nothing_has_no_load() -> None:
    load = between(parse(AFTER), parse(AFTER))
    assert (load.requests, load.lists, load.list_bytes, load.event_bytes) == (0, {}, {}, {})
