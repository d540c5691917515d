"""LoadBalancing: who takes a request. Sidecars here have one worker thread, so that round robin is exact."""

from __future__ import annotations

import time

from policies.load_balancing import EXAMPLE
from tests.support.processes import eventually
from tests.support.traffic.balancing import CHECK, URL, ill, policy
from tests.support.traffic.client import shares, statuses
from tests.support.traffic.statistics import within
from tests.support.traffic.world import Traffic

ALL = {"api-1", "api-2", "api-3", "api-4"}


async def test_round_robin_is_one_after_the_other(traffic: Traffic) -> None:
    async with traffic.apply(policy("algorithm: roundRobin")):
        assert set(shares(await traffic.many(40, URL, concurrency=1)).values()) == {10}


async def test_random_is_within_what_chance_explains(traffic: Traffic) -> None:
    async with traffic.apply(policy("algorithm: random")):
        found = shares(await traffic.many(200, URL))
        assert set(found) == ALL
        assert all(within(0.25, 200, each) for each in found.values()), found


async def test_the_least_busy_one_of_those_that_are_looked_at(traffic: Traffic) -> None:
    traffic.servers["api-1"].behave("delay=500ms")
    async with traffic.apply(policy("algorithm: leastRequest\n  leastRequest: {choiceCount: 8}")):
        found = shares(await traffic.many(120, URL, concurrency=8))
        assert found["api-1"] <= 10 < min(found[each] for each in ALL - {"api-1"}), found


async def test_the_example_keeps_a_user_with_one_endpoint(traffic: Traffic) -> None:
    async with traffic.apply(EXAMPLE):
        by_user = {}
        for user in range(24):
            answers = await traffic.many(4, URL, headers={"x-user": f"u{user}"})
            (by_user[user],) = shares(answers)
        assert set(by_user.values()) == ALL, "and different users with different ones"
        first = await traffic.get(URL)
        name, _, value = first.headers["set-cookie"].partition(";")[0].partition("=")
        assert name == "visitor"
        again = await traffic.many(6, URL, headers={"cookie": f"visitor={value}"})
        assert set(shares(again)) == {first.workload}


async def test_a_ring_goes_by_what_is_asked_for(traffic: Traffic) -> None:
    spec = "algorithm: ringHash\n  hash: [{queryParameter: item, terminal: true}, {sourceAddress: true}]"
    async with traffic.apply(policy(spec)):
        items = {item: set(shares(await traffic.many(3, f"{URL}?item={item}"))) for item in range(16)}
        assert all(len(each) == 1 for each in items.values()), items
        assert len(set.union(*items.values())) > 1
        clients = {
            client: set(shares(await traffic.many(3, URL, headers={"x-forwarded-for": f"10.0.0.{client}"})))
            for client in range(16)
        }
        assert all(len(each) == 1 for each in clients.values()), clients
        assert len(set.union(*clients.values())) > 1


async def test_what_is_hashed_may_be_said_for_a_route(traffic: Traffic) -> None:
    route = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules: [{backendRefs: [{name: api, port: 80}]}]
---
apiVersion: meshwright.dev/v1alpha1
kind: LoadBalancing
metadata: {name: of-route}
spec: {targetRefs: [{kind: HTTPRoute, name: api}], hash: [{header: x-tenant}]}
"""
    async with traffic.apply(policy("algorithm: maglev\n  hash: [{header: x-user}]") + route):
        tenants = {
            tenant: set(shares(await traffic.many(4, URL, headers={"x-tenant": f"t{tenant}"})))
            for tenant in range(8)
        }
        assert all(len(each) == 1 for each in tenants.values())
        assert len(shares(await traffic.many(24, URL, headers={"x-user": "u"}))) > 1, (
            "the nearer list replaces"
        )


async def test_a_session_sticks_to_its_endpoint(traffic: Traffic) -> None:
    async with traffic.apply(policy("stickySession: {name: session, ttl: 1h}")) as file:
        first = await traffic.get(URL)
        cookie = first.headers["set-cookie"].partition(";")[0]
        assert cookie.startswith("session=")
        assert "Max-Age=3600" in first.headers["set-cookie"]
        assert set(shares(await traffic.many(12, URL, headers={"cookie": cookie}))) == {first.workload}
        await file.replace(policy("stickySession: {type: Header, name: x-session}"))
        first = await traffic.get(URL)
        headers = {"x-session": first.headers["x-session"]}
        assert set(shares(await traffic.many(12, URL, headers=headers))) == {first.workload}


async def test_whether_all_get_traffic_when_few_are_healthy(traffic: Traffic) -> None:
    ill(traffic, ALL)

    async def all_ill() -> bool:
        hosts = (await traffic.envoy("web").clusters())["default/api:80"]["host_statuses"]
        return all(each["health_status"].get("failed_active_health_check") for each in hosts)

    async with traffic.apply(policy("panicThreshold: 0") + CHECK) as file:
        await eventually(all_ill, "nobody is healthy")
        answer = await traffic.get(URL)
        assert (answer.status, "no healthy" in answer.text) == (503, True)
        await file.replace(policy("panicThreshold: 50") + CHECK)
        await eventually(all_ill, "nobody is healthy")
        assert statuses(await traffic.many(8, URL)) == {200: 8}


async def test_who_has_just_come_starts_slowly(traffic: Traffic) -> None:
    spec = "algorithm: roundRobin\n  slowStart: {window: 1500ms, minWeightPercent: 1}"
    async with traffic.apply(policy(spec)), traffic.outside("api") as server:
        since = time.monotonic()

        async def warm() -> bool:
            await traffic.many(8, URL)
            return time.monotonic() - since > 1.5

        await eventually(warm, "those that were there are warm")
        port = server.member.app_ports["http"]
        late = f"""
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: api-9}}
spec: {{services: [api], address: 127.0.0.1, ports: [{{name: http, app: {port}}}]}}
"""
        async with traffic.apply(late):
            await traffic.many(50, URL)
            early = len(server.requests)
            assert early <= 5, "an equal share would be ten"

            async def equal() -> bool:
                server.requests.clear()
                await traffic.many(50, URL)
                return len(server.requests) >= 9

            await eventually(equal, "it has its whole share")
