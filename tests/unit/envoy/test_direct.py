"""What leads to endpoints by their own addresses. What Envoy does with it: tests/feature/test_headless.py."""

from __future__ import annotations

from dataclasses import replace

from envoy import capture, clusters, routes
from envoy.seams import NO_LISTENER_POLICIES, NO_POLICIES, Parts, ServiceSeams
from mesh.direct import DirectView
from mesh.routes import Match, RouteKind
from mesh.rules import BackendView, RuleView
from mesh.targeting import RouteName
from mesh.views import ServiceView, service_view
from mesh.workload import WorkloadPort
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_components_pb2 import RouteAction
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from pb.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from pb.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from tests.support.builders import HTTP, a_key, a_port, a_service, a_state, a_workload

SQL = a_port("sql", 5432, "tcp")


def a_headless() -> ServiceView:
    ports = (WorkloadPort("sql", 15432), WorkloadPort("http", 8080))
    state = a_state(a_service("db", SQL, HTTP, headless=True), a_workload("db-0", ports=ports, meshed=True))
    return service_view(state, a_key("db"))


def a_listener(account: str | None = "db", *, http: bool = False) -> Listener:
    view = DirectView(a_key("db"), HTTP if http else SQL, "10.0.0.1", 15432, account)
    return capture.direct(view, NO_LISTENER_POLICIES)


def test_the_listener_is_of_that_address_and_leads_nowhere_else() -> None:
    made = a_listener()
    assert (made.name, made.bind_to_port.value) == ("direct/10.0.0.1:15432", False)
    assert made.address.socket_address.address == "10.0.0.1"
    assert made.address.socket_address.port_value == 15432
    assert not made.listener_filters, "a server may speak first"
    proxy = TcpProxy()
    assert made.filter_chains[0].filters[0].typed_config.Unpack(proxy)
    assert proxy.cluster == "default/db:5432/@db"


def test_who_may_not_serve_it_is_not_called() -> None:
    proxy = TcpProxy()
    assert a_listener(None).filter_chains[0].filters[0].typed_config.Unpack(proxy)
    assert proxy.cluster == "nowhere"


def test_http_goes_by_routes_of_its_own() -> None:
    manager = HttpConnectionManager()
    assert a_listener(http=True).filter_chains[0].filters[0].typed_config.Unpack(manager)
    assert manager.rds.route_config_name == "default/db:80/@db"


def test_the_cluster_is_wherever_the_call_was_going_and_whoever_answers_is_of_that_account() -> None:
    view = a_headless()
    ((account, identities),) = view.direct
    made = clusters.direct(view, SQL, account, identities)
    assert (made.type, made.lb_policy) == (Cluster.ORIGINAL_DST, Cluster.CLUSTER_PROVIDED)
    context = UpstreamTlsContext()
    assert made.transport_socket.typed_config.Unpack(context)
    assert context.sni == "5432.db.default.mesh.test"
    default = context.common_tls_context.combined_validation_context.default_validation_context
    assert [each.matcher.exact for each in default.match_typed_subject_alt_names] == [
        "spiffe://mesh.test/ns/default/sa/db"
    ]


def test_there_is_nothing_to_balance_but_limits_and_times_hold() -> None:
    said = Cluster()
    said.load_balancing_policy.policies.add().typed_extension_config.name = "ring"
    said.common_lb_config.healthy_panic_threshold.value = 0
    said.health_checks.add().timeout.seconds = 1
    said.outlier_detection.consecutive_5xx.value = 5
    said.connect_timeout.seconds = 2
    said.circuit_breakers.thresholds.add().max_connections.value = 7
    view = a_headless()
    made = clusters.direct(view, SQL, "db", ("spiffe://a/b",), Parts(cluster=said.SerializeToString()))
    assert not made.HasField("load_balancing_policy")
    assert not made.HasField("common_lb_config")
    assert not made.health_checks
    assert not made.HasField("outlier_detection")
    assert made.connect_timeout.seconds == 2
    assert made.circuit_breakers.thresholds[0].max_connections.value == 7


def test_without_rules_every_request_goes_to_the_endpoint_that_was_called() -> None:
    (host,) = routes.direct(a_headless(), HTTP, "db", NO_POLICIES).virtual_hosts
    assert list(host.domains) == ["*"]
    assert [each.route.cluster for each in host.routes] == ["default/db:80/@db"]


def test_times_of_policies_hold() -> None:
    said = RouteAction()
    said.timeout.seconds = 3
    seams = ServiceSeams(Parts(action=said.SerializeToString()))
    (host,) = routes.direct(a_headless(), HTTP, "db", seams).virtual_hosts
    assert host.routes[0].route.timeout.seconds == 3


def test_with_rules_the_name_of_the_service_means_them() -> None:
    rule = RuleView(RouteName(RouteKind.HTTP, a_key("r")), 0, Match(), (BackendView(a_key("api"), 80),))
    view = replace(a_headless(), routes=((80, (rule,)),))
    made = routes.direct(view, HTTP, "db", NO_POLICIES)
    named, other = made.virtual_hosts
    assert {"db", "db.default", "db.default.mesh", "db.default.svc", "db.default.svc.*"} <= {*named.domains}
    assert made.ignore_port_in_host_matching
    assert [each.route.cluster for each in named.routes] == ["default/api:80"]
    assert [each.route.cluster for each in other.routes] == ["default/db:80/@db"]
