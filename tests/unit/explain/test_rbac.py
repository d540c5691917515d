"""Access as the messages say it: the same verdict, by the same policy, as the evaluator of policies has, whose verdicts a real Envoy shares."""

from __future__ import annotations

import pytest

from explain import rbac
from explain.request import Request
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBACPerRoute
from policies import access_messages, access_paths
from policies.access_rules import Plan
from policies.access_verdict import Request as Asked
from policies.access_verdict import decided
from tests.support.access_random import Draw, planned


def as_sent(asked: Asked) -> Request:
    """As a sidecar's filters see it: the path is normalised, and the values of headers have no white space around them."""
    bare, mark, query = asked.path.partition("?")
    headers = tuple((name.lower(), value.strip(" \t")) for name, value in asked.headers)
    return Request(asked.method, access_paths.normal(bare) + mark + query, asked.host, headers, asked.claims)


def message(plan: Plan) -> RBACPerRoute | None:
    packed = Route.FromString(access_messages.on_routes(plan).route).typed_per_filter_config
    if access_messages.HTTP not in packed:
        return None
    return RBACPerRoute.FromString(packed[access_messages.HTTP].value)


@pytest.mark.parametrize("seed", range(12))
def test_the_messages_say_what_the_evaluator_says(seed: int) -> None:
    draw = Draw(seed)
    for _ in range(25):
        plan = planned(draw.policies())
        made = message(plan)
        for _ in range(10):
            caller, asked = draw.caller(), draw.request()
            wanted = decided(plan, caller, asked)
            if made is None:
                assert wanted.allowed
                continue
            peer = rbac.Peer(caller.identity, caller.address)
            found = rbac.enforced(made.rbac, peer, as_sent(asked))
            assert ("" if found.allowed else found.by) == wanted.by
            trial = rbac.on_trial(made.rbac, peer, as_sent(asked))
            assert ("" if trial.allowed else trial.by) == wanted.would_refuse


def test_a_condition_that_is_not_known_here_is_told() -> None:
    made = RBACPerRoute()
    policy = made.rbac.rules.policies["default/odd"]
    policy.permissions.add().metadata.filter = "some.filter"
    policy.principals.add().any = True
    found = rbac.enforced(made.rbac, rbac.Peer(), Request("GET", "/", "api"))
    assert "some.filter" in found.unread
