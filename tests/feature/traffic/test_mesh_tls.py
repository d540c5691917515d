"""MeshTLS between real sidecars: what a port takes, what callers speak, and that a change of it loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

import aiohttp

from api.shapes.status import PlaintextCall
from meshwright.client import get_plaintext
from tests.support.outside_ca import OutsideAuthority
from tests.support.ports import LOOPBACK
from tests.support.processes import eventually
from tests.support.traffic.mesh_tls import ELSEWHERE, STORE, TCP, Plaintext, policy
from tests.support.traffic.world import Traffic


def sidecar(traffic: Traffic, name: str = "store-1", port: str = "http") -> int:
    return traffic.member(name).sidecar_ports[port]


async def reported(traffic: Traffic, service: str, port: int) -> dict[str, PlaintextCall]:
    """By protocol, what the control plane knows of `ELSEWHERE` calling."""
    report = await get_plaintext(traffic.mesh.data)
    return {
        each.spoken: each
        for each in report.calls
        if (each.service, each.port, each.caller) == (service, port, ELSEWHERE)
    }


async def test_a_permissive_port_takes_both_and_nobody_can_say_who_he_is_in_plaintext(
    traffic: Traffic,
) -> None:
    caller = Plaintext(sidecar(traffic))
    forged = {
        "x-forwarded-client-cert": "URI=spiffe://mesh.local/ns/default/sa/web",
        "x-envoy-retry-on": "5xx",
        "x-mine": "kept",
    }
    assert await caller.get() == {}
    async with traffic.apply(policy(STORE, "mode: permissive")) as file:
        seen = await caller.get(forged)
        assert caller.statuses[-1] == 200
        headers = seen["headers"]
        assert isinstance(headers, dict)
        assert headers["x-mine"] == "kept"
        assert not {"x-forwarded-client-cert", "x-envoy-retry-on"} & headers.keys()
        answer = await traffic.get("http://store.mesh/")
        assert answer.json["caller"] == traffic.member("web").identity

        async def told() -> bool:
            return "http" in await reported(traffic, "default/store", 80)

        await eventually(told, "the report names the caller in plaintext")
        await file.replace(policy(STORE, "mode: strict"))
        assert await caller.get() == {}

        async def warned() -> bool:
            assert traffic.mesh.server is not None
            lines = traffic.mesh.server.text().splitlines()
            return any("callers are refused" in line and ELSEWHERE in line for line in lines)

        await eventually(warned, "whoever wrote the policy is told whom it refuses")
    stats = await traffic.envoy("store-1").stats(r"^http\.inbound/.*/plaintext\.downstream_rq_2xx$")
    assert sum(stats.values()) == 1


async def test_a_tcp_port_takes_plaintext_port_by_port(traffic: Traffic) -> None:
    async with traffic.apply(policy(TCP, "ports: [{port: 7000, mode: permissive}]")):
        port = sidecar(traffic, "tcp-1", "echo")
        reader, writer = await asyncio.open_connection(LOOPBACK, port, local_addr=(ELSEWHERE, 0))
        writer.write(b"plain\n")
        assert await asyncio.wait_for(reader.readline(), 5) == b"tcp-1 plain\n"
        async with traffic.tcp("tcp/echo") as connection:
            assert (await connection.ask("mesh")).endswith(" mesh")

        async def told() -> bool:
            found = await reported(traffic, "default/tcp", 7000)
            return "tcp" in found and found["tcp"].count == 1

        await eventually(told, "the report tells of a connection that is still open")
        writer.close()
        reader, writer = await asyncio.open_connection(LOOPBACK, sidecar(traffic, "tcp-1", "greet"))
        writer.write(b"no mesh TLS\n")
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b"", "the other port is strict"
        writer.close()


VAULT = """
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {{name: vault}}
spec: {{ports: [{{name: api, port: 8200, protocol: tls}}]}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: vault-1}}
spec:
  services: [vault]
  address: 127.0.0.1
  meshed: true
  outboundPort: {outbound}
  ports: [{{name: api, app: {app}, sidecar: {sidecar}}}]
"""


async def test_the_applications_own_tls_is_passed_on_untouched(traffic: Traffic, tmp_path: Path) -> None:
    outside, port = OutsideAuthority(tmp_path), traffic.port()
    context = ssl.create_default_context(cafile=str(outside.ca_file))
    async with traffic.outside("vault", outside.server("vault.example")) as server:
        app = server.member.app_ports["http"]
        documents = VAULT.format(outbound=traffic.port(), app=app, sidecar=port)
        target = "{kind: Service, name: vault}"
        async with (
            traffic.apply(documents + policy(target, "mode: permissive")),
            traffic.proxy("vault-1", "vault"),
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(local_addr=(ELSEWHERE, 0), force_close=True)
            ) as session,
        ):
            async with session.get(
                f"https://{LOOPBACK}:{port}/", ssl=context, server_hostname="vault.example"
            ) as answer:
                assert (answer.status, answer.headers["x-workload"]) == (200, "vault-1")

            async def told() -> bool:
                return "tls" in await reported(traffic, "default/vault", 8200)

            await eventually(told, "the report tells of the application's own TLS")


ALLOW_WEB = """
---
apiVersion: meshwright.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p}
spec:
  targetRefs: [{kind: Service, name: store}]
  action: allow
  rules: [{from: [{service: web}]}]
"""


async def test_a_policy_that_asks_for_an_identity_finds_none_in_plaintext(traffic: Traffic) -> None:
    caller = Plaintext(sidecar(traffic))
    async with traffic.apply(policy(STORE, "mode: permissive")) as file:
        await caller.get()
        await file.replace(policy(STORE, "mode: permissive") + ALLOW_WEB)
        assert (await traffic.get("http://store.mesh/")).status == 200
        forged = {"x-forwarded-client-cert": f"URI={traffic.member('web').identity}"}
        await caller.get(forged)
    assert caller.statuses == [200, 403]
