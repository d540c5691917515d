"""LoadBalancing by weights of places, by nothing but the own one, and by zones. Who is where: `test_load_balancing_locality.py`."""

from __future__ import annotations

from tests.support.processes import eventually
from tests.support.traffic.balancing import CHECK, URL, answered_by, elsewhere, ill, policy
from tests.support.traffic.client import shares, statuses
from tests.support.traffic.statistics import within
from tests.support.traffic.world import Traffic

STORE = "{kind: Service, name: store}"


async def test_parts_by_weight(traffic: Traffic) -> None:
    spec = "algorithm: random\n  locality: {weights: [{own: zone, weight: 3}, {own: region, weight: 1}]}"
    async with traffic.apply(policy(spec) + CHECK):
        found = shares(await traffic.many(300, URL))
        assert set(found) == {"api-1", "api-2", "api-3"}, "api-4 is in no place of the list"
        assert within(1 / 4, 300, found["api-2"])
        assert within(3 / 8, 300, found["api-1"])
        ill(traffic, ("api-1", "api-2", "api-3"))
        await answered_by(traffic, "api-4")


async def test_nowhere_else(traffic: Traffic) -> None:
    spec = "locality: {mode: strict, within: zone}\n  panicThreshold: 0"
    async with traffic.apply(policy(spec) + CHECK) as file:
        assert set(shares(await traffic.many(40, URL))) == {"api-1", "api-3"}
        hosts = (await traffic.envoy("web").clusters())["default/api:80"]["host_statuses"]
        assert len(hosts) == 2, "the others are not even known"
        ill(traffic, ("api-1", "api-3"))

        async def nobody() -> bool:
            return statuses(await traffic.many(8, URL)) == {503: 8}

        await eventually(nobody, "nobody is left")
        await file.replace(policy("locality: {within: region}\n  panicThreshold: 0") + CHECK)
        await answered_by(traffic, "api-2")


async def test_as_much_in_the_own_zone_as_leaves_the_load_equal(traffic: Traffic) -> None:
    """`api` has two of four in eu/a, `store` two of three: those of eu/a need nobody else. In us/c it is one of four and one of three."""
    async with traffic.outside("far") as far:
        workload = elsewhere("store", far.member.app_ports["http"], "us", "c")
        spec = "algorithm: random\n  locality: {mode: zoneAware, zoneAware: {minEndpoints: 1}}"
        async with traffic.apply(policy(spec, STORE) + workload) as file:

            async def by_zone() -> bool:
                near = shares(await traffic.many(20, "http://store.mesh/", caller="api-1"))
                return set(near) == {"store-1", "store-2"}

            await eventually(by_zone, "callers of eu/a stay there")
            across = shares(await traffic.many(20, "http://store.mesh/", caller="api-4"))
            assert set(across) == {"far-1"}
            lonely = shares(await traffic.many(60, "http://store.mesh/", caller="api-2"))
            assert len(lonely) == 3, "nobody is in its zone"
            await file.replace(policy("algorithm: random", STORE) + workload)
            everywhere = shares(await traffic.many(60, "http://store.mesh/", caller="api-1"))
            assert len(everywhere) == 3
