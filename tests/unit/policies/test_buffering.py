from __future__ import annotations

import pytest

from envoy.seams import NOTHING
from mesh.service import Protocol
from pb.envoy.extensions.filters.http.buffer.v3.buffer_pb2 import BufferPerRoute
from policies.buffering import EXAMPLE, FILTER, KIND
from tests.support.policy_documents import CALLEE, accepted, added, of, on_route, refusals


def test_the_size_is_said_on_the_route() -> None:
    made = BufferPerRoute.FromString(on_route(added(KIND, "{maxRequestBytes: 4096}"))[FILTER.name])
    assert made.buffer.max_request_bytes.value == 4096


@pytest.mark.parametrize("protocol", [Protocol.GRPC, Protocol.TCP])
def test_what_has_no_end_to_wait_for_is_left_alone(protocol: Protocol) -> None:
    assert added(KIND, "{maxRequestBytes: 4096}", of(CALLEE, protocol)) == NOTHING


def test_a_size_that_no_policy_gives() -> None:
    with pytest.raises(ValueError, match="give maxRequestBytes"):
        added(KIND, "{}")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("maxRequestBytes: 0", "spec.maxRequestBytes: 0 is too small. Use 1 or more"),
        ("maxRequestBytes: 1MiB", "spec.maxRequestBytes: '1MiB' is text. Give a whole number"),
        ("maxRequestBytes: 1.5", "spec.maxRequestBytes: 1.5 is a number. Give a whole number"),
        (
            "maxRequestBytes: 5000000000",
            "spec.maxRequestBytes: 5000000000 is too large. Use 4294967295 or less",
        ),
        (
            "maxRequestBytes: 5, from: [{service: web}]",
            "spec.from: a Buffering holds for all callers: it cannot tell them apart. Remove from",
        ),
        (
            "max: 5",
            "spec.max: unknown field 'max'. Known here: maxRequestBytes, targetRefs, from, enforced",
        ),
    ],
)
def test_wrong_documents(spec: str, said: str) -> None:
    assert refusals("Buffering", spec) == [said]


def test_the_example() -> None:
    accepted(EXAMPLE)
