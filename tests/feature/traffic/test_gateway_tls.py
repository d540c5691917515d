"""TLS at a gateway: which listener a connection and a request belong to, where TLS ends, and where it goes on from there."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import aiohttp
import grpc
import pytest
import pytest_asyncio

from tests.support.traffic.edge import Outside, PublicAuthority, documents, gateway
from tests.support.traffic.world import Traffic, World

NAMES = ("a.example.com", "b.example.com", "*.wild.example.com", "other.example.com")
"""What the one certificate is for: browsers would use one connection for all of them."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def outside(world: World) -> AsyncIterator[Outside]:
    ports = {name: world.ports.take() for name in ("https", "named", "ended", "mixed")}
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
  - {{name: ended, port: {ports["ended"]}, protocol: TLS, tls: {{certificateRefs: [{{name: all}}]}}}}
  - {{name: passed, port: {ports["mixed"]}, protocol: TLS, hostname: "*.wild.example.com", tls: {{mode: Passthrough}}}}
  - {{name: ended-too, port: {ports["mixed"]}, protocol: TLS, hostname: b.example.com, tls: {{certificateRefs: [{{name: all}}]}}}}
  - {{name: web-too, port: {ports["mixed"]}, hostname: a.example.com, {tls}}}
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
TCP = "{name: tcp, port: 7000}"


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


async def test_an_http2_connection_is_for_the_hosts_of_one_listener_too(
    traffic: Traffic, outside: Outside
) -> None:
    """Browsers coalesce connections of HTTP/2 alone. A client of gRPC is one that speaks it, and tells the text that it was answered with."""
    trusted, said = grpc.ssl_channel_credentials(outside.authority.pem), {}
    text = route("of-a", API, "named-a") + route("of-b", STORE, "named-b")
    async with traffic.apply(text):
        for host in ("a.example.com", "b.example.com", "unknown.example.com"):
            options = [("grpc.ssl_target_name_override", "a.example.com"), ("grpc.default_authority", host)]
            target = f"127.0.0.1:{outside.ports['named']}"
            async with grpc.aio.secure_channel(target, trusted, options) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await channel.unary_unary("/a.B/C", bytes, bytes)(b"", timeout=10)
                said[host] = refused.value.details() or ""
    assert "another server name" in said["b.example.com"], said
    assert "no route of this gateway" in said["unknown.example.com"], said
    assert "server name" not in said["a.example.com"], (
        said
    )  # it is no gRPC that answers, which is another matter


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


async def echoed(outside: Outside, sni: str, port: str) -> str:
    """What `tcp` answers through a listener that ends TLS: its workload, and what was sent."""
    async with outside.tls(sni, port) as (reader, writer):
        writer.write(b"ping\n")
        return (await asyncio.wait_for(reader.readline(), 5)).decode().strip()


@contextlib.asynccontextmanager
async def vault(traffic: Traffic, outside: Outside) -> AsyncIterator[str]:
    """Documents of the service `vault`, whose application speaks TLS itself, with a certificate for `one.wild.example.com`."""
    folder = traffic.mesh.documents / "tls"
    outside.authority.issue(folder / "vault.pem", folder / "vault.key", "one.wild.example.com")
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(folder / "vault.pem", folder / "vault.key")
    async with traffic.outside("vault", tls=own) as server:
        yield f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {{name: vault}}
