from __future__ import annotations

import pytest

from pb.envoy.config.listener.v3.listener_components_pb2 import Filter
from pb.envoy.extensions.filters.network.connection_limit.v3.connection_limit_pb2 import ConnectionLimit
from policies.connection_limit import EXAMPLE, KIND
from tests.support.policy_documents import accepted, added, refusals


def test_a_network_filter_in_front_of_what_handles_the_connection() -> None:
    (serialised,) = added(KIND, "{connections: 5, delay: 250ms}").network_filters
    made, limit = Filter.FromString(serialised), ConnectionLimit()
    assert made.name == "envoy.filters.network.connection_limit"
    assert made.typed_config.Unpack(limit)
    assert (limit.max_connections.value, limit.delay.ToMilliseconds()) == (5, 250)
    assert limit.stat_prefix == "default/api:80"


def test_a_limit_that_no_policy_gives() -> None:
    with pytest.raises(ValueError, match="give connections"):
        added(KIND, "{delay: 250ms}")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("connections: 0", "spec.connections: 0 is too small. Use 1 or more"),
        ("connections: -1", "spec.connections: -1 is too small. Use 1 or more"),
        (
            "connections: 99999999999",
            "spec.connections: 99999999999 is too large. Use 4294967295 or less",
        ),
        ("connections: many", "spec.connections: 'many' is text. Give a whole number"),
        (
            "connections: 5, from: [{service: web}]",
            "spec.from: a ConnectionLimit holds for all callers: it cannot tell them apart. Remove from",
        ),
        (
            "connections: 5, max: 6",
            "spec.max: unknown field 'max'. Known here: connections, delay, targetRefs, from, enforced",
        ),
        ("delay: 5", 'spec.delay: 5 is read as a number, and text is wanted. Put it in quotes: "5"'),
    ],
)
def test_wrong_documents(spec: str, said: str) -> None:
    assert refusals("ConnectionLimit", spec) == [said]


def test_the_example() -> None:
    accepted(EXAMPLE)
