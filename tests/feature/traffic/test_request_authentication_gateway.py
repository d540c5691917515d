"""RequestAuthentication at a gateway, with keys that it fetches over TLS; access policies go by what it verified."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.feature.traffic.test_request_authentication import bearer, issuer, policy
from tests.support.processes import eventually
from tests.support.tokens import Issuer, JwksServer
from tests.support.traffic.draining import DRAINING, applied_to_all
from tests.support.traffic.edge import Outside, PublicAuthority, documents, gateway
from tests.support.traffic.routes import route, to
from tests.support.traffic.world import Traffic, World

DOOR = "{kind: Workload, name: door-1}"
URL = "http://shop.example"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def outside(world: World) -> AsyncIterator[Outside]:
    ports = {"http": world.ports.take()}
    listeners = f"  - {{name: http, port: {ports['http']}, protocol: HTTP}}\n"
    async with gateway(world, "door", documents("door", listeners), ports, PublicAuthority()) as made:
        yield made


async def none_draining(outside: Outside) -> None:
    """No client of the gateway has the filters of before."""

    async def none_is_left() -> bool:
        return not sum((await outside.proxy.stats(DRAINING)).values())

    await eventually(none_is_left, "no filter chain of the gateway is draining", every=0.05)


async def test_tokens_at_a_gateway(traffic: Traffic, outside: Outside, tmp_path: Path) -> None:
    login = Issuer()
    roots, shown, key = (tmp_path / name for name in ("roots.pem", "server.pem", "server.key"))
    roots.write_bytes(outside.authority.pem)
    outside.authority.issue(shown, key, "localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(shown, key)
    more = ", claims: [{claim: sub, header: x-user}], forward: false"
    async with JwksServer(traffic.port(), login, context) as server:

        def said(trusted: str) -> str:
            jwks = f"{{uri: '{server.uri}', cache: 1s{trusted}}}"
            rules = "  rules: [{match: {hosts: ['*.open.example'], paths: [{prefix: /}]}, mode: optional}]\n"
            return policy(f"  issuers:\n{issuer(login, more, jwks=jwks)}{rules}", DOOR)

        routed = route(f"backendRefs: [{to('api')}]", gateway="name: door")
        access = """
---
apiVersion: meshwright.dev/v1alpha1
kind: AccessPolicy
metadata: {name: readers}
spec:
  targetRefs: [{kind: Workload, name: door-1}]
  action: allow
  rules: [{when: [{claim: role, values: [reader]}]}]
"""
        async with applied_to_all(traffic, routed + said(f", caFile: {roots}")) as file:

            async def in_force() -> bool:
                return (await outside.get(f"{URL}/")).status == 401

            await eventually(in_force, "the gateway wants a token")
            passed = await outside.get(f"{URL}/", headers={**bearer(login.token()), "x-user": "forged"})
            assert (passed.status, passed.seen["x-user"], "authorization" in passed.seen) == (
                200,
                "ann",
                False,
            )
            expired = login.token(exp=int(time.time()) - 120)
            assert (await outside.get(f"{URL}/", headers=bearer(expired))).status == 401
            optional = await outside.get("http://a.open.example/", headers={"x-user": "forged"})
            assert (optional.status, "x-user" in optional.seen) == (200, False)
            assert (await outside.get("http://a.open.example/", headers=bearer(expired))).status == 401
            await file.replace(routed + said(f", caFile: {roots}") + access)
            reader, writer = login.token(role="reader"), login.token(role="writer")
            assert (await outside.get(f"{URL}/", headers=bearer(reader))).status == 200
            assert (await outside.get(f"{URL}/", headers=bearer(writer))).status == 403
            await file.replace(routed + said(""))

            async def refused() -> bool:
                return (await outside.get(f"{URL}/", headers=bearer(login.token()))).status == 401

            await eventually(refused, "keys of a server that nobody trusts are not taken")


async def test_a_route_of_the_gateway_is_protected_as_its_service_is(
    traffic: Traffic, outside: Outside
) -> None:
    """A token is handed on, so that the sidecar behind the gateway verifies it, too."""
    login = Issuer()
    said = policy(f"  issuers:\n{issuer(login)}", "{kind: Namespace}")
    routed = route(f"backendRefs: [{to('api')}]", gateway="name: door")
    await none_draining(outside)
    async with applied_to_all(traffic, said + routed):

        async def in_force() -> bool:
            without = await outside.get(f"{URL}/")
            inside = await traffic.get("http://api.mesh/")
            return (without.status, inside.status) == (401, 401)

        await eventually(in_force, "both want a token")
        await none_draining(outside)
        passed = await outside.get(f"{URL}/", headers=bearer(login.token()))
        assert (passed.status, passed.json["service"]) == (200, "api")
