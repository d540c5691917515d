"""TLS at a gateway: which listener a request belongs to, and what is asked of clients."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.traffic.edge import Outside, PublicAuthority, documents, gateway
from tests.support.traffic.world import Traffic, World

NAMES = ("a.example.com", "b.example.com", "*.wild.example.com", "other.example.com")
"""What the one certificate is for: browsers would use one connection for all of them."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def outside(world: World) -> AsyncIterator[Outside]:
    ports = {name: world.ports.take() for name in ("https", "named")}
    authority, folder = PublicAuthority(), world.mesh.documents / "tls"
    folder.mkdir()
    authority.issue(folder / "all.pem", folder / "all.key", *NAMES)
    tls = "protocol: HTTPS, tls: {certificateRefs: [{name: all}]}"
    listeners = f"""
  - {{name: any, port: {ports["https"]}, {tls}}}
  - {{name: b, port: {ports["https"]}, hostname: b.example.com, {tls}}}
  - {{name: wild, port: {ports["https"]}, hostname: "*.wild.example.com", {tls}}}
  - {{name: deep, port: {ports["https"]}, hostname: deep.wild.example.com, {tls}}}
  - {{name: named-a, port: {ports["named"]}, hostname: a.example.com, {tls}}}
  - {{name: named-b, port: {ports["named"]}, hostname: b.example.com, {tls}}}
"""
    text = (
        documents("secure", listeners)
        + """
---
apiVersion: meshwright.dev/v1alpha1
kind: Secret
metadata: {name: all}
spec: {certificateFile: tls/all.pem, keyFile: tls/all.key}
"""
    )
    async with gateway(world, "secure", text, ports, authority) as made:
        yield made


def route(name: str, backend: str, *sections: str, hosts: str = "", kind: str = "HTTPRoute") -> str:
    parents = ", ".join(f"{{name: secure, sectionName: {each}}}" for each in sections)
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {name}}}
spec:
  parentRefs: [{parents}]
  {f"hostnames: [{hosts}]" if hosts else ""}
  rules: [{{backendRefs: [{backend}]}}]
"""


API, STORE = "{name: api, port: 80}", "{name: store, port: 80}"


async def test_a_request_for_a_host_of_another_listener_is_misdirected(
    traffic: Traffic, outside: Outside
) -> None:
    text = (
        route("of-a", API, "any", "named-a", hosts="a.example.com")
        + route("of-b", STORE, "b", "named-b")
        + route("of-wild", API, "wild", hosts="one.wild.example.com, deep.wild.example.com")
        + route("of-deep", STORE, "deep")
    )
    cases = (
        # Server name, host, and what is answered: as the conformance suite has it.
        ("a.example.com", "a.example.com", "https", 200),
        ("a.example.com", "b.example.com", "https", 421),
        ("a.example.com", "unknown.example.com", "https", 404),
        ("b.example.com", "b.example.com", "https", 200),
        ("b.example.com", "a.example.com", "https", 421),
        ("b.example.com", "unknown.example.com", "https", 421),
        ("one.wild.example.com", "one.wild.example.com", "https", 200),
        ("two.wild.example.com", "one.wild.example.com", "https", 200),
        ("one.wild.example.com", "two.wild.example.com", "https", 404),
        ("one.wild.example.com", "deep.wild.example.com", "https", 421),
        ("deep.wild.example.com", "deep.wild.example.com", "https", 200),
        ("deep.wild.example.com", "one.wild.example.com", "https", 421),
        ("other.example.com", "a.example.com", "https", 200),
        # Where no listener takes every name, what nobody has is nobody's.
        ("a.example.com", "a.example.com", "named", 200),
        ("a.example.com", "b.example.com", "named", 421),
        ("a.example.com", "unknown.example.com", "named", 404),
    )
    async with traffic.apply(text):
        for sni, host, port, status in cases:
            answer = await outside.get_tls(host, port, sni=sni)
            assert answer["status"] == status, (sni, host, port, answer)
            if status == 200:
                assert "x-mesh-listener" not in answer["headers"]
            if status == 421:
                assert "another server name" in answer["text"]


async def test_a_client_cannot_say_by_which_listener_it_came(traffic: Traffic, outside: Outside) -> None:
    text = route("of-a", API, "named-a") + route("of-b", STORE, "named-b")
    request = "GET / HTTP/1.1\r\nhost: {}\r\nx-mesh-listener: b.example.com\r\n\r\n"
    async with traffic.apply(text), outside.tls("a.example.com", "named") as (reader, writer):
        for host, status in (("b.example.com", b"421"), ("a.example.com", b"200")):
            writer.write(request.format(host).encode())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.split()[1] == status, (host, head)
            length = next(
                int(line.split(b":")[1]) for line in head.splitlines() if line.startswith(b"content-length")
            )
            await reader.readexactly(length)
