"""Changes of MeshTLS under load from a caller of the mesh and one in plaintext: the mesh's loses nothing, neither then nor when connections
with the old filters end; the other is served while plaintext is taken, and refused else.

Three hundred requests a second; MESHWRIGHT_LOAD makes it another rate. A mesh of its own, with the drain time that operators have.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from envoy.bootstrap import DRAIN_TIME
from tests.support.ports import LOOPBACK
from tests.support.processes import eventually
from tests.support.traffic.draining import drained
from tests.support.traffic.mesh_tls import STORE, Plaintext, policy
from tests.support.traffic.world import Traffic, World

RATE = float(os.environ.get("MESHWRIGHT_LOAD", "300"))
MODES = ("permissive", "strict", "permissive", "off", "permissive", "strict", "off", "strict")
"""Also there and back at once, where the order is the control plane's business; from off to strict that takes 16 s."""
STEPS = ("permissive", "off", "permissive", "strict")
URL = "http://store.mesh/"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def calm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Traffic]:
    folder = tmp_path_factory.mktemp("mesh-tls")
    async with World(folder, only=("web-1", "store-1", "store-2"), drain_time=DRAIN_TIME) as world:
        yield Traffic(world)


@asynccontextmanager
async def asking(caller: Plaintext) -> AsyncIterator[None]:
    """`caller` asks all the time within the block."""
    ended = asyncio.Event()

    async def ask() -> None:
        while not ended.is_set():
            await caller.get()

    task = asyncio.create_task(ask())
    try:
        yield
    finally:
        ended.set()
        await task


async def identities(traffic: Traffic) -> set[str]:
    """Whom the servers took the caller for, lately."""
    return {each.json["caller"] for each in await traffic.many(20, URL)}


@pytest.mark.parametrize(
    "to_the_end", [False, pytest.param(True, marks=[pytest.mark.heavy, pytest.mark.timeout(400)])]
)
async def test_no_change_of_the_mode_loses_a_call_of_the_mesh(calm: Traffic, *, to_the_end: bool) -> None:
    caller = Plaintext(calm.member("store-1").sidecar_ports["http"])
    async with (
        calm.load(URL, rate=RATE) as load,
        calm.apply(policy(STORE, "mode: strict")) as file,
        asking(caller),
    ):
        await load.more(100)
        assert set(caller.statuses) == {0}
        for mode in MODES if to_the_end else STEPS:
            await file.replace(policy(STORE, f"mode: {mode}"))
            expected = 0 if mode == "strict" else 200

            async def so_it_is(expected: int = expected) -> bool:
                return caller.statuses[-1] == expected

            await eventually(so_it_is, f"the caller in plaintext gets {expected}")
            before = len(caller.statuses)
            await load.more(int(RATE / 4))

            async def asked(before: int = before) -> bool:
                return len(caller.statuses) > before + 3

            await eventually(asked, "some more calls in plaintext")
            assert set(caller.statuses[before:]) == {expected}, f"after {mode}"
            assert load.failed == 0, f"after {mode}"
            if mode == "off":

                async def nobody() -> bool:
                    return "" in await identities(calm)

                await eventually(nobody, "new connections are plaintext")
        if to_the_end:
            await drained(calm, 2 * DRAIN_TIME)
            await load.more(int(RATE))
            assert await identities(calm) == {calm.member("web").identity}
    report = load.report
    assert report.failures == []
    assert (report.errors, report.statuses) == (0, {200: report.sent})


@pytest.mark.heavy
async def test_a_connection_that_nobody_has_used_yet_is_given_up_when_its_port_becomes_strict(
    calm: Traffic,
) -> None:
    """Callers' Envoys open some in advance. Until its first bytes have come, or not for fifteen seconds, such a one belongs to no filters: were
    its port strict by then, its caller would hear of that by the request that is lost.
    """
    port = calm.member("store-1").sidecar_ports["http"]
    caller = Plaintext(port)

    async def answered(status: int) -> bool:
        await caller.get()
        return caller.statuses[-1] == status

    async with calm.apply(policy(STORE, "mode: off")) as file:
        await eventually(lambda: answered(200), "the port takes plaintext")
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        replacing = asyncio.create_task(file.replace(policy(STORE, "mode: strict")))
        await eventually(lambda: answered(0), "the port takes mesh TLS alone")
        async with asyncio.timeout(3):  # of fifteen that it would be silent
            assert await reader.read() == b""
        await replacing
        writer.close()
        await writer.wait_closed()
