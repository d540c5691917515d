from __future__ import annotations

from datetime import timedelta

from envoy import routes
from envoy.seams import Retries, RouteFilter, RouteSettings
from mesh.service import ServicePort
from mesh.views import ServiceView, service_view
from pb.envoy.config.route.v3.route_components_pb2 import RouteAction
from tests.support.builders import a_key, a_port, a_service, a_state


def view(*ports: ServicePort) -> ServiceView:
    return service_view(a_state(a_service("api", *ports)), a_key("api"))


def action(seen: ServiceView, settings: RouteSettings) -> RouteAction:
    made = routes.by_authority(seen, settings)
    assert made is not None
    return made.virtual_hosts[0].routes[0].route


def test_the_ports_of_a_service_are_told_apart_by_authority() -> None:
    made = routes.by_authority(
        view(a_port("http", 80), a_port("admin", 8080), a_port("raw", 1, "tcp")), RouteSettings()
    )
    assert made is not None
    assert made.name == "default/api"
    found = {host.name: set(host.domains) for host in made.virtual_hosts}
    assert set(found) == {"default/api:80", "default/api:8080"}
    assert {"api", "api:80", "api.mesh", "api.default.mesh:80"} <= found["default/api:80"]
    assert "api.mesh" not in found["default/api:8080"]
    assert not found["default/api:80"] & found["default/api:8080"]


def test_a_service_without_http_has_no_routes() -> None:
    seen = view(a_port("raw", 5432, "tcp"))
    assert routes.by_authority(seen, RouteSettings()) is None
    assert list(routes.by_port(seen, RouteSettings())) == []


def test_a_listener_of_its_own_takes_any_authority() -> None:
    made = list(routes.by_port(view(a_port("http", 80), a_port("admin", 8080)), RouteSettings()))
    assert [each.name for each in made] == ["default/api:80", "default/api:8080"]
    assert [list(each.virtual_hosts[0].domains) for each in made] == [["*"], ["*"]]


def test_unless_asked_for_there_is_no_timeout_and_only_safe_retries_on_another_endpoint() -> None:
    made = action(view(), RouteSettings())
    assert made.HasField("timeout")
    assert made.timeout.ToTimedelta() == timedelta(0)
    assert made.retry_policy.retry_on == "connect-failure,refused-stream,reset-before-request"
    assert made.retry_policy.num_retries.value == 2
    assert [each.name for each in made.retry_policy.retry_host_predicate] == [routes.PREVIOUS_HOSTS]


def test_a_policy_sets_timeout_retries_and_the_configuration_of_filters() -> None:
    settings = RouteSettings(
        timedelta(milliseconds=250), Retries(("5xx",), 3), (RouteFilter("f", "t/x", b"b"),)
    )
    made = action(view(), settings)
    assert made.timeout.ToTimedelta() == timedelta(milliseconds=250)
    assert (made.retry_policy.retry_on, made.retry_policy.num_retries.value) == ("5xx", 3)
    whole = routes.by_authority(view(), settings)
    assert whole is not None
    assert whole.virtual_hosts[0].routes[0].typed_per_filter_config["f"].type_url == "t/x"


def test_no_retries_is_a_choice() -> None:
    assert not action(view(), RouteSettings(retries=None)).HasField("retry_policy")
