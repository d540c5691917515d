"""GRPCRoutes and TCPRoutes of a gateway: the features that the files of these kinds show in the mesh."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.feature.traffic.test_route_filters import modifier
from tests.feature.traffic.test_route_tcp import to as line
from tests.support.processes import eventually
from tests.support.traffic.edge import Outside, PublicAuthority, documents, gateway
from tests.support.traffic.grpc_side import GrpcAnswer
from tests.support.traffic.routes import route, subset, to
from tests.support.traffic.statistics import within
from tests.support.traffic.world import Traffic, World

MIRROR = (
    "{type: RequestMirror, requestMirror: "
    "{backendRef: {group: meshwright.dev, kind: ServiceSubset, name: grpc-v2, port: 80}}}"
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def outside(world: World) -> AsyncIterator[Outside]:
    ports = {name: world.ports.take() for name in ("http", "tcp")}
    listeners = f"""
  - {{name: http, port: {ports["http"]}, protocol: HTTP}}
  - {{name: tcp, port: {ports["tcp"]}, protocol: TCP}}
"""
    async with gateway(world, "lines", documents("lines", listeners), ports, PublicAuthority()) as made:
        yield made


async def test_grpc_shares_metadata_and_copies(traffic: Traffic, outside: Outside) -> None:
    def at(*rules: str) -> str:
        return route(*rules, kind="GRPCRoute", gateway="name: lines, sectionName: http", name="g")

    async def call(method: str = "/test.Echo/Say") -> GrpcAnswer:
        metadata = {"x-set": "mine"}
        return await traffic.grpc("calls.example", method, metadata=metadata, port=outside.ports["http"])

    versions = subset("v1", "grpc") + subset("v2", "grpc")
    split = f"name: split\nbackendRefs: [{to('grpc-v1', 3)}, {to('grpc-v2', 1)}]"
    copied = f"filters: [{modifier('Request', 'ours')}, {MIRROR}]\nbackendRefs: [{to('grpc-v1')}]"
    async with traffic.apply(versions + at(split)) as file:
        found = Counter([(await call()).workload for _ in range(200)])
        assert within(0.25, 200, found["grpc-2"]), found
        await file.replace(versions + at(copied))
        before = len(traffic.servers["grpc-2"].requests)
        answer = await call()
        assert (answer.workload, answer.json["headers"]["x-set"]) == ("grpc-1", "ours")

        async def come() -> bool:
            return len(traffic.servers["grpc-2"].requests) == before + 1

        await eventually(come, "the copy of the call")


async def test_shares_of_connections(traffic: Traffic, outside: Outside) -> None:
    def at(*backends: str) -> str:
        at_tcp = "name: lines, sectionName: tcp"
        return route(f"backendRefs: [{', '.join(backends)}]", kind="TCPRoute", gateway=at_tcp, name="t")

    async def who(n: int) -> Counter[str]:
        found: Counter[str] = Counter()
        for _ in range(n):
            try:
                async with outside.tcp("tcp") as connection:
                    found[(await connection.ask("ping")).partition(" ")[0]] += 1
            except ConnectionError:
                found[""] += 1
        return found

    versions = subset("v1", "tcp") + subset("v2", "tcp")
    async with traffic.apply(versions + at(line("tcp-v1", 3), line("tcp-v2"))) as file:
        found = await who(200)
        assert within(0.25, 200, found["tcp-2"]), found
        await file.replace(versions + at(line("tcp-v1"), line("missing")))
        found = await who(60)
        assert set(found) == {"tcp-1", ""}, found
