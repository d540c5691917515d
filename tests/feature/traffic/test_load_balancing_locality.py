"""LoadBalancing by places. `web` is in eu/a, as are `api-1` and `api-3`; `api-2` is in eu/b, `api-4` in us/c."""

from __future__ import annotations

from collections.abc import Iterable

from tests.support.processes import eventually
from tests.support.traffic.client import shares, statuses
from tests.support.traffic.statistics import within
from tests.support.traffic.world import Traffic

URL = "http://api.mesh/"
CHECK = """
---
apiVersion: meshwright.dev/v1alpha1
kind: HealthCheck
metadata: {name: check}
spec:
  targetRefs: [{kind: Service, name: api}]
  interval: 50ms
  unhealthyThreshold: 1
  http: {path: /healthz}
"""


def policy(spec: str, service: str = "api") -> str:
    return f"""
apiVersion: meshwright.dev/v1alpha1
kind: LoadBalancing
metadata: {{name: places}}
spec:
  targetRefs: [{{kind: Service, name: {service}}}]
  {spec}
"""


async def answered_by(traffic: Traffic, *wanted: str) -> None:
    """Wait until `wanted` answer, and no others."""

    async def settled() -> bool:
        return set(shares(await traffic.many(24, URL))) == set(wanted)

    await eventually(settled, f"{', '.join(wanted)} take the traffic")


def ill(traffic: Traffic, names: Iterable[str]) -> None:
    for name in names:
        traffic.servers[name].behave("status=503", "/healthz")


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
        workload = f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: far-1}}
spec:
  services: [store]
  address: 127.0.0.1
  ports: [{{name: http, app: {far.member.app_ports["http"]}}}]
  locality: {{region: us, zone: d}}
"""
        async with traffic.apply(policy("locality: {mode: failover}", "store") + workload):
            near = await traffic.many(12, "http://store.mesh/")
            assert set(shares(near)) == {"store-1", "store-2"}
            across = await traffic.many(12, "http://store.mesh/", caller="api-4")
            assert set(shares(across)) == {"far-1"}, "the one in its region"
            elsewhere = await traffic.many(12, "http://store.mesh/", caller="api-2")
            assert set(shares(elsewhere)) == {"store-1", "store-2"}


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


async def test_a_ring_has_its_place_too(traffic: Traffic) -> None:
    spec = "algorithm: ringHash\n  hash: [{header: x-user}]\n  locality: {mode: failover}"
    async with traffic.apply(policy(spec)):
        users = [set(shares(await traffic.many(2, URL, headers={"x-user": f"u{n}"}))) for n in range(12)]
        assert all(len(each) == 1 for each in users)
        assert set.union(*users) == {"api-1", "api-3"}


async def test_as_much_in_the_own_zone_as_leaves_the_load_equal(traffic: Traffic) -> None:
    """`api` has two of four in eu/a, `store` two of three: those of eu/a need nobody else. In us/c it is one of four and one of three."""
    async with traffic.outside("far") as far:
        workload = f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: far-1}}
spec:
  services: [store]
  address: 127.0.0.1
  ports: [{{name: http, app: {far.member.app_ports["http"]}}}]
  locality: {{region: us, zone: c}}
"""
        spec = "algorithm: random\n  locality: {mode: zoneAware, zoneAware: {minEndpoints: 1}}"
        async with traffic.apply(policy(spec, "store") + workload) as file:

            async def by_zone() -> bool:
                near = shares(await traffic.many(20, "http://store.mesh/", caller="api-1"))
                return set(near) == {"store-1", "store-2"}

            await eventually(by_zone, "callers of eu/a stay there")
            across = shares(await traffic.many(20, "http://store.mesh/", caller="api-4"))
            assert set(across) == {"far-1"}
            lonely = shares(await traffic.many(60, "http://store.mesh/", caller="api-2"))
            assert len(lonely) == 3, "nobody is in its zone"
            await file.replace(policy("algorithm: random", "store") + workload)
            everywhere = shares(await traffic.many(60, "http://store.mesh/", caller="api-1"))
            assert len(everywhere) == 3
