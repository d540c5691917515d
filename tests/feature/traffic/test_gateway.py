"""A gateway: a real Envoy, run as any other proxy, through which clients outside the mesh reach services in it."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from mesh.names import Key
from meshwright.client import get_config_dump
from tests.support.processes import eventually
from tests.support.traffic.applying import RefusedError
from tests.support.traffic.edge import Outside, PublicAuthority, documents, gateway
from tests.support.traffic.world import Traffic, World

ALL = "allowedRoutes: {namespaces: {from: All}}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def outside(world: World) -> AsyncIterator[Outside]:
    """One gateway for all tests of this file, with every kind of listener."""
    ports = {name: world.ports.take() for name in ("http", "https", "partners", "tls", "ended", "tcp")}
    authority, folder = PublicAuthority(), world.mesh.documents / "certificates"
    folder.mkdir()
    authority.issue(folder / "a.pem", folder / "a.key", "a.example.com")
    authority.issue(folder / "b.pem", folder / "b.key", "*.b.example.com")
    (folder / "authority.pem").write_bytes(authority.pem)
    asked = "{validation: {caCertificateRefs: [{group: meshwright.dev, kind: Secret, name: partners}]}}"
    validation = (
        f"tls: {{frontend: {{default: {{}}, perPort: [{{port: {ports['partners']}, tls: {asked}}}]}}}}"
    )
    listeners = f"""
  - {{name: http, port: {ports["http"]}, protocol: HTTP, {ALL}}}
  - {{name: a, port: {ports["https"]}, protocol: HTTPS, hostname: a.example.com, tls: {{certificateRefs: [{{name: a}}]}}}}
  - {{name: b, port: {ports["https"]}, protocol: HTTPS, hostname: "*.b.example.com", tls: {{certificateRefs: [{{name: b}}]}}}}
  - {{name: partners, port: {ports["partners"]}, protocol: HTTPS, tls: {{certificateRefs: [{{name: a}}]}}}}
  - {{name: tls, port: {ports["tls"]}, protocol: TLS, hostname: "*.example.com", tls: {{mode: Passthrough}}}}
  - {{name: ended, port: {ports["ended"]}, protocol: TLS, tls: {{certificateRefs: [{{name: a}}]}}}}
  - {{name: tcp, port: {ports["tcp"]}, protocol: TCP}}
"""
    text = (
        documents("edge", listeners, more=validation)
        + """
---
apiVersion: meshwright.dev/v1alpha1
kind: Secret
metadata: {name: a}
spec: {certificateFile: certificates/a.pem, keyFile: certificates/a.key}
---
apiVersion: meshwright.dev/v1alpha1
kind: Secret
metadata: {name: b}
spec: {certificateFile: certificates/b.pem, keyFile: certificates/b.key}
---
apiVersion: meshwright.dev/v1alpha1
kind: Secret
metadata: {name: partners}
spec: {authoritiesFile: certificates/authority.pem}
"""
    )
    async with gateway(world, "edge", text, ports, authority) as made:
        yield made


def route(name: str, hosts: str, backend: str, section: str, kind: str = "HTTPRoute", rest: str = "") -> str:
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {name}}}
spec:
  parentRefs: [{{name: edge, sectionName: {section}}}]
  {f"hostnames: [{hosts}]" if hosts else ""}
  rules: [{{backendRefs: [{backend}]{rest}}}]
"""


API, STORE = "{name: api, port: 80}", "{name: store, port: 80}"


async def test_http_from_outside_reaches_the_mesh_over_mutual_tls(traffic: Traffic, outside: Outside) -> None:
    async with traffic.apply(route("shop", "shop.example.com", API, "http")):
        answer = await outside.get(
            "http://shop.example.com/cart?x=1",
            headers={"x-forwarded-for": "1.2.3.4", "x-envoy-retry-on": "5xx"},
        )
        assert answer.status == 200, answer
        assert answer.json["caller"] == "spiffe://mesh.local/ns/default/sa/edge"
        assert answer.json["path"] == "/cart?x=1"
        assert answer.seen["x-forwarded-proto"] == "http"
        assert "x-envoy-retry-on" not in answer.seen, "a client outside cannot say how Envoy retries"
        with_port = await outside.get(f"http://shop.example.com:{outside.ports['http']}/")
        assert with_port.status == 200, "the port in the Host header does not matter"
        unknown = await outside.get("http://other.example.com/")
        assert (unknown.status, unknown.text) == (404, "no route of this gateway for other.example.com\n")
    assert (await outside.get("http://shop.example.com/")).status == 404


