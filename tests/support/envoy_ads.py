"""A real xDS server in the test's own process, which gives every client the resources that the test publishes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import grpc.aio

from envoy.render import Rendered
from pb.envoy.config.core.v3.base_pb2 import Node
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from xds.cache import ResourceCache, ScopeChange
from xds.client import Client, Peer
from xds.resource import encode
from xds.server import XdsServer, XdsSettings, server_options

SCOPE = "all"
SDS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


@dataclass(frozen=True, slots=True)
class Ads:
    port: int
    cache: ResourceCache

    def publish(self, resources: Iterable[Rendered], secrets: Iterable[Secret] = ()) -> None:
        """From now on, these are all that there is."""
        put = [encode(each.type_url, each.name, each.body, each.origin) for each in resources]
        put += [encode(SDS, each.name, each.SerializeToString(), ()) for each in secrets]
        self.cache.publish([ScopeChange(SCOPE, put=tuple(put), replace=True)])


async def _anybody(node: Node, peer: Peer) -> Client:
    del peer
    return Client(node.id, (SCOPE,))


@contextlib.asynccontextmanager
async def ads() -> AsyncIterator[Ads]:
    cache = ResourceCache()
    cache.open()
    server = grpc.aio.server(options=server_options(XdsSettings()))
    XdsServer(cache, _anybody).add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Ads(port, cache)
    finally:
        await server.stop(0)
