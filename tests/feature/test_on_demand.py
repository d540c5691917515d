"""Clusters on demand: a proxy that may call forty services has the clusters of those that it called."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from envoy.on_demand import ON_DEMAND
from meshwright.tables import show_status
from tests.support.mesh import LOOPBACK, Instance, Load, a_service_document
from tests.support.on_demand import SERVICES, TCP, OnDemandWorld, on_demand_world
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OnDemandWorld]:
    async with on_demand_world(tmp_path_factory.mktemp("mesh")) as made:
        yield made


@pytest.fixture(params=["newest", "oldest"])
def web(world: OnDemandWorld, request: pytest.FixtureRequest) -> Instance:
    """A sidecar of each version of Envoy."""
    return world.newest if request.param == "newest" else world.oldest


async def test_it_has_forty_clusters_fewer_and_the_first_request_passes(
    world: OnDemandWorld, web: Instance
) -> None:
    assert await world.clusters(web) == {TCP}
    assert len(await world.clusters(world.whole)) == 42
    took = []
    for name in SERVICES[:5]:
        status, said, seconds = await world.called(web, name)
        assert (status, said["instance"]) == (200, str(world.first.port)), said
        took.append(seconds)
    print("first requests:", " ".join(f"{1000 * each:.1f} ms" for each in took))
    print("second request:", f"{1000 * (await world.called(web, 's0'))[2]:.1f} ms")
    assert max(took) < 1.0
    assert await world.clusters(web) == {
        TCP,
        *(f"default/{name}:80" for name in SERVICES[:5]),
    }


async def test_a_body_goes_with_the_first_request(world: OnDemandWorld, web: Instance) -> None:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
        session.post(
            f"http://{LOOPBACK}:{web.outbound_port}/", headers={"Host": "s5"}, data=b"x" * 100_000
        ) as answer,
    ):
        assert answer.status == 200, await answer.text()
        assert (await answer.json())["length"] == 100_000


async def test_twenty_first_requests_at_once_all_pass(world: OnDemandWorld, web: Instance) -> None:
    answers = await asyncio.gather(*(world.called(web, name) for name in SERVICES[6:16] * 2))
    assert [status for status, _, _ in answers] == [200] * 20, answers


async def test_endpoints_that_change_reach_it(world: OnDemandWorld, web: Instance) -> None:
    world.service("s16", world.first.port)
    await eventually(lambda: world.leads_to(web, "s16", world.first), "the first application answers")
    async with Load(world.url(web), "s16") as load:
        await load.more(10)
        world.service("s16", world.second.port)

        async def moved() -> bool:
            return await world.mesh.endpoints(web, "default/s16:80") == {f"{LOOPBACK}:{world.second.port}"}

        await eventually(moved, "the new endpoint has come")
        await load.more(10)
    assert not load.failures, load.failures
    assert str(world.second.port) in load.by_instance


async def test_routes_to_clusters_that_it_never_had_lose_no_request(
    world: OnDemandWorld, web: Instance
) -> None:
    """To another service, then to a split of two, then back: each is asked for by the first request that is led there."""
    world.service("s18", world.second.port)
    async with Load(world.url(web), "s17") as load:
        await load.more(20)
        for backends in ([("s18", 1)], [("s19", 1), ("s20", 3)]):
            world.route("s17", *backends)

            await eventually(
                functools.partial(world.has, web, *(name for name, _ in backends)), "they were asked for"
            )
            await load.more(20)
        world.remove("route-s17.yaml")
        await load.more(50)
    assert not load.failures, load.failures
    assert str(world.second.port) in load.by_instance


async def test_copies_go_to_a_service_that_nobody_called(world: OnDemandWorld, web: Instance) -> None:
    world.service("s22", world.second.port)
    copied = f"s2{web.name[-1]}"
    filters = [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "s22", "port": 80}}}]
    world.route(copied, (copied, 1), filters=filters)
    await eventually(lambda: world.has(web, "s22"), "the cluster for copies has come unasked")
    await eventually(lambda: world.answers(web, copied, 200), "the service answers")

    async def came() -> bool:
        await world.called(web, copied)
        return any(each.startswith(copied) for each in world.second.asked)

    await eventually(came, "a copy has come")
    world.remove(f"route-{copied}.yaml")

    async def gone() -> bool:
        return not await world.has(web, "s22")

    await eventually(gone, "the cluster has gone again, for nobody called it")


async def test_what_is_not_there_is_refused_at_once(world: OnDemandWorld, web: Instance) -> None:
    assert (await world.called(web, "s99"))[0] == 404
    world.route("s23", ("s99", 1))
    await eventually(lambda: world.answers(web, "s23", 500), "the route leads nowhere")
    assert (await world.called(web, "s24"))[0] == 200
    world.remove("s24.yaml")
    await eventually(lambda: world.answers(web, "s24", 404), "the service has gone")
    world.service("s24", world.second.port)
    await eventually(lambda: world.answers(web, "s24", 200), "the service is back")


async def test_status_says_what_is_spared(world: OnDemandWorld, web: Instance) -> None:
    status = await world.mesh.status()
    sees = {proxy.proxy: proxy.sees for proxy in status.proxies}
    some, every = sees[f"default/{web.name}"], sees["default/plain-1"]
    assert some is not None
    assert every is not None
    have = await world.clusters(web)
    assert (some.clusters, some.of_clusters) == (len(have), len(await world.clusters(world.whole)))
    assert every.of_clusters == 0
    assert some.size < every.size == some.of_size
    assert some.memory < some.of_memory
    show_status(status, "test")


async def test_switched_on_and_off_while_it_runs(world: OnDemandWorld) -> None:
    """On, it keeps what it has, for open connections do not know how to ask; off, it has all at once. No request is lost."""
    document = world.whole.document()
    async with Load(world.url(world.whole), "s0") as load:
        await load.more(10)
        for switch in ("onDemand", "all"):
            document["spec"]["clusters"] = switch
            world.mesh.write("plain.yaml", a_service_document("plain"), document)

            async def switched(wanted: bool = switch == "onDemand") -> bool:
                dump = await world.mesh.envoy(world.whole, "/config_dump?resource=dynamic_listeners")
                return (ON_DEMAND in json.dumps(dump)) is wanted

            await eventually(switched, f"its listeners are those of {switch}")
            await load.more(50)
            assert await world.has(world.whole, *SERVICES)
    assert not load.failures, load.failures
