"""One mesh for all tests of this folder, up in a few seconds. A test takes the fixture `traffic`:

    async def test_a_third_goes_to_v2(traffic: Traffic) -> None:
        async with traffic.apply(ROUTE):                                     # in force, acknowledged by every sidecar
            answers = await traffic.many(300, "http://api.mesh/", headers={"x-behave": "delay=5ms"})
        assert within(1 / 3, 300, shares(answers, "version")["v2"])

`tests/support/traffic/members.py` has who is there, `behaviour.py` what servers can be asked to do, `world.py` what a test can do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.traffic.world import Traffic, World

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Servers and agents live on the loop of the session, so the tests of this folder run on it too."""
    on_session_loop = pytest.mark.asyncio(loop_scope="session")
    for item in items:
        if HERE in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(on_session_loop, append=False)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with World(tmp_path_factory.mktemp("traffic")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def traffic(world: World, request: pytest.FixtureRequest) -> AsyncIterator[Traffic]:
    """The shared mesh, with servers that behave normally and have seen nothing."""
    world.reset()
    failed = request.session.testsfailed
    yield Traffic(world)
    world.reset()
    if request.session.testsfailed > failed:
        print(await world.describe())  # pytest shows it with the failure