spec: {{ports: [{{name: tls, port: 443, protocol: tls}}]}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: vault-1}}
spec: {{services: [vault], address: 127.0.0.1, ports: [{{name: tls, app: {server.member.app_ports["http"]}}}]}}
"""


async def test_a_tls_route_goes_on_where_tls_has_ended(traffic: Traffic, outside: Outside) -> None:
    text = route("line", TCP, "ended", hosts="a.example.com, '*.wild.example.com'", kind="TLSRoute")
    other = route("other", "{name: nothing, port: 1}", "ended", hosts="b.example.com", kind="TLSRoute")
    async with traffic.apply(text + other):
        for sni in ("a.example.com", "one.wild.example.com"):
            assert (await echoed(outside, sni, "ended")).endswith(" ping")
        for sni in ("b.example.com", "other.example.com"):  # a backend that is not there, and no route
            with pytest.raises(OSError):
                await echoed(outside, sni, "ended")


async def test_a_tcp_route_takes_every_name_where_tls_has_ended(traffic: Traffic, outside: Outside) -> None:
    async with traffic.apply(route("line", TCP, "ended", kind="TCPRoute")):
        for sni in ("a.example.com", "other.example.com"):
            assert (await echoed(outside, sni, "ended")).endswith(" ping")


async def test_one_port_ends_tls_for_some_names_and_passes_it_on_for_others(
    traffic: Traffic, outside: Outside
) -> None:
    async with vault(traffic, outside) as documents_of_vault:
        text = (
            route("line", TCP, "ended-too", hosts="b.example.com", kind="TLSRoute")
            + route(
                "vault", "{name: vault, port: 443}", "passed", hosts="one.wild.example.com", kind="TLSRoute"
            )
            + route("web", API, "web-too")
        )
        async with traffic.apply(text + documents_of_vault):
            assert (await echoed(outside, "b.example.com", "mixed")).endswith(" ping")
            passed = await outside.get_tls("one.wild.example.com", "mixed")
            assert (passed["status"], passed["workload"]) == (200, "vault-1")
            assert (await outside.get_tls("a.example.com", "mixed"))["service"] == "api"
            of_gateway = await outside.serial("a.example.com", "mixed")
            assert await outside.serial("one.wild.example.com", "mixed") != of_gateway
            # A connection to the listener for HTTP is none for hosts of those beside it.
            misdirected = await outside.get_tls("one.wild.example.com", "mixed", sni="a.example.com")
            assert misdirected["status"] == 421


async def test_a_gateway_listens_where_it_is_told_to(traffic: Traffic, outside: Outside) -> None:
    port, addresses = traffic.port(), ("127.0.0.41", "127.0.0.42")
    said = f"addresses: [{', '.join(f'{{value: {each}}}' for each in addresses)}]"
    text = documents("placed", f"  - {{name: http, port: {port}, protocol: HTTP}}", more=said)
    at_it = route("placed", API, "http").replace("name: secure", "name: placed")
    async with gateway(traffic.world, "placed", text + at_it, {"http": port}, outside.authority):
        for address in addresses:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://{address}:{port}/", headers={"host": "a.example.com"}) as answer,
            ):
                assert (await answer.json())["service"] == "api"
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_an_address_that_the_host_does_not_have_is_told_of(traffic: Traffic, outside: Outside) -> None:
    port = traffic.port()
    text = documents(
        "placed", f"  - {{name: http, port: {port}, protocol: HTTP}}", more="addresses: [{value: %s}]"
    )
    at_it = route("placed", API, "http").replace("name: secure", "name: placed")

    async def programmed() -> tuple[bool, str]:
        (told,) = (
            each for each in (await traffic.mesh.status()).gateways if each.gateway == "default/placed"
        )
        (found,) = (each for each in told.conditions if (each.at, each.type) == ("", "Programmed"))
        return found.status, found.reason

    foreign = (text % "192.0.2.77") + at_it  # of TEST-NET-1 (RFC 5737)
    async with gateway(traffic.world, "placed", foreign, {"http": port}, outside.authority) as placed:
        assert await programmed() == (False, "AddressNotUsable")
        await placed.file.replace((text % "127.0.0.43") + at_it)
        assert await programmed() == (True, "Programmed")
        status = next(
            each for each in (await traffic.mesh.status()).gateways if each.gateway == "default/placed"
        )
        assert status.addresses == ("127.0.0.43",)
        _, writer = await asyncio.open_connection("127.0.0.43", port)
        writer.close()