async def test_the_more_specific_host_comes_first(traffic: Traffic, outside: Outside) -> None:
    wide = route("wide", '"*.example.com"', STORE, "http")
    narrow = route("narrow", "shop.example.com", API, "http", rest=", matches: [{path: {value: /only}}]")
    async with traffic.apply(f"{wide}\n---\n{narrow}"):

        async def served(url: str) -> str:
            return str((await outside.get(url)).json["service"])

        assert await served("http://deep.in.example.com/") == "store"
        assert await served("http://shop.example.com/only") == "api"
        assert await served("http://shop.example.com/else") == "store", (
            "what no rule of the narrow one matches"
        )
        assert (await outside.get("http://example.com/")).status == 404


async def test_https_is_terminated_with_the_certificate_for_the_server_name(
    traffic: Traffic, outside: Outside
) -> None:
    one = route("a", "a.example.com", API, "a")
    two = route("b", "", STORE, "b")
    async with traffic.apply(f"{one}\n---\n{two}"):
        first = await outside.get_tls("a.example.com")
        assert (first["status"], first["service"]) == (200, "api")
        assert first["headers"]["x-forwarded-proto"] == "https"
        second = await outside.get_tls("x.b.example.com")
        assert (second["status"], second["service"]) == (200, "store")
        assert await outside.serial("a.example.com") != await outside.serial("x.b.example.com")
        with pytest.raises(OSError):
            await outside.get_tls("c.example.com")


async def test_a_certificate_is_replaced_without_a_lost_request(traffic: Traffic, outside: Outside) -> None:
    folder = traffic.mesh.documents / "certificates"
    async with traffic.apply(route("a", "a.example.com", API, "a")):
        before, done = await outside.serial("a.example.com"), asyncio.Event()
        statuses: list[int] = []

        async def ask() -> None:
            while not done.is_set():
                statuses.append((await outside.get_tls("a.example.com"))["status"])

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(ask())
            try:
                # Half of it first, as programs that renew do: what does not belong together is not served.
                kept = (folder / "a.key").read_bytes()
                now = outside.authority.issue(folder / "a.pem", folder / "a.key", "a.example.com")
                new = (folder / "a.key").read_bytes()
                (folder / "a.key").write_bytes(kept)
                (folder / "a.key").write_bytes(new)

                async def served() -> bool:
                    return await outside.serial("a.example.com") == now

                await eventually(served, "the new certificate is served")
            finally:
                done.set()
        assert set(statuses) == {200}, statuses
        assert now != before
        assert len(statuses) > 10


async def test_a_broken_file_leaves_the_certificate_that_was_there(
    traffic: Traffic, outside: Outside
) -> None:
    key = traffic.mesh.documents / "certificates" / "b.key"
    before, content = await outside.serial("x.b.example.com"), key.read_bytes()
    try:
        key.write_bytes(b"nonsense")

        async def told() -> bool:
            found = (await traffic.mesh.status()).gateways
            (edge,) = (each for each in found if each.gateway == "default/edge")
            return any("holds no private key in PEM" in each.message for each in edge.conditions)

        await eventually(told, "status tells of the broken file")
        assert await outside.serial("x.b.example.com") == before
    finally:
        key.write_bytes(content)


