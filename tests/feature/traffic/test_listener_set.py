"""ListenerSets: teams add host names, certificates and ports to one gateway, and none can take what another has."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from api.shapes.status import GatewayStatus, ListenerSetStatus
from tests.support.traffic.edge import Outside, PublicAuthority, documents, gateway
from tests.support.traffic.world import Traffic, World

API, STORE, OTHER = (
    "{name: api, port: 80}",
    "{name: store, port: 80}",
    "{name: other, port: 80}",
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def outside(world: World) -> AsyncIterator[Outside]:
    """A gateway with one listener for HTTP and one for HTTPS, to which everybody may add."""
    ports = {name: world.ports.take() for name in ("http", "https", "more")}
    authority, folder = PublicAuthority(), world.mesh.documents / "sets"
    folder.mkdir()
    authority.issue(folder / "own.pem", folder / "own.key", "own.example.com")
    authority.issue(folder / "other.pem", folder / "other.key", "other.example.com")
    listeners = f"""
  - {{name: http, port: {ports["http"]}, protocol: HTTP, hostname: own.example.com}}
  - {{name: https, port: {ports["https"]}, protocol: HTTPS, hostname: own.example.com, tls: {{certificateRefs: [{{name: own}}]}}}}
"""
    text = (
        documents("sets", listeners, more="allowedListeners: {namespaces: {from: All}}")
        + secret("own", "own", "default")
        + secret("other", "other", "other")
    )
    async with gateway(world, "sets", text, ports, authority) as made:
        yield made


def secret(name: str, files: str, namespace: str) -> str:
    return f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: Secret
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{certificateFile: sets/{files}.pem, keyFile: sets/{files}.key}}
"""


def a_set(name: str, *listeners: str, namespace: str = "default", created: str = "2026-01-01") -> str:
    listed = ", ".join(f"{{{each}}}" for each in listeners)
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: "{created}T00:00:00Z"}}
spec: {{parentRef: {{name: sets, namespace: default}}, listeners: [{listed}]}}
"""


def route(name: str, parent: str, backend: str, namespace: str = "default") -> str:
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{parentRefs: [{parent}], rules: [{{backendRefs: [{backend}]}}]}}
"""


async def standing(traffic: Traffic, name: str) -> tuple[GatewayStatus, ListenerSetStatus]:
    status = await traffic.mesh.status()
    (edge,) = (each for each in status.gateways if each.gateway == "default/sets")
    (found,) = (each for each in status.listener_sets if each.listener_set == name)
    return edge, found


async def closed(outside: Outside, port: str) -> None:
    """A new connection is refused; those that were open are drained."""
    with pytest.raises(OSError):
        async with outside.tcp(port):
            pass


def said(of: ListenerSetStatus, at: str = "") -> list[tuple[str, bool, str]]:
    return [(each.type, each.status, each.reason) for each in of.conditions if each.at == at]


async def test_a_set_adds_hosts_and_ports_with_routes_of_their_own(
    traffic: Traffic, outside: Outside
) -> None:
    text = (
        a_set(
            "team",
            f"name: http, port: {outside.ports['http']}, protocol: HTTP, hostname: team.example.com",
            f"name: more, port: {outside.ports['more']}, protocol: HTTP",
        )
        + route("own", "{name: sets}", API)
        + route("team", "{kind: ListenerSet, name: team, sectionName: http}", STORE)
        + route("more", "{kind: ListenerSet, name: team, sectionName: more}", API)
    )
    async with traffic.apply(text):
        assert (await outside.get("http://own.example.com/")).json["service"] == "api"
        assert (await outside.get("http://team.example.com/")).json["service"] == "store"
        assert (await outside.get("http://any.example.com/", "more")).json["service"] == "api"
        assert (await outside.get("http://else.example.com/")).status == 404
        edge, found = await standing(traffic, "default/team")
        assert (edge.attached_listener_sets, edge.attached_routes) == (1, {"http": 1, "https": 1})
        assert found.attached_routes == {"http": 1, "more": 1}
        assert said(found) == [("Accepted", True, "Accepted"), ("Programmed", True, "Programmed")]
    assert (await outside.get("http://team.example.com/")).status == 404
    await closed(outside, "more")


async def test_a_route_of_the_gateway_is_not_followed_by_a_set_of_the_same_names(
    traffic: Traffic, outside: Outside
) -> None:
    text = a_set(
        "team", f"name: team, port: {outside.ports['http']}, protocol: HTTP, hostname: team.example.com"
    ) + route("reaches-over", "{name: sets, sectionName: team}", API)
    async with traffic.apply(text):
        assert (await outside.get("http://team.example.com/")).status == 404
        (told,) = (
            each for each in (await traffic.mesh.status()).routes if each.route.endswith("/reaches-over")
        )
        assert (told.conditions[0].status, told.conditions[0].reason) == (False, "NoMatchingParent")


