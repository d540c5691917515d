from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import pytest
import yaml
from google.protobuf.message import Message

from mesh.localities import Area, Own, Spread, SpreadMode
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.route.v3.route_components_pb2 import RouteAction
from pb.envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import StatefulSessionPerRoute
from pb.envoy.extensions.http.stateful_session.cookie.v3.cookie_pb2 import CookieBasedSessionState
from pb.envoy.extensions.http.stateful_session.header.v3.header_pb2 import HeaderBasedSessionState
from pb.envoy.extensions.load_balancing_policies.least_request.v3.least_request_pb2 import LeastRequest
from pb.envoy.extensions.load_balancing_policies.maglev.v3.maglev_pb2 import Maglev
from pb.envoy.extensions.load_balancing_policies.random.v3.random_pb2 import Random
from pb.envoy.extensions.load_balancing_policies.ring_hash.v3.ring_hash_pb2 import RingHash
from pb.envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2 import RoundRobin
from policies.load_balancing import EXAMPLE, KIND, LoadBalancingFields, spread
from tests.support.policy_documents import CALLER, accepted, added, on_route, refusals

T = TypeVar("T", bound=Message)
CHOICES: dict[str, type[Message]] = {
    "leastRequest": LeastRequest,
    "roundRobin": RoundRobin,
    "random": Random,
    "ringHash": RingHash,
    "maglev": Maglev,
}


def cluster(fields: str) -> Cluster:
    return Cluster.FromString(added(KIND, fields, CALLER).cluster)


def chosen(fields: str, kind: type[T]) -> T:
    (policy,) = cluster(fields).load_balancing_policy.policies
    made = kind()
    assert policy.typed_extension_config.typed_config.Unpack(made)
    return made


@pytest.mark.parametrize("name", CHOICES)
def test_every_algorithm_is_a_typed_extension(name: str) -> None:
    chosen(f"{{algorithm: {name}}}", CHOICES[name])
    (policy,) = cluster(f"{{algorithm: {name}}}").load_balancing_policy.policies
    assert policy.typed_extension_config.name.startswith("envoy.load_balancing_policies.")


def test_what_algorithms_are_told() -> None:
    least = chosen("{leastRequest: {choiceCount: 5, activeRequestBias: 0.5}}", LeastRequest)
    assert (least.choice_count.value, least.active_request_bias.default_value) == (5, 0.5)
    ring = chosen("{algorithm: ringHash, ringHash: {minimumSize: 9, maximumSize: 99}}", RingHash)
    assert (ring.minimum_ring_size.value, ring.maximum_ring_size.value) == (9, 99)
    maglev = chosen("{algorithm: maglev, maglev: {tableSize: 101}, hashBalancePercent: 150}", Maglev)
    assert maglev.table_size.value == 101
    assert maglev.consistent_hashing_lb_config.hash_balance_factor.value == 150


def test_slow_start() -> None:
    made = chosen("{slowStart: {window: 60s, aggression: 2, minWeightPercent: 5}}", LeastRequest)
    start = made.slow_start_config
    assert (start.slow_start_window.ToSeconds(), start.aggression.default_value) == (60, 2)
    assert start.min_weight_percent.value == 5
    assert not chosen("{algorithm: roundRobin}", RoundRobin).HasField("slow_start_config")


def test_a_panic_threshold_of_zero_is_one_too() -> None:
    assert cluster("{panicThreshold: 0}").common_lb_config.HasField("healthy_panic_threshold")
    assert not cluster("{algorithm: random}").HasField("common_lb_config")


def test_what_is_hashed() -> None:
    fields = """
    hash:
    - {header: X-User, terminal: true}
    - cookie: {name: c, ttl: 0s, path: /p}
    - queryParameter: q
    - sourceAddress: true
    """
    action = RouteAction.FromString(added(KIND, fields, CALLER).action)
    header, cookie, query, source = action.hash_policy
    assert (header.header.header_name, header.terminal) == ("x-user", True)
    assert (cookie.cookie.name, cookie.cookie.path, cookie.cookie.HasField("ttl")) == ("c", "/p", True)
    assert query.query_parameter.name == "q"
    assert source.connection_properties.source_ip


def test_a_route_says_what_concerns_requests_alone() -> None:
    parts = added(KIND, "{algorithm: maglev, hash: [{header: a}]}", replace(CALLER, route=True))
    assert (bool(parts.cluster), bool(parts.action)) == (False, True)


def session(fields: str) -> StatefulSessionPerRoute:
    (config,) = on_route(added(KIND, f"{{stickySession: {fields}}}", CALLER)).values()
    return StatefulSessionPerRoute.FromString(config)


def test_sessions_by_cookie_and_by_header() -> None:
    made = session("{ttl: 1h, path: /shop, strict: true}").stateful_session
    cookie = CookieBasedSessionState.FromString(made.session_state.typed_config.value).cookie
    assert (cookie.name, cookie.path, cookie.ttl.ToSeconds()) == ("meshwright-session", "/shop", 3600)
    assert made.strict
    made = session("{type: Header, name: x-s}").stateful_session
    assert HeaderBasedSessionState.FromString(made.session_state.typed_config.value).name == "x-s"


