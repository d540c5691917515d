"""Buffering: what is too large is refused by the callee's sidecar, and what is not comes whole."""

from __future__ import annotations

from policies.buffering import EXAMPLE
from tests.support.traffic.world import Traffic

SMALL = EXAMPLE.replace("uploads", "api").replace("1048576", "10000")


async def test_a_body_that_is_too_large_is_answered_with_413(traffic: Traffic) -> None:
    async with traffic.apply(SMALL):
        large = await traffic.get("http://api.mesh/", method="POST", body=b"x" * 20000)
        assert (large.status, traffic.seen("api")) == (413, [])
        fits = await traffic.get("http://api.mesh/", method="POST", body=b"x" * 9000)
        assert fits.status == 200
        assert [each.size for each in traffic.seen("api")] == [9000]
    assert (await traffic.get("http://api.mesh/", method="POST", body=b"x" * 20000)).status == 200


async def test_grpc_is_left_alone(traffic: Traffic) -> None:
    async with traffic.apply(SMALL.replace("name: api", "name: grpc")):
        chat = await traffic.grpc("grpc.mesh", "/shop.Cart/Chat", b"a", b"b")
        assert chat.messages[1:] == (b"a", b"b")