async def test_tls_is_passed_through_to_an_application_that_speaks_it(
    traffic: Traffic, outside: Outside
) -> None:
    folder = traffic.world.folder
    outside.authority.issue(folder / "app.pem", folder / "app.key", "secure.example.com")
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(folder / "app.pem", folder / "app.key")
    async with traffic.outside(tls=own) as server:
        text = f"""
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {{name: vault}}
spec: {{ports: [{{name: tls, port: 443, protocol: tls}}]}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: vault-1}}
spec: {{services: [vault], address: 127.0.0.1, ports: [{{name: tls, app: {server.member.app_ports["http"]}}}]}}
---
{route("vault", "secure.example.com", "{name: vault, port: 443}", "tls", "TLSRoute")}
"""
        async with traffic.apply(text):
            answer = await outside.get_tls("secure.example.com", "tls")
            assert (answer["status"], answer["workload"]) == (200, "outside-1")
            with pytest.raises(OSError):
                await outside.get_tls("unknown.example.com", "tls")


async def test_a_listener_that_is_added_disturbs_no_connection(traffic: Traffic, outside: Outside) -> None:
    ports = outside.ports
    ask = b"GET / HTTP/1.1\r\nhost: a.example.com\r\n\r\n"
    more = f"""
  - {{name: c, port: {ports["https"]}, protocol: HTTPS, hostname: c.example.com, tls: {{certificateRefs: [{{name: a}}]}}}}
  - {{name: tcp, """
    async with (
        traffic.apply(route("a", "a.example.com", API, "a")),
        outside.tls("a.example.com") as (reader, writer),
    ):

        async def answered() -> bool:
            writer.write(ask)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            length = next(
                int(line.split(b":")[1]) for line in head.splitlines() if line.startswith(b"content-length")
            )
            await asyncio.wait_for(reader.readexactly(length), 5)
            return head.startswith(b"HTTP/1.1 200") and b"connection: close" not in head

        assert await answered()
        await outside.file.replace(outside.text.replace("\n  - {name: tcp, ", more))
        try:
            with pytest.raises(
                ssl.SSLCertVerificationError
            ):  # it is there, with a certificate for another name
                await outside.serial("c.example.com")
            assert await answered()
        finally:
            await outside.file.replace(outside.text)
        with pytest.raises(OSError):
            await outside.serial("c.example.com")
        assert await answered()


async def test_tls_may_be_terminated_for_tcp(traffic: Traffic, outside: Outside) -> None:
    text = route("line", "", "{name: tcp, port: 7000}", "ended", "TCPRoute")
    async with traffic.apply(text), outside.tls("a.example.com", "ended") as (reader, writer):
        writer.write(b"ping\n")
        assert (await asyncio.wait_for(reader.readline(), 5)).endswith(b" ping\n")


async def test_tcp_is_passed_on(traffic: Traffic, outside: Outside) -> None:
    text = route("line", "", "{name: tcp, port: 7000}", "tcp", "TCPRoute")
    async with traffic.apply(text), outside.tcp() as connection:
        assert (await connection.ask("ping")).endswith(" ping")
    with pytest.raises(OSError):
        async with outside.tcp():
            pass


async def test_grpc_is_routed_by_service_and_method(traffic: Traffic, outside: Outside) -> None:
    rest = ", matches: [{method: {service: shop.Cart}}]"
    text = route("calls", "grpc.example.com", "{name: grpc, port: 80}", "http", "GRPCRoute", rest)
    async with traffic.apply(text):
        port = outside.ports["http"]
        answer = await traffic.grpc("grpc.example.com", "/shop.Cart/Add", b"{}", port=port)
        assert answer.ok, answer
        assert answer.json["caller"] == "spiffe://mesh.local/ns/default/sa/edge"
        chat = await traffic.grpc("grpc.example.com", "/shop.Cart/Chat", b"a", b"b", port=port)
        assert chat.messages[1:] == (b"a", b"b")
        assert not (await traffic.grpc("grpc.example.com", "/shop.Other/Add", port=port)).ok


async def test_a_websocket_is_upgraded(traffic: Traffic, outside: Outside) -> None:
    async with traffic.apply(route("ws", "ws.example.com", API, "http")):
        port = outside.ports["http"]
        async with traffic.websocket("http://ws.example.com/socket", port=port) as stream:
            assert (await stream.receive_json())["workload"].startswith("api-")
            await stream.send_str("ping")
            assert await stream.receive_str() == "ping"


