"""The smallest control plane that makes an Envoy ready: delta ADS that answers every type with nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import NoReturn

import grpc
import grpc.aio
from cryptography import x509

from pb.envoy.service.discovery.v3.ads_pb2_grpc import (
    AggregatedDiscoveryServiceServicer,
    add_AggregatedDiscoveryServiceServicer_to_server,
)
from pb.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse


@dataclass
class Stream:
    """Who opened a stream."""

    node_id: str
    cluster: str
    pems: list[bytes] = field(default_factory=list)

    @property
    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.pems[0]).serial_number


class EmptyAds(AggregatedDiscoveryServiceServicer):
    """Notes the streams. Answers the first request of each type, and no other."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self._changed = asyncio.Condition()

    def add_to(self, server: grpc.aio.Server) -> None:
        add_AggregatedDiscoveryServiceServicer_to_server(self, server)

    async def until(self, streams: int) -> Stream:
        """The newest stream, once there have been so many."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.streams) >= streams)
        return self.streams[-1]

    async def DeltaAggregatedResources(  # type: ignore[override]  # noqa: N802
        self,
        request_iterator: AsyncIterator[DeltaDiscoveryRequest],
        context: grpc.aio.ServicerContext[DeltaDiscoveryRequest, DeltaDiscoveryResponse],
    ) -> AsyncIterator[DeltaDiscoveryResponse]:
        answered: set[str] = set()
        async for request in request_iterator:
            if not answered:
                pems = context.auth_context().get("x509_pem_cert", ())
                self.streams.append(Stream(request.node.id, request.node.cluster, list(pems)))
                async with self._changed:
                    self._changed.notify_all()
            if request.type_url not in answered:
                answered.add(request.type_url)
                # Envoy waits 15 s for endpoints that it asks for by name, unless it is told that there are none.
                named = [each for each in request.resource_names_subscribe if each != "*"]
                yield DeltaDiscoveryResponse(
                    type_url=request.type_url, nonce=str(len(answered)), removed_resources=named
                )

    def StreamAggregatedResources(self, request_iterator: object, context: object) -> NoReturn:  # noqa: N802
        raise NotImplementedError("Envoy is told to use delta")