def spread_of(locality: str) -> Spread | None:
    return spread(LoadBalancingFields.model_validate({"locality": yaml.safe_load(locality)}))


def test_places() -> None:
    own = (Area(Own.ZONE), Area(Own.REGION))
    assert spread_of("{}") == Spread(SpreadMode.FAILOVER, own)
    assert spread_of("{overprovisioningPercent: 200}") == Spread(SpreadMode.FAILOVER, own, 200)
    assert spread_of("{failover: [{region: us, zone: c}, {own: region}]}") == Spread(
        SpreadMode.FAILOVER, (Area(region="us", zone="c"), Area(Own.REGION))
    )
    assert spread_of("{weights: [{own: zone, weight: 3}]}") == Spread(
        SpreadMode.WEIGHTED, (Area(Own.ZONE, weight=3),)
    )
    assert spread_of("{within: region}") == Spread(SpreadMode.STRICT, (Area(Own.REGION),))
    assert spread_of("{mode: zoneAware}") is None
    assert spread(LoadBalancingFields.model_validate({"algorithm": "random"})) is None


def test_the_cluster_is_told_of_weights_and_zones() -> None:
    assert chosen("{locality: {mode: weighted}}", LeastRequest).locality_lb_config.HasField(
        "locality_weighted_lb_config"
    )
    ring = chosen("{algorithm: ringHash, locality: {mode: weighted}}", RingHash)
    assert ring.HasField("locality_weighted_lb_config")
    aware = chosen("{locality: {zoneAware: {minEndpoints: 2}}}", LeastRequest).locality_lb_config
    assert aware.zone_aware_lb_config.routing_enabled.value == 100
    assert aware.zone_aware_lb_config.min_cluster_size.value == 2
    unaware = chosen("{algorithm: random}", Random).locality_lb_config.zone_aware_lb_config
    assert (unaware.HasField("routing_enabled"), unaware.routing_enabled.value) == (True, 0)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            "hash: [{header: a, queryParameter: b}]",
            (
                "spec.hash[0]: exactly one of header, cookie, queryParameter and sourceAddress is to be hashed. "
                "Make each an entry of its own"
            ),
        ),
        (
            "algorithm: random, hash: [{header: a}]",
            "spec.hash: it has no effect on random. Remove it, or use algorithm: ringHash or maglev",
        ),
        (
            "algorithm: maglev, slowStart: {window: 1s}",
            "spec.slowStart: it has no effect on maglev. Remove it, or use algorithm: leastRequest or roundRobin",
        ),
        (
            "ringHash: {minimumSize: 10, maximumSize: 5}",
            "spec.ringHash.minimumSize: 10 is more than maximumSize, 5. Make it less",
        ),
        (
            "maglev: {tableSize: 100}",
            "spec.maglev.tableSize: 100 is not a prime number. Use 65537, for example",
        ),
        (
            "stickySession: {type: Header, ttl: 5s}",
            "spec.stickySession.ttl: a session told by a header has no cookie. Remove it, or use type: Cookie",
        ),
        (
            "stickySession: {ttl: 500ms}",
            "spec.stickySession.ttl: a cookie is kept for whole seconds. Use 1s or more",
        ),
        (
            "locality: {failover: [{zone: a}]}",
            "spec.locality.failover[0]: it is to have either own or region. Use {own: zone} or {region: eu}, for example",
        ),
        (
            "locality: {failover: [{own: region, zone: a}]}",
            "spec.locality.failover[0].zone: a zone by name lies in a region by name. Name its region instead of own",
        ),
        (
            "locality: {mode: strict, failover: [{own: zone}]}",
            "spec.locality.failover: it has no effect in mode strict. Remove it, or use mode: failover",
        ),
        (
            "locality: {weights: [{region: eu, weight: 0}]}",
            "spec.locality.weights: all weights are 0, so that nobody gets traffic. Raise one",
        ),
        (
            "algorithm: maglev, locality: {mode: zoneAware}",
            (
                "spec.locality.mode: maglev cannot go by zones: the same endpoint takes the same hash. "
                "Use mode: failover, or another algorithm"
            ),
        ),
        ("leastRequest: {choiceCount: 1}", "spec.leastRequest.choiceCount: 1 is too small. Use 2 or more"),
    ],
)
def test_wrong_documents(spec: str, said: str) -> None:
    assert refusals("LoadBalancing", spec) == [said]


def test_a_route_does_not_choose_an_algorithm() -> None:
    assert refusals("LoadBalancing", "algorithm: random", "[{kind: HTTPRoute, name: r}]") == [
        (
            "spec.targetRefs[0]: a route says only hash and stickySession; all else belongs to the whole service. "
            "Target the service"
        )
    ]


def test_connections_have_nothing_to_hash() -> None:
    said = "spec.targetRefs[0]: a TLSRoute has connections, and no requests with something to hash or a session. "
    assert refusals("LoadBalancing", "hash: [{header: a}]", "[{kind: TLSRoute, name: r}]") == [
        f"{said}Target the service, or an HTTPRoute or GRPCRoute"
    ]


def test_the_example() -> None:
    accepted(EXAMPLE)
