from __future__ import annotations

from collections.abc import Iterable

import pytest

from envoy.seams import NOTHING, Parts
from mesh.events import SourceSnapshot
from mesh.service import Protocol
from mesh.state import MeshState
from mesh.views import inbound_view
from pb.envoy.config.route.v3.route_components_pb2 import RateLimit
from pb.envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from pb.envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimit as SharedRateLimit
from pb.envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimitPerRoute
from policies import rate_limit_messages as messages
from policies.rate_limit import EXAMPLE, KIND
from policies.weave import Weaver
from tests.support.builders import a_key, a_proxy, a_service
from tests.support.policy_documents import CALLEE, accepted, added, declared, of, on_route, refusals

SHARED = f"{messages.SHARED}.allow"


def local(parts: Parts) -> LocalRateLimit:
    return LocalRateLimit.FromString(on_route(parts)[messages.LOCAL])


def shared(parts: Parts, failure: str = "allow") -> SharedRateLimit:
    (found,) = (each for each in parts.http_filters if each.name.endswith(failure))
    return SharedRateLimit.FromString(found.config)


def conditions(limits: Iterable[RateLimit]) -> list[list[tuple[str, str]]]:
    """For each alternative, the headers and what they are held against."""
    return [
        [
            (
                header.name,
                header.string_match.exact
                or header.string_match.prefix
                or header.string_match.suffix
                or header.string_match.contains
                or header.string_match.safe_regex.regex,
            )
            for action in limit.actions
            for header in action.header_value_match.headers
        ]
        for limit in limits
    ]


def test_a_bucket_for_the_policy() -> None:
    made = local(added(KIND, "{local: {requests: 5, unit: minute, burst: 20}}"))
    (bucket,) = made.descriptors
    assert [(each.key, each.value) for each in bucket.entries] == [("policy", "default/p")]
    tokens = bucket.token_bucket
    assert (tokens.max_tokens, tokens.tokens_per_fill.value, tokens.fill_interval.seconds) == (20, 5, 60)
    assert made.filter_enabled.default_value.numerator == made.filter_enforced.default_value.numerator == 100


def test_a_bucket_for_each_caller_and_value_and_one_for_those_without_the_header() -> None:
    made = local(added(KIND, "{by: caller, byHeader: X-User, local: {requests: 5}}"))
    keys = [[entry.key for entry in each.entries] for each in made.descriptors]
    assert keys == [["policy", "caller", "header"], ["policy", "caller"]]
    (limit,) = made.rate_limits
    assert limit.actions[1].extension.name == "envoy.rate_limit_descriptors.expr"
    assert limit.actions[2].request_headers.header_name == "x-user"
    assert limit.actions[2].request_headers.skip_if_absent


def test_of_several_ways_to_be_meant_a_request_goes_only_one() -> None:
    callers = ("spiffe://m/ns/a/", "spiffe://m/ns/a/sa/in-it", "spiffe://m/ns/b/sa/x")
    made = local(
        added(
            KIND,
            "{match: {path: {prefix: /a/}, methods: [POST, GET]}, local: {requests: 5}}",
            CALLEE.of("default/p", callers),
        )
    )
    a, x = "URI=spiffe://m/ns/a/", "URI=spiffe://m/ns/b/sa/x"
    assert conditions(made.rate_limits) == [
        [(":method", "GET|POST"), (":path", path), ("x-forwarded-client-cert", caller)]
        for path in ("/a", "/a?", "/a/")
        for caller in (a, x)
    ]


@pytest.mark.parametrize(
    ("path", "held"),
    [
        ("{exact: /a}", ["/a", "/a?"]),
        ("{prefix: /}", ["/"]),
        ("{regex: '/a|/b'}", [r"(?:/a|/b)(?:\?.*)?"]),
    ],
)
def test_the_query_is_not_looked_at(path: str, held: list[str]) -> None:
    made = local(added(KIND, f"{{match: {{path: {path}}}, local: {{requests: 5}}}}"))
    assert conditions(made.rate_limits) == [[(":path", each)] for each in held]


def test_a_limit_of_the_mesh_rides_in_the_descriptor() -> None:
    made = added(KIND, "{global: {requests: 100, unit: hour, timeout: 20ms}}")
    per_route = RateLimitPerRoute.FromString(on_route(made)[SHARED])
    (limit,) = per_route.rate_limits
    entries = [(each.generic_key.descriptor_key, each.generic_key.descriptor_value) for each in limit.actions]
    assert entries == [("policy", "default/p"), ("limit", "100/hour")]
    asks = shared(made)
    assert per_route.domain == "mesh.test"
    assert (asks.timeout.ToMilliseconds(), asks.failure_mode_deny) == (20, False)
    assert asks.rate_limit_service.grpc_service.envoy_grpc.cluster_name == "control-plane"


