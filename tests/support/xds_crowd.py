"""A program: many simulated proxies at once, some of them hostile, each on a connection of its own.

python xds_crowd.py <port> '{"honest": 250, "silent": 100, "deaf": 50, "nacking": 50, "garbage": 50}' <number of the first>

Prints, twice a second, a line of JSON: how many streams were answered or ended, and how many responses were taken, by kind.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import Any

import grpc
import grpc.aio

from pb.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

PREFIX = "type.googleapis.com/envoy.config."
TYPES = (
    "cluster.v3.Cluster",
    "endpoint.v3.ClusterLoadAssignment",
    "listener.v3.Listener",
    "route.v3.ScopedRouteConfiguration",
    "route.v3.RouteConfiguration",
)
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]


class Crowd:
    def __init__(self, port: int) -> None:
        self.port = port
        self.answered = Counter[str]()
        self.responses = Counter[str]()
        self.ended = Counter[str]()

    async def proxy(self, kind: str, number: int) -> None:
        """One simulated proxy; opened anew whenever its stream ends."""
        while True:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=OPTIONS) as channel:
                method: Any = channel.stream_stream(METHOD)
                call = method(wait_for_ready=True)
                try:
                    if kind == "garbage":
                        await self.garbage(call, number)
                    else:
                        await self.follow(kind, call, number)
                except grpc.aio.AioRpcError:
                    self.ended[kind] += 1
            await asyncio.sleep(0.2)

    async def garbage(self, call: Any, number: int) -> None:
        """Now as its first message, now after a good beginning; always refused."""
        if number % 2:
            await call.write(self.request(number, TYPES[0]).SerializeToString())
        await call.write(bytes(range(255, 0, -1)) * 100)
        while await call.read() is not grpc.aio.EOF:
            self.responses["garbage"] += 1

    async def follow(self, kind: str, call: Any, number: int) -> None:
        for name in TYPES:
            await call.write(self.request(number, name).SerializeToString())
        if kind == "deaf":
            await asyncio.Event().wait()  # takes nothing more than flow control lets through
        first = True
        while (data := await call.read()) is not grpc.aio.EOF:
            self.responses[kind] += 1
            if first:
                self.answered[kind] += 1
                first = False
            if kind == "silent":
                continue
            response = DeltaDiscoveryResponse.FromString(data)
            reply = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
            if kind == "nacking":
                # One in ten says so at length.
                said = "I do not like this. " * (1 if number % 10 else 50_000)
                reply.error_detail.code, reply.error_detail.message = 13, said
            await call.write(reply.SerializeToString())

    @staticmethod
    def request(number: int, name: str) -> DeltaDiscoveryRequest:
        made = DeltaDiscoveryRequest(type_url=PREFIX + name, resource_names_subscribe=["*"])
        made.node.id = f"default/crowd-{number}"
        return made


async def main() -> None:
    port, counts, number = int(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
    crowd = Crowd(port)
    async with asyncio.TaskGroup() as group:
        for kind, count in counts.items():
            for _ in range(count):
                group.create_task(crowd.proxy(kind, number))
                number += 1
        while True:
            said = {"answered": crowd.answered, "responses": crowd.responses, "ended": crowd.ended}
            print(json.dumps(said), flush=True)
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(main())
