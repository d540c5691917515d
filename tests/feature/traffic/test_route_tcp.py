"""TCPRoute and TLSRoute: shares of connections, through explicit local ports."""

from __future__ import annotations

import ssl
from collections import Counter

import aiohttp

from tests.support.traffic.edge import PublicAuthority
from tests.support.traffic.routes import grant, route, subset
from tests.support.traffic.statistics import within
from tests.support.traffic.world import Traffic

BOTH = subset("v1", "tcp") + subset("v2", "tcp")
N = 200


def connections(*backends: str, parent: str = "name: tcp, port: 7000") -> str:
    return route(f"backendRefs: [{', '.join(backends)}]", kind="TCPRoute", name="t", parent=parent)


def to(name: str, weight: int = 1, port: int = 7000, more: str = "") -> str:
    kind = "group: meshwright.dev, kind: ServiceSubset, " if "-v" in name else ""
    return f"{{{kind}name: {name}, port: {port}, weight: {weight}{more and f', {more}'}}}"


async def who_answers(traffic: Traffic, n: int) -> Counter[str]:
    """By workload; empty where the connection was refused."""
    found: Counter[str] = Counter()
    for _ in range(n):
        try:
            async with traffic.tcp("tcp/echo") as connection:
                found[(await connection.ask("ping")).partition(" ")[0]] += 1
        except ConnectionError:
            found[""] += 1
    return found


async def test_shares_of_subsets(traffic: Traffic) -> None:
    async with traffic.apply(BOTH + connections(to("tcp-v1", 3), to("tcp-v2", 1))) as file:
        found = await who_answers(traffic, N)
        assert within(0.25, N, found["tcp-2"]), found
        assert found["tcp-1"] + found["tcp-2"] == N
        await file.replace(BOTH + connections(to("tcp-v1", 0), to("tcp-v2", 1)))
        assert await who_answers(traffic, 10) == {"tcp-2": 10}
    assert set(await who_answers(traffic, 40)) == {"tcp-1", "tcp-2"}


async def test_the_share_of_a_backend_that_is_not_there_is_refused(traffic: Traffic) -> None:
    async with traffic.apply(BOTH + connections(to("tcp-v1"), to("missing"))) as file:
        found = await who_answers(traffic, N)
        assert set(found) == {"tcp-1", ""}
        assert within(0.5, N, found[""]), found
        await file.replace(connections(to("missing")))
        assert await who_answers(traffic, 5) == {"": 5}
        await file.replace(connections(to("tcp", 0)))
        assert await who_answers(traffic, 5) == {"": 5}


async def test_another_namespace_has_to_grant_it(traffic: Traffic) -> None:
    port = traffic.member("tcp-2").app_ports["echo"]
    there = f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {{name: there, namespace: other}}
spec: {{ports: [{{name: echo, port: 7000, protocol: tcp}}]}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: there-1, namespace: other}}
spec: {{services: [there], address: 127.0.0.1, ports: [{{name: echo, app: {port}}}]}}
"""
    document = there + connections(to("there", more="namespace: other"))
    async with traffic.apply(document) as file:
        assert await who_answers(traffic, 5) == {"": 5}
        await file.replace(document + grant("other", kind="TCPRoute"))
        assert await who_answers(traffic, 5) == {"tcp-2": 5}


async def test_other_ports_are_not_concerned(traffic: Traffic) -> None:
    async with traffic.apply(connections(to("missing"))), traffic.tcp("tcp/greet") as connection:
        assert (await connection.read()).startswith("hello from")
    async with traffic.apply(connections(to("missing"), parent="name: tcp, sectionName: greet")):
        assert set(await who_answers(traffic, 5)) <= {"tcp-1", "tcp-2"}


async def test_tls_of_applications_is_routed_untouched(traffic: Traffic) -> None:
    """By a TLSRoute, which comes before a TCPRoute at the same port (GEP-1294)."""
    local, folder, authority = traffic.port(), traffic.world.folder, PublicAuthority()
    authority.issue(folder / "own.pem", folder / "own.key", "secure.example")
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(folder / "own.pem", folder / "own.key")
    async with traffic.outside(tls=own) as server:
        document = f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {{name: front}}
spec: {{ports: [{{name: tls, port: 443, protocol: tls}}]}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {{name: secure}}
spec: {{ports: [{{name: tls, port: 443, protocol: tls}}]}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: secure-1}}
spec: {{services: [secure], address: 127.0.0.1, ports: [{{name: tls, app: {server.member.app_ports["http"]}}}]}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: caller-1}}
spec:
  {{serviceAccount: caller, address: 127.0.0.1, meshed: true, outboundPort: {traffic.port()},
   uses: [{{service: front, port: tls, localPort: {local}}}]}}
"""
        tcp = route(f"backendRefs: [{to('missing', port=443)}]", kind="TCPRoute", parent="name: front")
        tls = route(
            f"backendRefs: [{to('secure', port=443)}]", kind="TLSRoute", name="s", parent="name: front"
        ).replace("  rules:", "  hostnames: [secure.example]\n  rules:")
        async with (
            traffic.apply(document + tcp + tls),
            traffic.proxy("caller-1", "caller"),
            aiohttp.ClientSession() as session,
            session.get(
                f"https://127.0.0.1:{local}/", ssl=authority.client(), server_hostname="secure.example"
            ) as answer,
        ):
            assert (answer.status, (await answer.json())["workload"]) == (200, "outside-1")
