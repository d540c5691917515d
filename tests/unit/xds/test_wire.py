"""Joined bytes are what protobuf itself would have written, or at least reads the same."""

from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any
from hypothesis import given
from hypothesis import strategies as st

from pb.envoy.config.core.v3.base_pb2 import Node
from pb.envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from xds import wire
from xds.types import CLUSTER, ENDPOINT, ROUTE

TEXT = st.text(max_size=200)


@pytest.mark.parametrize(
    ("number", "bytes_"),
    [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02"), (1 << 21, b"\x80\x80\x80\x01")],
)
def test_varints_are_in_base_128(number: int, bytes_: bytes) -> None:
    assert wire.varint(number) == bytes_


@given(TEXT, TEXT, st.lists(st.binary(max_size=300), max_size=4))
def test_a_state_of_the_world_response(version: str, nonce: str, bodies: list[bytes]) -> None:
    joined = wire.sotw_response(
        CLUSTER, version, b"".join(wire.sotw_entry(CLUSTER, body) for body in bodies), nonce
    )
    assert DiscoveryResponse.FromString(joined) == DiscoveryResponse(
        version_info=version,
        type_url=CLUSTER,
        nonce=nonce,
        resources=[Any(type_url=CLUSTER, value=body) for body in bodies],
    )


@given(
    TEXT,
    TEXT,
    st.lists(st.tuples(TEXT, TEXT, st.binary(max_size=300)), max_size=4),
    st.lists(TEXT, max_size=4),
)
def test_a_delta_response(
    version: str, nonce: str, entries: list[tuple[str, str, bytes]], removed: list[str]
) -> None:
    joined = wire.delta_response(
        CLUSTER,
        version,
        b"".join(wire.delta_entry(CLUSTER, *entry) for entry in entries),
        b"".join(map(wire.removed_entry, removed)),
        nonce,
    )
    read = DeltaDiscoveryResponse.FromString(joined)
    assert (read.system_version_info, read.type_url, read.nonce) == (version, CLUSTER, nonce)
    assert [(each.name, each.version, each.resource.value) for each in read.resources] == entries
    assert {each.resource.type_url for each in read.resources} <= {CLUSTER}
    assert list(read.removed_resources) == removed


NAMED = DiscoveryRequest(
    version_info="7",
    node=Node(id="default/web-1"),
    resource_names=[f"default/service-{number}:80" for number in range(500)],
    type_url=ENDPOINT,
    response_nonce="3",
)


def segment(request: DiscoveryRequest) -> bytes:
    return DiscoveryRequest(resource_names=request.resource_names).SerializeToString()


def test_names_that_are_those_of_before_are_left_out() -> None:
    rest = wire.without_names(NAMED.SerializeToString(), ENDPOINT, wire.mark(segment(NAMED)))
    assert rest is not None
    expected = DiscoveryRequest.FromString(NAMED.SerializeToString())
    expected.ClearField("resource_names")
    assert DiscoveryRequest.FromString(rest) == expected


@pytest.mark.parametrize("change", ["one more", "one less", "another", "other order", "other type"])
def test_other_names_are_read(change: str) -> None:
    other = DiscoveryRequest.FromString(NAMED.SerializeToString())
    match change:
        case "one more":
            other.resource_names.append("default/late:80")
        case "one less":
            other.resource_names.pop()
        case "another":
            other.resource_names[7] = "default/service-X:80"
        case "other order":
            other.resource_names.insert(0, other.resource_names.pop())
        case "other type":
            other.type_url = ROUTE
    assert wire.without_names(other.SerializeToString(), ENDPOINT, wire.mark(segment(NAMED))) is None


@given(st.binary(max_size=60))
def test_no_bytes_break_the_search_for_names(data: bytes) -> None:
    assert wire.without_names(data, ENDPOINT, wire.mark(segment(NAMED))) is None


def test_a_length_without_end_costs_nothing() -> None:
    assert wire.without_names(b"\x0a" + b"\xff" * 1_000_000, ENDPOINT, wire.mark(segment(NAMED))) is None
