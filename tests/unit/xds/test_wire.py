"""Joined bytes are what protobuf itself would have written, or at least reads the same."""

from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any
from hypothesis import given
from hypothesis import strategies as st

from pb.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from xds import wire
from xds.types import CLUSTER

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
