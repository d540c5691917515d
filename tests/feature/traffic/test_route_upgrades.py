"""HTTPRoute: WebSocket through a route of the mesh, and backends that speak HTTP/2 without TLS of their own."""

from __future__ import annotations

import aiohttp
import pytest

from tests.support.traffic.routes import route, subset, to
from tests.support.traffic.world import Traffic


async def test_websocket(traffic: Traffic) -> None:
    path = "matches: [{path: {type: PathPrefix, value: /socket}}]"
    async with (
        traffic.apply(subset("v2") + route(f"{path}\nbackendRefs: [{to('api-v2')}]")),
        traffic.websocket("http://api.mesh/socket") as stream,
    ):
        assert (await stream.receive_json())["labels"] == {"version": "v2"}
        await stream.send_str("ping")
        assert await stream.receive_str() == "ping"


async def test_websocket_where_no_rule_takes_it(traffic: Traffic) -> None:
    async with traffic.apply(route(f"matches: [{{path: {{value: /else}}}}]\nbackendRefs: [{to('api')}]")):
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with traffic.websocket("http://api.mesh/socket"):
                pytest.fail("it was taken")


async def test_http_2_without_tls_of_the_application(traffic: Traffic) -> None:
    """An HTTPRoute leads to a port of protocol grpc: the sidecars speak HTTP/2 to each other and to the application."""
    async with traffic.apply(route(f"backendRefs: [{to('grpc')}]", parent="name: grpc")):
        assert (await traffic.grpc("grpc.mesh")).ok
