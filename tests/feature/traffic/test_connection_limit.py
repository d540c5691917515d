"""ConnectionLimit: the connection that is one too many is closed, and the next one is taken when another ended."""

from __future__ import annotations

import contextlib

from policies.connection_limit import EXAMPLE
from tests.support.processes import eventually
from tests.support.traffic.draining import applied_to_all
from tests.support.traffic.tcp_side import TcpConnection
from tests.support.traffic.world import Traffic

LIMIT = """
apiVersion: meshwright.dev/v1alpha1
kind: ConnectionLimit
metadata: {name: tcp}
spec: {targetRefs: [{kind: Service, name: tcp}], connections: 2}
"""


async def answered(traffic: Traffic) -> bool:
    """Whether a new connection gets through to an application."""
    try:
        async with traffic.tcp("tcp/echo") as connection:
            return (await connection.ask("ping")).startswith("tcp-")
    except (OSError, EOFError):
        return False


async def test_connections_beyond_the_limit_are_closed(traffic: Traffic) -> None:
    """Two workloads take two each. The caller's sidecar chooses among them by chance, so that one may be asked for a third before the other
    has two: that one is closed, too.
    """
    async with applied_to_all(traffic, LIMIT), contextlib.AsyncExitStack() as stack:
        held: list[TcpConnection] = []

        async def four() -> bool:
            async with contextlib.AsyncExitStack() as one:
                connection = await one.enter_async_context(traffic.tcp("tcp/echo"))
                with contextlib.suppress(OSError, EOFError):
                    assert (await connection.ask("ping")).startswith("tcp-")
                    stack.push_async_callback(one.pop_all().aclose)
                    held.append(connection)
            return len(held) == 4

        await eventually(four, "two connections are held by each of two workloads")
        assert not await answered(traffic)
        for connection in held:
            assert (await connection.ask("still")).endswith("still"), (
                "those that were there are not disturbed"
            )
        await stack.aclose()
        await eventually(lambda: answered(traffic), "a place is free again")


async def test_the_example(traffic: Traffic) -> None:
    async with applied_to_all(traffic, EXAMPLE.replace("name: db", "name: tcp")):
        assert await answered(traffic)