def test_without_more_nobody_waits_longer_than_50_ms() -> None:
    assert shared(added(KIND, "{global: {requests: 1}}")).timeout.ToMilliseconds() == 50
    denies = shared(added(KIND, "{global: {requests: 1, failure: deny}}"), "deny")
    assert (denies.failure_mode_deny, denies.status_on_error.code) == (True, 429)


@pytest.mark.parametrize("failure", ["allow", "deny"])
def test_a_limit_with_the_usual_time_out_changes_no_connection_manager(failure: str) -> None:
    made = added(KIND, f"{{global: {{requests: 1, failure: {failure}}}}}")
    assert set(made.http_filters) <= set(KIND.filters)
    slower = added(KIND, f"{{global: {{requests: 1, failure: {failure}, timeout: 60ms}}}}")
    assert set(slower.http_filters).isdisjoint(KIND.filters)


def test_several_policies_are_joined() -> None:
    parts = [
        added(KIND, fields, CALLEE.of(policy, ()))
        for policy, fields in (
            ("default/a", "{local: {requests: 5}, global: {requests: 7, timeout: 30ms}}"),
            ("default/b", "{local: {requests: 9}}"),
            ("default/c", "{global: {requests: 8, timeout: 10ms}}"),
        )
    ]
    made = messages.join(parts)
    assert [each.entries[0].value for each in local(made).descriptors] == ["default/a", "default/b"]
    assert len(local(made).rate_limits) == 2
    assert len(RateLimitPerRoute.FromString(on_route(made)[SHARED]).rate_limits) == 2
    assert shared(made).timeout.ToMilliseconds() == 10
    assert messages.join([made, NOTHING]) == made


def test_a_policy_holds_once_however_often_it_targets_a_place() -> None:
    documents = """
apiVersion: meshwright.dev/v1alpha1
kind: RateLimit
metadata: {name: twice}
spec: {targetRefs: [{kind: Mesh}, {kind: Service, name: api}], local: {requests: 5}}
---
apiVersion: meshwright.dev/v1alpha1
kind: RateLimit
metadata: {name: for-nobody}
spec: {targetRefs: [{kind: Mesh}], from: [{service: ghost}], local: {requests: 5}}
"""
    proxy = a_proxy("api-1", services=("api",), sidecar=15101)
    state, _ = MeshState("mesh.test").apply(
        SourceSnapshot("s", (a_service("api"),), (proxy,), declared(documents))
    )
    weaver = Weaver()
    seams = weaver.listeners(state, state.workloads[a_key("api-1")], inbound_view(state, proxy))
    assert weaver.problems == {}
    made = local(seams.chain("default/api:80"))
    assert sorted(each.entries[0].value for each in made.descriptors) == [
        "default/for-nobody",
        "default/twice",
    ]
    assert [("x-forwarded-client-cert", "URI=spiffe://mesh.test/nobody")] in conditions(made.rate_limits)


def test_tcp_has_no_requests() -> None:
    assert added(KIND, "{local: {requests: 5}}", of(CALLEE, Protocol.TCP)) == NOTHING


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            "by: caller",
            "spec: nothing is limited. Add local: {requests: 100}, or global: {requests: 100}",
        ),
        ("local: {requests: 0}", "spec.local.requests: 0 is too small. Use 1 or more"),
        ("local: {unit: minute}", "spec.local.requests: requests is missing. Add it"),
        (
            "local: {requests: 5, unit: fortnight}",
            "spec.local.unit: 'fortnight' is not known here. Use second, minute, hour or day",
        ),
        (
            "global: {requests: 5, failure: maybe}",
            "spec.global.failure: 'maybe' is not known here. Use allow or deny",
        ),
        (
            "global: {requests: 5, timeout: 0s}",
            "spec.global.timeout: 0s is no time at all. Use a duration above zero, or leave the field out",
        ),
        (
            "match: {path: {prefix: a}}, local: {requests: 5}",
            "spec.match.path: 'a' does not begin with a slash. Write it as /a",
        ),
        (
            "match: {path: {prefix: /a, exact: /b}}, local: {requests: 5}",
            "spec.match.path: a path has 2 conditions. Give one of exact, prefix and regex",
        ),
        ("by: header, local: {requests: 5}", "spec.by: 'header' is not known here. Use caller"),
        (
            "byHeader: 'x y', local: {requests: 5}",
            "spec.byHeader: 'x y' is not the name of a header. Write it like x-user-id, without a colon",
        ),
    ],
)
def test_wrong_documents(spec: str, said: str) -> None:
    assert refusals("RateLimit", spec) == [said]


def test_the_example() -> None:
    accepted(EXAMPLE)
