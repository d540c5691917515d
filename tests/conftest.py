"""What every test of a running mesh needs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.mesh import Instance, Mesh

# What a property shows does not depend on how busy the machine is. In CI every run tries the same examples: new ones are
# looked for at the desk (and by `make heavy`), where somebody can do something about what they find.
settings.register_profile(
    "steady", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("steady")


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """A mesh on files, not yet serving."""
    async with Mesh(tmp_path) as made:
        yield made


@pytest.fixture
async def chain(mesh: Mesh) -> tuple[Instance, Instance, Instance]:
    """web → api → store, one instance each, serving and connected."""
    web = Instance("web", "web-1", uses=("api",), calls="api")
    api = Instance(
        "api", "api-1", uses=("store",), calls="store", keys="control-plane"
    )  # the others': by their agents
    store = Instance("store", "store-1")
    for each in (web, api, store):
        mesh.write_service(each.service, each)
    await mesh.serve()
    await mesh.up(web, api, store)
    return web, api, store