async def test_only_what_is_granted_is_reached_in_another_namespace(
    traffic: Traffic, outside: Outside
) -> None:
    text = route("far", "far.example.com", "{name: other, namespace: other, port: 80}", "http")
    grant = """
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: edge, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service}]
"""
    async with traffic.apply(text) as file:
        assert (await outside.get("http://far.example.com/")).status == 500
        (told,) = (
            each for each in (await traffic.mesh.status()).routes if each.route.endswith("default/far")
        )
        assert [(each.type, each.status, each.reason) for each in told.conditions] == [
            ("Accepted", True, "Accepted"),
            ("ResolvedRefs", False, "RefNotPermitted"),
        ]
        await file.replace(f"{text}\n---\n{grant}")
        assert (await outside.get("http://far.example.com/")).json["service"] == "other"


async def test_policies_hold_for_routes_of_a_gateway(traffic: Traffic, outside: Outside) -> None:
    text = (
        route("slow", "slow.example.com", API, "http")
        + """
---
apiVersion: meshwright.dev/v1alpha1
kind: TimeoutPolicy
metadata: {name: slow}
spec:
  targetRefs: [{kind: HTTPRoute, name: slow}]
  request: 200ms
"""
    )
    async with traffic.apply(text):
        answer = await outside.get("http://slow.example.com/", headers={"x-behave": "delay=2s"})
        assert (answer.status, answer.seconds < 1.5) == (504, True), answer


async def test_scripts_for_what_is_taken_and_for_what_is_called_both_run(
    traffic: Traffic, outside: Outside
) -> None:
    def script(name: str, target: str, mark: str, side: str) -> str:
        add = f'h:headers():replace("x-way", (h:headers():get("x-way") or "") .. " {mark}")'
        return f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: Extension
metadata: {{name: {name}}}
spec:
  targetRefs: [{target}]
  side: {side}
  lua: {json.dumps(f"function envoy_on_request(h) {add} end")}
"""

    api = "{kind: Service, name: api}"
    text = (
        route("way", "way.example.com", API, "http")
        + script("a", "{kind: Workload, name: edge-1}", "edge", "callee")
        + script("b", api, "caller", "caller")
        + script("c", api, "callee", "callee")
    )
    async with traffic.apply(text):
        way = (await outside.get("http://way.example.com/")).seen["x-way"]
    assert way.split() == ["edge", "caller", "callee"]


async def test_a_gateway_may_ask_clients_for_certificates(
    traffic: Traffic, outside: Outside, tmp_path: Path
) -> None:
    async with traffic.apply(route("partners", "a.example.com", API, "partners")):
        with pytest.raises(OSError):
            await outside.get_tls("a.example.com", "partners")
        own, foreign = outside.authority.client(), outside.authority.client()
        outside.authority.issue(tmp_path / "c.pem", tmp_path / "c.key", "partner")
        own.load_cert_chain(tmp_path / "c.pem", tmp_path / "c.key")
        assert (await outside.get_tls("a.example.com", "partners", context=own))["status"] == 200
        PublicAuthority().issue(tmp_path / "d.pem", tmp_path / "d.key", "somebody")
        foreign.load_cert_chain(tmp_path / "d.pem", tmp_path / "d.key")
        with pytest.raises(OSError):
            await outside.get_tls("a.example.com", "partners", context=foreign)


async def test_a_listener_opens_when_its_certificate_comes(traffic: Traffic, outside: Outside) -> None:
    port, folder = traffic.port(), traffic.mesh.documents / "certificates"
    listener = (
        f"  - {{name: late, port: {port}, protocol: HTTPS, tls: {{certificateRefs: [{{name: late}}]}}}}"
    )
    text = (
        documents("late", listener)
        + """
