"""LoadBalancing by failover: nearer places first. `web` is in eu/a, as are `api-1` and `api-3`; `api-2` is in eu/b, `api-4` in us/c.

`test_load_balancing_zones.py` has the other ways to go by places.
"""

from __future__ import annotations

from tests.support.traffic.balancing import CHECK, URL, answered_by, elsewhere, ill, policy
from tests.support.traffic.client import shares
from tests.support.traffic.world import Traffic

STORE = "{kind: Service, name: store}"


async def test_the_own_zone_then_the_own_region_then_all_else(traffic: Traffic) -> None:
    async with traffic.apply(policy("locality: {mode: failover}") + CHECK):
        assert set(shares(await traffic.many(40, URL))) == {"api-1", "api-3"}
        ill(traffic, ("api-1", "api-3"))
        await answered_by(traffic, "api-2")
        ill(traffic, ("api-2",))
        await answered_by(traffic, "api-4")
        traffic.servers["api-1"].reset()
        await answered_by(traffic, "api-1", "api-4")  # half of the own zone is well: less than 72 %
    assert len(shares(await traffic.many(60, URL))) == 4


async def test_an_order_by_name(traffic: Traffic) -> None:
    async with traffic.apply(policy("locality: {failover: [{region: us}, {region: eu, zone: b}]}") + CHECK):
        assert set(shares(await traffic.many(20, URL))) == {"api-4"}
        ill(traffic, ("api-4",))
        await answered_by(traffic, "api-2")


async def test_each_caller_has_its_own_place(traffic: Traffic) -> None:
    async with traffic.outside("far") as far:
        workload = elsewhere("store", far.member.app_ports["http"], "us", "d")
        async with traffic.apply(policy("locality: {mode: failover}", STORE) + workload):
            near = await traffic.many(12, "http://store.mesh/")
            assert set(shares(near)) == {"store-1", "store-2"}
            across = await traffic.many(12, "http://store.mesh/", caller="api-4")
            assert set(shares(across)) == {"far-1"}, "the one in its region"
            other = await traffic.many(12, "http://store.mesh/", caller="api-2")
            assert set(shares(other)) == {"store-1", "store-2"}


async def test_a_ring_has_its_place_too(traffic: Traffic) -> None:
    spec = "algorithm: ringHash\n  hash: [{header: x-user}]\n  locality: {mode: failover}"
    async with traffic.apply(policy(spec)):
        users = [set(shares(await traffic.many(2, URL, headers={"x-user": f"u{n}"}))) for n in range(12)]
        assert all(len(each) == 1 for each in users)
        assert set.union(*users) == {"api-1", "api-3"}
