"""Certificates of clients at a gateway: of several authorities, by port, insisted on or not."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from api.shapes.status import ConditionStatus
from tests.support.traffic.edge import Outside, PublicAuthority, documents, gateway
from tests.support.traffic.world import Traffic, World

PORTS = ("default", "own", "fallback", "open", "broken")
AUTHORITIES = ("partners", "friends", "others")
WHO = ("nobody", *AUTHORITIES)
"""Clients: without a certificate, or with one of an authority."""


@dataclass(frozen=True, slots=True)
class Clients:
    outside: Outside
    contexts: Mapping[str, ssl.SSLContext]

    async def admitted(self, port: str) -> tuple[str, ...]:
        """Who of WHO is answered at a port."""
        return tuple([who for who in WHO if await self._answered(who, port)])

    async def _answered(self, who: str, port: str) -> bool:
        try:
            answer = await self.outside.get_tls("a.example.com", port, context=self.contexts[who])
        except OSError:
            return False
        assert answer["status"] == 200
        return True

    async def conditions(self) -> tuple[ConditionStatus, ...]:
        gateways = (await self.outside.world.mesh.status()).gateways
        return next(each.conditions for each in gateways if each.gateway == "default/club")


def validation(
    *names: str, mode: str = "AllowValidOnly", kind: str = "group: meshwright.dev, kind: Secret"
) -> str:
    refs = ", ".join(f"{{{kind}, name: {name}}}" for name in names)
    return f"{{validation: {{mode: {mode}, caCertificateRefs: [{refs}]}}}}"


def gateway_document(ports: Mapping[str, int]) -> str:
    by_port = {
        # A ConfigMap is what the API names; the Secret document of that name stands for it.
        "own": validation("others", kind='group: "", kind: ConfigMap'),
        "fallback": validation("partners", mode="AllowInsecureFallback"),
        "open": "{}",
        "broken": validation("nowhere"),
    }
    per_port = ", ".join(f"{{port: {ports[name]}, tls: {said}}}" for name, said in by_port.items())
    frontend = f"{{default: {validation('partners', 'friends', 'nowhere')}, perPort: [{per_port}]}}"
    listeners = "\n".join(
        f"  - {{name: {name}, port: {ports[name]}, protocol: HTTPS, tls: {{certificateRefs: [{{name: club}}]}}}}"
        for name in PORTS
    )
    return documents("club", listeners, more=f"tls: {{frontend: {frontend}}}")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def clients(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Clients]:
    ports = {name: world.ports.take() for name in PORTS}
    server, folder = PublicAuthority(), world.mesh.documents / "clients"
    folder.mkdir()
    server.issue(folder / "club.pem", folder / "club.key", "a.example.com")
    text = gateway_document(ports) + secret(
        "club", "certificateFile: clients/club.pem, keyFile: clients/club.key"
    )
    contexts = {"nobody": server.client()}
    for name in AUTHORITIES:
        authority = PublicAuthority()
        (folder / f"{name}-ca.pem").write_bytes(authority.pem)
        text += secret(name, f"authoritiesFile: clients/{name}-ca.pem")
        contexts[name] = shown(server, authority, tmp_path_factory.mktemp(name))
    text += """
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: club}
spec: {parentRefs: [{name: club}], rules: [{backendRefs: [{name: api, port: 80}]}]}
"""
    async with gateway(world, "club", text, ports, server) as outside:
        yield Clients(outside, contexts)


def secret(name: str, spec: str) -> str:
    return f"\n---\napiVersion: meshwright.dev/v1alpha1\nkind: Secret\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"


def shown(server: PublicAuthority, own: PublicAuthority, folder: Path) -> ssl.SSLContext:
    """A client that trusts `server` and shows a certificate of `own`."""
    own.issue(folder / "c.pem", folder / "c.key", "a client")
    context = server.client()
    context.load_cert_chain(folder / "c.pem", folder / "c.key")
    return context


async def test_clients_of_any_of_several_authorities_are_let_in(clients: Clients) -> None:
    assert await clients.admitted("default") == ("partners", "friends")


async def test_a_port_has_authorities_of_its_own_or_none(clients: Clients) -> None:
    assert await clients.admitted("own") == ("others",)
    assert await clients.admitted("open") == WHO


async def test_without_any_authority_nobody_is_let_in(clients: Clients) -> None:
    assert await clients.admitted("broken") == ()
    told = {(each.at, each.type): each for each in await clients.conditions()}
    assert told["broken", "Accepted"].reason == "NoValidCACertificate"
    assert told["broken", "ResolvedRefs"].reason == "InvalidCACertificateRef"
    assert not told["broken", "Programmed"].status
    # Of several, those that are there count; that one is not is told all the same.
    assert told["default", "Accepted"].status
    assert told["default", "ResolvedRefs"].reason == "InvalidCACertificateRef"
    assert "Secret default/nowhere" in told["default", "ResolvedRefs"].message
    assert told["own", "ResolvedRefs"].status
    assert told["", "ResolvedRefs"].reason == "ListenersNotResolved"


async def test_with_the_fallback_everybody_is_let_in_and_nothing_is_said_of_whom(clients: Clients) -> None:
    assert await clients.admitted("fallback") == WHO
    told = next(each for each in await clients.conditions() if each.type == "InsecureFrontendValidationMode")
    assert (told.status, told.reason) == (True, "ConfigurationChanged")
    assert str(clients.outside.ports["fallback"]) in told.message


async def test_an_authority_that_is_replaced_counts_for_the_next_connection(
    traffic: Traffic, clients: Clients, tmp_path: Path
) -> None:
    file = traffic.mesh.documents / "clients" / "others-ca.pem"
    before, new = file.read_bytes(), PublicAuthority()
    context = shown(clients.outside.authority, new, tmp_path)
    late = Clients(clients.outside, {**clients.contexts, "nobody": context})
    try:
        file.write_bytes(new.pem)

        async def replaced() -> bool:
            return await late.admitted("own") == ("nobody",)

        await traffic.world.applier.until(replaced, "the new authority counts")
    finally:
        file.write_bytes(before)
