from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from envoy import route_actions, routes
from envoy.seams import NO_POLICIES, NOTHING, Parts, ServiceSeams
from mesh.rules import RuleView
from mesh.service import ServicePort
from mesh.views import ServiceView, service_view
from pb.envoy.config.core.v3.base_pb2 import Metadata
from pb.envoy.config.route.v3.route_components_pb2 import RetryPolicy, Route, RouteAction
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from tests.support.builders import a_key, a_port, a_service, a_state
from tests.support.route_envoy import a_backend, a_rule, prefix


def view(*ports: ServicePort) -> ServiceView:
    return service_view(a_state(a_service("api", *ports)), a_key("api"), "default")


def attached(seen: ServiceView, port: int, *rules: RuleView) -> ServiceView:
    return replace(seen, routes=((port, rules),))


def policies(action: RouteAction | None = None, route: Route | None = None) -> Parts:
    return Parts(
        action=(action or RouteAction()).SerializeToString(), route=(route or Route()).SerializeToString()
    )


def whole(seen: ServiceView, seams: ServiceSeams = NO_POLICIES) -> RouteConfiguration:
    made = routes.by_authority(seen, seams)
    assert made is not None
    return made


def action(seams: ServiceSeams = NO_POLICIES) -> RouteAction:
    return whole(view(), seams).virtual_hosts[0].routes[0].route


def test_the_ports_of_a_service_are_told_apart_by_authority() -> None:
    made = whole(view(a_port("http", 80), a_port("admin", 8080), a_port("raw", 1, "tcp")))
    assert made.name == "default/api"
    found = {host.name: set(host.domains) for host in made.virtual_hosts}
    assert set(found) == {"default/api:80", "default/api:8080"}
    assert {"api", "api:80", "api.mesh", "api.default.mesh:80"} <= found["default/api:80"]
    assert "api.mesh" not in found["default/api:8080"]
    assert not found["default/api:80"] & found["default/api:8080"]


def test_a_service_without_http_has_no_routes() -> None:
    seen = view(a_port("raw", 5432, "tcp"))
    assert routes.by_authority(seen, NO_POLICIES) is None
    assert list(routes.by_port(seen, NO_POLICIES)) == []


def test_a_listener_of_its_own_takes_any_authority() -> None:
    made = list(routes.by_port(view(a_port("http", 80), a_port("admin", 8080)), NO_POLICIES))
    assert [each.name for each in made] == ["default/api:80", "default/api:8080"]
    assert [list(each.virtual_hosts[0].domains) for each in made] == [["*"], ["*"]]


def test_a_port_without_routes_leads_to_itself_and_one_with_routes_where_they_say() -> None:
    seen = attached(view(a_port("http", 80), a_port("admin", 8080)), 80, a_rule(match=prefix("/x")))
    first, second = whole(seen).virtual_hosts
    assert [(each.name, each.match.path_separated_prefix) for each in first.routes] == [
        ("HTTPRoute default/r#0", "/x"),
        ("no-match", ""),
    ]
    assert first.routes[1].direct_response.status == 404
    assert [(each.name, each.match.prefix, each.route.cluster) for each in second.routes] == [
        ("default", "/", "default/api:8080")
    ]
    (by_port, _) = routes.by_port(seen, NO_POLICIES)
    assert list(by_port.virtual_hosts[0].routes) == list(first.routes)[:1]  # Envoy itself answers 404
    every = attached(view(), 80, a_rule(match=prefix("/x")), a_rule())
    assert "no-match" not in [each.name for each in whole(every).virtual_hosts[0].routes]


def test_unless_asked_for_there_is_no_timeout_and_only_safe_retries_on_another_endpoint() -> None:
    made = action()
    assert made.HasField("timeout")
    assert made.timeout.ToTimedelta() == timedelta(0)
    assert made.max_stream_duration.HasField("grpc_timeout_header_max")
    assert (
        made.retry_policy.retry_on == "connect-failure,refused-stream,reset-before-request,retriable-headers"
    )
    (header,) = made.retry_policy.retriable_headers
    assert (header.name, header.string_match.exact) == ("x-mesh-failure", "connect-failure")
    assert made.retry_policy.num_retries.value == 2
    assert [each.name for each in made.retry_policy.retry_host_predicate] == [route_actions.PREVIOUS_HOSTS]


def test_what_policies_say_is_kept_and_what_they_do_not_say_is_filled_in() -> None:
    said = RouteAction(retry_policy=RetryPolicy(retry_on="5xx"))
    route = Route(metadata=Metadata())
    route.typed_per_filter_config["f"].type_url = "t/x"
    seams = ServiceSeams(policies(said, route))
    made = action(seams)
    assert made.retry_policy == said.retry_policy
    assert made.HasField("timeout")
    assert whole(view(), seams).virtual_hosts[0].routes[0].typed_per_filter_config["f"].type_url == "t/x"

    said = RouteAction()
    said.timeout.FromMilliseconds(250)
    assert action(ServiceSeams(policies(said))).timeout.ToTimedelta() == timedelta(milliseconds=250)


def test_no_retries_is_a_choice() -> None:
    said = RouteAction()
    said.retry_policy.num_retries.value = 0
    assert action(ServiceSeams(policies(said))).retry_policy == said.retry_policy


def test_what_comes_in_goes_to_the_application_with_one_retry_for_a_connection_that_just_closed() -> None:
    made = routes.inbound(a_port(), "inbound/9001/http", NOTHING)
    (route,) = made.virtual_hosts[0].routes
    assert (route.name, route.match.prefix, route.route.cluster) == ("default", "/", "inbound/9001/http")
    assert (route.route.retry_policy.retry_on, route.route.retry_policy.num_retries.value) == (
        "reset-before-request",
        1,
    )
    said = RouteAction(retry_policy=RetryPolicy(retry_on="reset"))
    (route,) = routes.inbound(a_port(), "c", policies(said)).virtual_hosts[0].routes
    assert route.route.retry_policy == said.retry_policy


def test_equal_input_gives_equal_bytes() -> None:
    seen = attached(view(), 80, a_rule(a_backend("a"), a_backend("b", 3, problem="gone")))
    assert whole(seen).SerializeToString(deterministic=True) == whole(seen).SerializeToString(
        deterministic=True
    )
