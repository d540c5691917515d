from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

import pb
from envoy import check as checking
from envoy.check import check
from envoy.errors import ConstraintViolation, InvalidConfiguration
from envoy.launcher import validate
from envoy.packing import pack
from pb.envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.core.v3.address_pb2 import Address
from pb.envoy.config.core.v3.base_pb2 import HeaderValue
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_components_pb2 import Route, RouteAction, VirtualHost
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from pb.envoy.type.v3.percent_pb2 import Percent
from tests.support import binaries


def a_cluster() -> Cluster:
    made = Cluster(name="a")
    made.connect_timeout.seconds = 1
    return made


def cluster_without_name() -> Cluster:
    made = a_cluster()
    made.name = ""
    return made


def cluster_with_connect_timeout_zero() -> Cluster:
    made = a_cluster()
    made.connect_timeout.seconds = 0
    return made


def cluster_with_unknown_policy() -> Cluster:
    made = a_cluster()
    made.lb_policy = 99  # type: ignore[assignment]
    return made


def cluster_with_port_out_of_range() -> Cluster:
    made = a_cluster()
    made.load_assignment.cluster_name = "a"
    endpoint = made.load_assignment.endpoints.add().lb_endpoints.add()
    endpoint.endpoint.address.socket_address.address = "127.0.0.1"
    endpoint.endpoint.address.socket_address.port_value = 70000
    return made


def cluster_with_weight_zero() -> Cluster:
    made = cluster_with_port_out_of_range()
    endpoint = made.load_assignment.endpoints[0].lb_endpoints[0]
    endpoint.endpoint.address.socket_address.port_value = 80
    endpoint.load_balancing_weight.value = 0
    return made


def cluster_with_nameless_transport_socket() -> Cluster:
    made = a_cluster()
    made.transport_socket.SetInParent()
    return made


REFUSED = [
    (cluster_without_name, "name", "at least 1 characters"),
    (cluster_with_connect_timeout_zero, "connect_timeout", "0 s is not gt 0 s"),
    (cluster_with_unknown_policy, "lb_policy", "99 is no value of LbPolicy"),
    (
        cluster_with_port_out_of_range,
        "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value",
        "<= 65535",
    ),
    (cluster_with_weight_zero, "load_assignment.endpoints[0].lb_endpoints[0].load_balancing_weight", ">= 1"),
    (cluster_with_nameless_transport_socket, "transport_socket.name", "at least 1 characters"),
]


@pytest.mark.parametrize(
    ("make", "path", "rule"), REFUSED, ids=lambda value: getattr(value, "__name__", None)
)
async def test_what_this_refuses_envoy_refuses(make: object, path: str, rule: str, tmp_path: Path) -> None:
    assert callable(make)
    cluster = make()
    with pytest.raises(ConstraintViolation) as refused:
        check(cluster)
    assert refused.value.path == path
    assert rule in refused.value.rule
    bootstrap = Bootstrap()
    bootstrap.static_resources.clusters.append(cluster)
    (tmp_path / "b.json").write_text(MessageToJson(bootstrap))
    with pytest.raises(InvalidConfiguration):
        await validate(Path(binaries.envoy()), tmp_path / "b.json")


async def test_what_this_accepts_envoy_accepts(tmp_path: Path) -> None:
    check(a_cluster())
    bootstrap = Bootstrap()
    bootstrap.static_resources.clusters.append(a_cluster())
    (tmp_path / "b.json").write_text(MessageToJson(bootstrap))
    await validate(Path(binaries.envoy()), tmp_path / "b.json")


def path_of(message: Message) -> str:
    with pytest.raises(ConstraintViolation) as refused:
        check(message)
    return refused.value.path


def test_a_required_oneof() -> None:
    assert path_of(Address()) == "address"


def test_a_required_member_of_a_oneof_is_not_required_while_another_is_chosen() -> None:
    made = Route()
    made.match.prefix = "/"
    made.route.cluster = "a"
    check(made)


def test_a_repeated_field_that_needs_items() -> None:
    assert path_of(VirtualHost(name="a")) == "domains"


def test_items_of_a_repeated_field() -> None:
    made = VirtualHost(name="a", domains=["a", ""])
    made.domains[1] = "\n"
    assert path_of(made) == "domains[1]"


def test_a_header_value_may_hold_no_line_break() -> None:
    assert path_of(HeaderValue(key="a", value="b\nc")) == "value"
    assert path_of(HeaderValue(key="")) == "key"
    check(HeaderValue(key="a", value="b c"))


def test_floating_point_bounds() -> None:
    check(Percent(value=100))
    assert path_of(Percent(value=100.5)) == "value"


def test_inside_an_any() -> None:
    made = Listener(name="l")
    made.address.socket_address.address = "127.0.0.1"
    made.address.socket_address.port_value = 1
    added = made.filter_chains.add().filters.add()
    added.name = "tcp"
    pack(added.typed_config, TcpProxy(cluster="a"))
    assert path_of(made) == "filter_chains[0].filters[0].typed_config.stat_prefix"


def test_an_any_of_a_type_nobody_knows_is_left_to_envoy_and_junk_is_not() -> None:
    made = RouteConfiguration(name="r")
    host = made.virtual_hosts.add()
    host.name = "h"
    host.domains.append("*")
    host.typed_per_filter_config["f"].CopyFrom(Any(type_url="type.googleapis.com/who.Knows", value=b"?"))
    check(made)
    junk = Any(type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster", value=b"\xff")
    host.typed_per_filter_config["f"].CopyFrom(junk)
    assert path_of(made) == "virtual_hosts[0].typed_per_filter_config['f'].value"


def test_a_route_action_needs_a_cluster() -> None:
    assert path_of(RouteAction()) == "cluster_specifier"


def test_the_rules_of_every_message_of_envoys_api_can_be_compiled() -> None:
    """No rule kind is unknown to the check: each message type that exists is compiled and run on an empty message."""
    root = Path(next(iter(pb.__path__)))
    compiled = 0
    for path in sorted((root / "envoy").rglob("*/v3/*_pb2.py")):
        module = importlib.import_module(".".join(("pb", *path.relative_to(root).with_suffix("").parts)))
        for name in module.DESCRIPTOR.message_types_by_name:
            message = getattr(module, name)()
            checking._rules(message.DESCRIPTOR).fault(message)
            compiled += 1
    assert compiled > 700