async def test_a_set_adds_a_port_for_connections(traffic: Traffic, outside: Outside) -> None:
    line = route("line", "{kind: ListenerSet, name: line}", "{name: tcp, port: 7000}")
    text = a_set("line", f"name: line, port: {outside.ports['more']}, protocol: TCP")
    async with traffic.apply(text + line.replace("HTTPRoute", "TCPRoute")), outside.tcp("more") as connection:
        assert (await connection.ask("ping")).endswith(" ping")
    await closed(outside, "more")


async def test_another_namespace_adds_a_certificate_of_its_own(traffic: Traffic, outside: Outside) -> None:
    listener = (
        f"name: https, port: {outside.ports['https']}, protocol: HTTPS, hostname: other.example.com, "
        "tls: {certificateRefs: [{name: other}]}"
    )
    text = (
        route("own", "{name: sets, sectionName: https}", API)
        + a_set("theirs", listener, namespace="other")
        + route("theirs", "{kind: ListenerSet, name: theirs}", OTHER, "other")
    )
    async with traffic.apply(text):
        assert (await outside.get_tls("own.example.com"))["service"] == "api"
        assert (await outside.get_tls("other.example.com"))["service"] == "other"
        assert await outside.serial("own.example.com") != await outside.serial("other.example.com")


async def test_a_certificate_of_another_namespace_needs_a_grant_to_the_set(
    traffic: Traffic, outside: Outside
) -> None:
    listener = (
        f"name: https, port: {outside.ports['https']}, protocol: HTTPS, hostname: other.example.com, "
        "tls: {certificateRefs: [{name: other, namespace: other}]}"
    )
    text = a_set("borrows", listener) + route("own", "{kind: ListenerSet, name: borrows}", API)
    grant = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: sets, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: %s, namespace: default}]
  to: [{group: "", kind: Secret, name: other}]
"""
    async with traffic.apply(text + grant % "Gateway") as file:
        with pytest.raises(OSError):
            await outside.serial("other.example.com")
        _, found = await standing(traffic, "default/borrows")
        assert said(found)[0] == ("Accepted", False, "ListenersNotValid")
        assert ("ResolvedRefs", False, "RefNotPermitted") in said(found, "https")
        await file.replace(text + grant % "ListenerSet")
        assert (await outside.get_tls("other.example.com"))["service"] == "api"


async def test_who_was_first_keeps_a_host_and_the_next_has_it_when_it_goes(
    traffic: Traffic, outside: Outside
) -> None:
    listener = f"name: http, port: {outside.ports['http']}, protocol: HTTP, hostname: team.example.com"
    young = a_set("young", listener, created="2026-02-02") + route(
        "young", "{kind: ListenerSet, name: young}", STORE
    )
    old = a_set("old", listener) + route("old", "{kind: ListenerSet, name: old}", API)
    own = a_set("greedy", listener.replace("team.", "own.")) + route(
        "greedy", "{kind: ListenerSet, name: greedy}", STORE
    )
    base = young + own + route("own", "{name: sets}", API)
    async with traffic.apply(base + old) as file:
        assert (await outside.get("http://team.example.com/")).json["service"] == "api"
        assert (await outside.get("http://own.example.com/")).json["service"] == "api"
        edge, found = await standing(traffic, "default/young")
        assert edge.attached_listener_sets == 1
        assert said(found)[0] == ("Accepted", False, "ListenersNotValid")
        assert said(found, "http") == [
            ("Accepted", False, "HostnameConflict"),
            ("Programmed", False, "HostnameConflict"),
            ("Conflicted", True, "HostnameConflict"),
        ]
        await file.replace(base)
        assert (await outside.get("http://team.example.com/")).json["service"] == "store"


async def test_a_gateway_that_allows_only_its_own_namespace_takes_no_other_set(
    traffic: Traffic, outside: Outside
) -> None:
    listener = f"name: http, port: {outside.ports['more']}, protocol: HTTP"
    theirs = a_set("theirs", listener, namespace="other") + route(
        "theirs", "{kind: ListenerSet, name: theirs}", OTHER, "other"
    )
    async with traffic.apply(theirs):
        assert (await outside.get("http://any.example.com/", "more")).json["service"] == "other"
        await outside.file.replace(outside.text.replace("from: All", "from: Same"))
        try:
            await closed(outside, "more")
            edge, found = await standing(traffic, "other/theirs")
            assert edge.attached_listener_sets == 0
            assert said(found) == [("Accepted", False, "NotAllowed"), ("Programmed", False, "NotAllowed")]
        finally:
            await outside.file.replace(outside.text)
