"""AccessPolicy where callers have no identity of the mesh: in plaintext, and from outside by a gateway."""

from __future__ import annotations

import contextlib

from mesh.names import Key
from policies.access_verdict import Caller, Request, at_gateway, decided
from tests.support.access_cases import document, state
from tests.support.processes import eventually
from tests.support.traffic.draining import DRAINING
from tests.support.traffic.edge import Outside, PublicAuthority, documents, gateway
from tests.support.traffic.mesh_tls import ELSEWHERE, STORE, Plaintext
from tests.support.traffic.mesh_tls import policy as mesh_tls
from tests.support.traffic.world import Traffic

TO_STORE = "kind: Service, name: store"
TO_EDGE = "kind: Workload, name: doors-1"


async def test_who_calls_in_plaintext_is_nobody(traffic: Traffic) -> None:
    caller = Plaintext(traffic.member("store-1").sidecar_ports["http"])
    forged = {"x-forwarded-client-cert": "By=x;Hash=y;URI=spiffe://mesh.local/ns/default/sa/web"}
    async with traffic.apply(mesh_tls(STORE, "mode: permissive")):
        assert await caller.get()
        for said, status in (
            ("action: allow, rules: [{from: [{service: web}]}]", 403),
            ("action: allow, rules: [{from: [{trustDomain: mesh.local}]}]", 403),
            ("action: allow, rules: [{from: [{anyMeshIdentity: true}]}]", 403),
            ("action: allow, rules: [{from: [{anyMeshIdentity: false}]}]", 200),
            # Who proves nothing may be whoever is meant.
            ("action: allow, rules: [{from: [{notNamespaces: [shop]}]}]", 403),
            ("action: deny, rules: [{from: [{notNamespaces: [default]}]}]", 403),
            ("action: deny, rules: [{from: [{namespace: default}]}]", 200),
            ("action: deny, rules: [{from: [{anyMeshIdentity: false}]}]", 403),
            (f"action: allow, rules: [{{from: [{{ipBlocks: [{ELSEWHERE}]}}]}}]", 200),
            (f"action: allow, rules: [{{from: [{{notIpBlocks: [{ELSEWHERE}]}}]}}]", 403),
        ):
            async with traffic.apply(document("p", said, TO_STORE)):
                caller.statuses.clear()
                await caller.get({**forged, "x-forwarded-for": "10.0.0.1"})
                assert caller.statuses[0] == status, said


def shop(outside_port: int, other: int, tcp: int) -> str:
    listeners = f"""
  - {{name: http, port: {outside_port}, protocol: HTTP}}
  - {{name: other, port: {other}, protocol: HTTP}}
  - {{name: tcp, port: {tcp}, protocol: TCP}}
"""
    return (
        documents("doors", listeners)
        + """
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: doors}
spec:
  parentRefs: [{name: doors, sectionName: http}, {name: doors, sectionName: other}]
  rules: [{backendRefs: [{name: api, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: doors}
spec:
  parentRefs: [{name: doors, sectionName: tcp}]
  rules: [{backendRefs: [{name: tcp, port: 7000}]}]
"""
    )


async def passes(outside: Outside) -> bool:
    with contextlib.suppress(OSError, EOFError):
        async with outside.tcp() as connection:
            return str(await connection.ask("ping")).endswith("ping")
    return False


async def test_at_a_gateway(traffic: Traffic) -> None:
    ports = {name: traffic.port() for name in ("http", "other", "tcp")}
    text = shop(ports["http"], ports["other"], ports["tcp"])
    async with gateway(traffic.world, "doors", text, ports, PublicAuthority()) as outside:

        async def found(path: str = "/") -> tuple[int, int, bool]:
            http, other = [
                (await outside.get(f"http://doors{path}", name)).status for name in ("http", "other")
            ]
            return http, other, await passes(outside)

        async def undrained() -> bool:
            return not sum((await outside.proxy.stats(DRAINING)).values())

        assert await found() == (200, 200, True)
        anyone = "{from: [{ipBlocks: [127.0.0.0/8]}]"
        for said, open_, secret in (
            ("default: deny", (403, 403, False), (403, 403, False)),
            (
                f"action: allow, rules: [{anyone}, to: [{{ports: [{ports['http']}]}}]}}]",
                (200, 403, False),
                (200, 403, False),
            ),
            (
                f"action: deny, rules: [{{to: [{{paths: [/secret], ports: [{ports['other']}]}}]}}]",
                (200, 200, True),
                (200, 403, True),
            ),
            (
                f"action: allow, rules: [{{to: [{{paths: [/]}}]}}, {{to: [{{ports: [{ports['tcp']}]}}]}}]",
                (200, 200, True),
                (403, 403, True),
            ),
        ):
            policy = document("doors", said, TO_EDGE)
            async with traffic.apply(policy):
                await eventually(undrained, "no connection of before is left")
                assert (await found(), await found("/secret")) == (open_, secret), said
                mesh = state(text, policy)
                told = [
                    decided(
                        at_gateway(mesh, Key("default", "doors-1"), number, http=http),
                        Caller(None),
                        Request(path="//secret", host="doors") if http else None,
                        edge=True,
                    ).allowed
                    for number, http in ((ports["http"], True), (ports["other"], True), (ports["tcp"], False))
                ]
                assert told == [secret[0] == 200, secret[1] == 200, secret[2]]
