"""What is registered in a real Consul is what the mesh has."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest

from discovery.consul import ConsulSource
from discovery.consul_options import ConsulOptions
from mesh.names import Key
from mesh.workload import Health, Locality
from tests.support.consul_agent import ConsulAgent, consul_agent
from tests.support.consul_mesh import Told, told_by


def source_of(agent: ConsulAgent, name: str = "consul", **options: object) -> ConsulSource:
    settings = ConsulOptions(address=agent.address, **options)  # type: ignore[arg-type]
    return ConsulSource(settings, name=name, random=random.Random(2).random)


@pytest.fixture
async def agent() -> AsyncIterator[ConsulAgent]:
    async with consul_agent() as running:
        yield running


@pytest.fixture
async def told(agent: ConsulAgent) -> AsyncIterator[Told]:
    async with told_by(source_of(agent)) as running:
        yield running


async def test_an_instance_comes_changes_and_goes(agent: ConsulAgent, told: Told) -> None:
    assert not told.state.services  # Consul's own service is none of ours
    await agent.add("api", 1, Meta={"protocol": "http", "version": "v1"}, Tags=["canary", "team=red"])
    await told.until(lambda: told.workload("agent.api-1"))
    service = told.state.services[Key("default", "api")]
    assert [(port.name, port.port, port.protocol) for port in service.ports] == [("http", 80, "http")]
    (endpoint,) = told.endpoints("api")
    assert (endpoint.address, endpoint.port, endpoint.meshed) == ("127.0.0.1", 8001, False)
    workload = told.workload("agent.api-1")
    assert workload
    assert dict(workload.labels) == {"version": "v1", "team": "red", "tag/canary": "true"}
    assert workload.service_account == "api"

    # A change that the answer to catalog/services does not show.
    await agent.add(
        "api",
        1,
        port=15001,
        Tags=["canary", "team=red"],
        Meta={"protocol": "http", "version": "v1", "meshed": "true", "app-port": "8001"},
    )
    await told.until(lambda: told.endpoints("api")[0].meshed)
    assert told.endpoints("api")[0].port == 15001

    await agent.deregister("api-1")
    await told.until(lambda: not told.state.workloads)
    assert not told.state.services
    assert told.changes[-1].urgent


async def test_health_is_the_worst_of_service_and_node_checks(agent: ConsulAgent, told: Told) -> None:
    weights = {"Passing": 10, "Warning": 2}
    await agent.add("api", 1, check="passing", Weights=weights)
    await told.until(lambda: told.endpoints("api"))
    assert told.endpoints("api")[0].weight == 10

    await agent.set_check("api-1", "warning")
    await told.until(lambda: told.endpoints("api")[0].health is Health.WARNING)
    assert told.endpoints("api")[0].weight == 2

    await agent.set_check("api-1", "critical")
    await told.until(lambda: not told.endpoints("api"))
    assert told.changes[-1].urgent
    await agent.set_check("api-1", "passing")
    await told.until(lambda: told.endpoints("api"))

    await agent.maintain("api-1", enable=True)
    await told.until(lambda: not told.endpoints("api"))
    await agent.maintain("api-1", enable=False)
    await told.until(lambda: told.endpoints("api"))

    check = {"Name": "disk", "ID": "disk", "TTL": "10m", "Status": "critical"}
    await agent.put("/v1/agent/check/register", check)
    await told.until(lambda: not told.endpoints("api"))
    await agent.put("/v1/agent/check/deregister/disk")
    await told.until(lambda: told.endpoints("api"))


async def test_an_instance_that_begins_critical_is_never_seen_without_its_check(
    agent: ConsulAgent, told: Told
) -> None:
    for number in range(1, 21):
        await agent.add("api", number, check="critical")
    await told.until(lambda: len(told.state.workloads) == 20)
    seen = [workload for _, event in told.events for workload in getattr(event, "workloads", ())]
    assert {workload.health for workload in seen} == {Health.CRITICAL}


async def test_nodes_give_address_and_locality(agent: ConsulAgent, told: Told) -> None:
    await agent.catalog(
        "far",
        "10.0.0.7",
        NodeMeta={"region": "eu", "zone": "a"},
        Service={"ID": "db-1", "Service": "db", "Port": 5432},
    )
    await told.until(lambda: told.endpoints("db"))
    (endpoint,) = told.endpoints("db")
    assert (endpoint.address, endpoint.locality) == ("10.0.0.7", Locality("eu", "a"))
    await agent.catalog("far", "fd00::7", NodeMeta={"region": "eu", "zone": "b"})
    await told.until(lambda: told.endpoints("db")[0].locality == Locality("eu", "b"))
    assert told.endpoints("db")[0].address == "fd00::7"
    await agent.put("/v1/catalog/deregister", {"Node": "far"})
    await told.until(lambda: not told.endpoints("db"))


async def test_bad_instances_are_left_out_one_by_one(agent: ConsulAgent, told: Told) -> None:
    await agent.add("api", 1)
    await agent.add("api", 2, Address="api.example")
    await agent.add("api", 3, Meta={"protocol": "htpp"})
    await agent.add("My_Service", 1)
    await told.until(lambda: len(told.status().warnings) == 3)
    assert [endpoint.address for endpoint in told.endpoints("api")] == ["127.0.0.1"]
    lines = "\n".join(told.status().warnings)
    assert "instance api-2 of Consul service api on node agent is left out: address 'api.example'" in lines
    assert "meta protocol 'htpp' is unknown: use http, http2, grpc, tcp, tls" in lines
    assert "Consul service My_Service is left out" in lines
    await agent.add("api", 2)
    await told.until(lambda: len(told.status().warnings) == 2)


async def test_three_hundred_services_over_few_connections(agent: ConsulAgent) -> None:
    for number in range(300):
        await agent.add(f"s{number}", 1, check="passing", Meta={"protocol": "http"})
    # Long polls that time out and are asked again, as they do all day.
    async with told_by(source_of(agent, wait=1.0)) as told:
        assert len(told.state.services) == 300
        taken = []
        for number in range(0, 300, 10):
            ident = f"s{number}-1"
            began = time.monotonic()
            await agent.set_check(ident, "critical")
            done = await told.until(lambda s=f"s{number}": not told.endpoints(s))  # type: ignore[misc]
            taken.append(done - began)
            # No check of its own: only the sweep finds it.
            began = time.monotonic()
            await agent.add(f"s{number}", 2)
            done = await told.until(lambda s=f"s{number}": told.endpoints(s))  # type: ignore[misc]
            taken.append(done - began)
        taken.sort()
        print(f"change to event: p50 {taken[len(taken) // 2] * 1e3:.1f} ms, max {taken[-1] * 1e3:.1f} ms")
        await asyncio.sleep(2.5)  # two rounds of long polls without news: nothing may fail
        assert told.status().state == "live"
        assert told.status().last_error is None
        assert len(told.state.services) == 300


async def test_many_nodes(agent: ConsulAgent) -> None:
    """Enough of them that a sweep is long, and all checks are looked at before it."""

    async def register(number: int, port: int, *checks: str, service: int | None = None) -> None:
        name, node = f"s{number if service is None else service}", f"n{number % 30}"
        ident = f"s{number}"
        await agent.catalog(
            node,
            f"10.0.0.{number % 30 + 1}",
            Service={"ID": ident, "Service": name, "Port": port},
            Checks=[
                {"Node": node, "CheckID": f"c-{ident}", "Name": "c", "Status": status, "ServiceID": ident}
                for status in checks
            ],
        )

    for number in range(60):
        await register(number, 80, "passing")
    async with told_by(source_of(agent)) as told:
        assert len(told.state.workloads) == 60
        await register(100, 80, "passing", service=7)  # the look finds it
        await told.until(lambda: len(told.endpoints("s7")) == 2)
        await register(5, 81)  # only the sweep does
        await told.until(lambda: told.endpoints("s5")[0].port == 81)
        await register(101, 80, service=8)  # nor has this one a check
        await told.until(lambda: len(told.endpoints("s8")) == 2)
        await agent.put("/v1/catalog/deregister", {"Node": "n11", "ServiceID": "s101"})
        await told.until(lambda: len(told.endpoints("s8")) == 1)
        assert told.status().last_error is None
