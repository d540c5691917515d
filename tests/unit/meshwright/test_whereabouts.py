"""Where a workload is, by the state of the mesh."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from mesh.names import Key
from mesh.state import MeshState
from mesh.workload import Locality
from meshwright.whereabouts import Whereabouts
from tests.support.builders import a_state, a_workload

HERE = Locality("eu", "a")
API_1 = Key("default", "api-1")


class Holder:
    def __init__(self) -> None:
        self.state: MeshState = a_state()
        self.asked = asyncio.Event()

    def __call__(self) -> MeshState:
        self.asked.set()
        return self.state

    def discover(self) -> None:
        self.state = a_state(replace(a_workload(), locality=HERE))


async def test_who_does_not_wait_is_answered_at_once() -> None:
    holder = Holder()
    where = Whereabouts(holder, patience=3600)
    assert await where.locate(API_1, False) == Locality()
    holder.discover()
    assert await where.locate(API_1, False) == await where.locate(API_1, True) == HERE


async def test_a_pod_that_has_just_begun_is_waited_for() -> None:
    holder = Holder()
    answer = asyncio.create_task(Whereabouts(holder, patience=3600).locate(API_1, True))
    await holder.asked.wait()
    assert not answer.done()
    holder.discover()
    assert await answer == HERE


async def test_nobody_waits_for_ever() -> None:
    assert await Whereabouts(Holder(), patience=0.01).locate(API_1, True) == Locality()
