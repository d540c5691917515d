"""Listeners for datagrams: shares as parts of a million, counted from one zero."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from envoy import datagrams, names
from envoy.check import check
from envoy.shares import Share, by_weight
from mesh.names import Key
from mesh.rules import BackendView
from pb.envoy.config.core.v3.base_pb2 import TrafficDirection
from pb.envoy.extensions.filters.udp.udp_proxy.v3.route_pb2 import Route
from pb.envoy.extensions.filters.udp.udp_proxy.v3.udp_proxy_pb2 import UdpProxyConfig
from pb.envoy.extensions.matching.input_matchers.runtime_fraction.v3.runtime_fraction_pb2 import (
    RuntimeFraction,
)
from pb.xds.type.matcher.v3.matcher_pb2 import Matcher


def parts(*to: Share) -> list[tuple[str, int]]:
    """Each cluster, and up to which part of a million the hash leads there."""
    made = datagrams.listener("l", ["127.0.0.1", "::1"], 53, TrafficDirection.INBOUND, to)
    check(made)
    assert [each.address.socket_address.address for each in made.additional_addresses] == ["::1"]
    (added,) = made.listener_filters
    config = UdpProxyConfig.FromString(added.typed_config.value)

    def cluster(found: Matcher.OnMatch) -> str:
        return Route.FromString(found.action.typed_config.value).cluster

    ended = []
    for each in config.matcher.matcher_list.matchers:
        asked = each.predicate.single_predicate.custom_match.typed_config.value
        fraction = RuntimeFraction.FromString(asked).runtime_fraction.default_value
        ended.append((cluster(each.on_match), fraction.numerator))
    return [*ended, (cluster(config.matcher.on_no_match), datagrams.PARTS)]


def test_one_backend_takes_all() -> None:
    assert parts(("a", 7)) == [("a", 1_000_000)]


def test_shares_are_counted_from_one_zero() -> None:
    assert parts(("a", 3), ("b", 1), ("c", 4)) == [("a", 375_000), ("b", 500_000), ("c", 1_000_000)]


@given(st.lists(st.integers(1, 1_000_000), min_size=1, max_size=16))
def test_every_backend_has_its_share_to_a_millionth(weights: list[int]) -> None:
    found, before = parts(*((str(place), weight) for place, weight in enumerate(weights))), 0
    for (_, ended), weight in zip(found, weights, strict=True):
        assert abs((ended - before) / 1_000_000 - weight / sum(weights)) <= 2e-6
        before = ended


def test_what_is_not_there_has_a_share_too_and_what_weighs_nothing_has_none() -> None:
    key = Key("default", "api")
    backends = (
        BackendView(key, 53, "", 2),
        BackendView(key, 53, "", 1, problem="BackendNotFound: gone"),
        BackendView(key, 53, "", 3),
        BackendView(key, 54, "", 0),
    )
    assert by_weight(backends) == (("default/api:53", 5), (names.NOWHERE, 1))
    assert by_weight(backends[3:]) == ((names.NOWHERE, 1),)