---
apiVersion: meshwright.dev/v1alpha1
kind: Secret
metadata: {name: late}
spec: {certificateFile: certificates/late.pem, keyFile: certificates/late.key}
---
"""
        + route("late", "", API, "late").replace("name: edge", "name: late")
    )
    async with gateway(traffic.world, "late", text, {"https": port}, outside.authority) as late:
        with pytest.raises(OSError):
            await late.get_tls("late.example.com")
        (told,) = (each for each in (await traffic.mesh.status()).gateways if each.gateway == "default/late")
        unmet = {each.type: each.message for each in told.conditions if not each.status}
        assert "late.pem cannot be read" in unmet["ResolvedRefs"]
        assert "not open" in unmet["Programmed"]
        outside.authority.issue(folder / "late.pem", folder / "late.key", "late.example.com")

        async def open_now() -> bool:
            try:
                return bool((await late.get_tls("late.example.com"))["status"] == 200)
            except OSError:
                return False

        await eventually(open_now, "the listener is open")


async def test_what_a_workload_takes_holds_for_a_gateway_too(traffic: Traffic, outside: Outside) -> None:
    text = (
        route("limited", "limited.example.com", API, "http")
        + """
---
apiVersion: meshwright.dev/v1alpha1
kind: RateLimit
metadata: {name: edge}
spec:
  targetRefs: [{kind: Workload, name: edge-1}]
  match: {headers: [{name: x-limited, value: "yes"}]}
  local: {requests: 2, unit: hour}
"""
    )
    async with traffic.apply(text):
        limited = {"x-limited": "yes"}
        found = [(await outside.get("http://limited.example.com/", headers=limited)).status for _ in range(4)]
        assert found == [200, 200, 429, 429]
        assert (await outside.get("http://limited.example.com/")).status == 200
        assert (await traffic.get("http://api.mesh/", headers=limited)).status == 200


async def test_a_change_of_a_route_loses_no_request(traffic: Traffic, outside: Outside) -> None:
    one, two = (
        route("shop", "shop.example.com", API, "http"),
        route("shop", "shop.example.com", STORE, "http"),
    )
    async with traffic.apply(one) as file:
        statuses: list[int] = []
        done = asyncio.Event()

        async def ask() -> None:
            while not done.is_set():
                statuses.append((await outside.get("http://shop.example.com/")).status)

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(ask())
            try:
                for text in (two, one, two):
                    await file.replace(text)
            finally:
                done.set()
        assert set(statuses) == {200}
        assert (await outside.get("http://shop.example.com/")).json["service"] == "store"


async def test_requests_that_an_edge_does_not_take(traffic: Traffic, outside: Outside) -> None:
    async with traffic.apply(route("shop", "shop.example.com", API, "http")):
        assert (await outside.get("http://shop.example.com/", headers={"x_y": "1"})).status == 400
        many = {f"x-{n}": "1" for n in range(120)}
        assert (await outside.get("http://shop.example.com/", headers=many)).status == 431
        traversal = await outside.get("http://shop.example.com/a%2F..%2Fb")
        assert (traversal.status, traversal.headers["location"]) == (307, "/b")


async def test_listeners_that_cannot_be_told_apart_are_refused(traffic: Traffic) -> None:
    port = traffic.port()
    listeners = f"""
  - {{name: one, port: {port}, protocol: HTTP, hostname: a.example.com}}
  - {{name: two, port: {port}, protocol: HTTP, hostname: a.example.com}}
"""
    with pytest.raises(RefusedError, match=r"are those of listeners\[0\] already"):
        async with traffic.apply(documents("twice", listeners)):
            pytest.fail("it was taken")


async def test_the_key_is_nowhere_to_be_read(traffic: Traffic, outside: Outside) -> None:
    lines = (traffic.mesh.documents / "certificates" / "a.key").read_text().splitlines()
    status = await traffic.mesh.status()
    dump = await get_config_dump(traffic.mesh.data, Key("default", "edge-1"))
    assert "gateway/default/a" in dump
    logs = traffic.mesh.server.tail(10_000) if traffic.mesh.server else ""
    last_good = traffic.mesh.data / "last-good"
    kept = ""

    async def written() -> bool:
        """It is written beside the event loop, when there is time."""
        nonlocal kept
        files = last_good.iterdir() if last_good.exists() else ()
        kept = "".join(path.read_text(errors="replace") for path in files)
        return "keyFile" in kept

    await eventually(written, "the last good state has the gateway's secret by its file")
    envoys = str(await outside.proxy.config_dump())
    for text in (status.model_dump_json(), dump, logs, kept, envoys):
        assert lines[1] not in text
