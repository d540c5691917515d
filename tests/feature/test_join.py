"""Identities in use by a real Envoy: who is let in, and how renewed certificates get there."""

from __future__ import annotations

import asyncio
import contextlib
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from agent.identity_store import IdentityStore
from agent.renew import CertificateKeeper, Membership, TokenSource
from ca.issuer import SecretIssuer
from ca.peer import proved
from ca.times import system_clock
from mesh.identity import Identity
from mesh.names import Key
from tests.support.ca_builders import (
    API,
    API_1,
    TRUST_DOMAIN,
    Credentials,
    a_join_server,
    an_authority,
    certificates,
    no_chance,
)
from tests.support.ca_envoy import a_tls_envoy, ask, sds_file, until

WEB = Identity(TRUST_DOMAIN, "default", "web")
WEB_1 = Key("default", "web-1")


async def test_members_are_let_in_and_nobody_else(tmp_path: Path) -> None:
    authority = an_authority(tmp_path / "ours")
    claims_ours = an_authority(tmp_path / "foreign")
    other_domain = an_authority(tmp_path / "other", trust_domain="other.org")
    issuer = SecretIssuer(authority, system_clock, no_chance)
    identity = sds_file(tmp_path / "identity.json", (await issuer.issue(API, API_1)).resource)
    roots = sds_file(tmp_path / "roots.json", issuer.roots())
    async with a_tls_envoy(tmp_path, TRUST_DOMAIN, identity, roots) as envoy:
        member = await Credentials.issue(authority, WEB, WEB_1)
        shown = await envoy.served(authority.bundle_path, member)
        assert "spiffe://example.org/ns/default/sa/api" in str(shown.extensions)
        strangers: dict[str, Credentials | None] = {
            "nobody": None,
            "a foreign authority that claims our trust domain": await Credentials.issue(
                claims_ours, WEB, WEB_1
            ),
            "another trust domain": await Credentials.issue(
                other_domain, Identity("other.org", "default", "web"), WEB_1
            ),
        }
        let_in = []
        for who, stranger in strangers.items():
            with contextlib.suppress(OSError):  # an alert or a reset, by which is first
                await envoy.served(authority.bundle_path, stranger)
                let_in.append(who)
        assert let_in == []


async def test_a_renewed_secret_is_used_and_connections_live(tmp_path: Path) -> None:
    authority = an_authority(tmp_path / "ca")
    issuer = SecretIssuer(authority, system_clock, no_chance)
    identity = sds_file(tmp_path / "identity.json", (await issuer.issue(API, API_1)).resource)
    roots = sds_file(tmp_path / "roots.json", issuer.roots())
    async with a_tls_envoy(tmp_path, TRUST_DOMAIN, identity, roots) as envoy:
        member = await Credentials.issue(authority, WEB, WEB_1)
        with contextlib.closing(envoy.connection(authority.bundle_path, member)) as kept:
            first = await asyncio.to_thread(ask, kept)
            renewed = await issuer.issue(API, API_1)
            sds_file(identity, renewed.resource)

            async def is_used() -> bool:
                return (await envoy.served(authority.bundle_path, member)).serial_number == renewed.serial

            await until(is_used, "Envoy shows the renewed certificate")
            assert (await asyncio.to_thread(ask, kept)).serial_number == first.serial_number


async def test_an_agents_renewals_reach_envoy_through_its_files(tmp_path: Path) -> None:
    async with a_join_server(tmp_path / "control-plane", lifetime=timedelta(seconds=3)) as server:
        store = IdentityStore(tmp_path / "agent")
        token = server.tokens.create("default", "api", now=system_clock())
        keeper = CertificateKeeper(
            Membership(
                workload=API_1,
                trust_domain=TRUST_DOMAIN,
                join_address=server.join_address,
                renew_address=server.renew_address,
                bundle=server.bundle,
                tokens=TokenSource(token),
            ),
            store,
            clock=system_clock,
            chance=no_chance,
            log=structlog.get_logger(),
        )
        first = await keeper.obtain()
        paths = store.paths()
        watched = {"path": str(paths.watched)}
        held: dict[str, Any] = {
            "name": "identity",
            "tls_certificate": {
                "certificate_chain": {"filename": str(paths.chain)},
                "private_key": {"filename": str(paths.key)},
                "watched_directory": watched,
            },
        }
        trusted: dict[str, Any] = {
            "name": "roots",
            "validation_context": {
                "trusted_ca": {"filename": str(paths.roots)},
                "watched_directory": watched,
            },
        }
        identity = sds_file(tmp_path / "identity.json", held)
        roots = sds_file(tmp_path / "roots.json", trusted)
        async with a_tls_envoy(tmp_path, TRUST_DOMAIN, identity, roots) as envoy:
            member = await Credentials.issue(server.authority, WEB, WEB_1)
            seen: set[int] = set()

            async def three_were_used() -> bool:
                seen.add((await envoy.served(server.bundle, member)).serial_number)
                return len(seen) == 3

            task = asyncio.create_task(keeper.keep())
            try:
                await until(three_were_used, "Envoy shows two renewed certificates")
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        assert certificates(first.chain_pem)[0].serial_number in seen
        last = store.load()
        assert last is not None
        assert proved(last.chain_pem).workload == API_1
        # Keys are in the agent's private files and nowhere in what was logged or sent to the control plane.
        keys = [path.read_bytes().split(b"\n")[1] for path in (tmp_path / "agent").rglob("key.pem")]
        others = [path for path in (tmp_path / "control-plane").rglob("*") if path.is_file()] + [
            tmp_path / "envoy.log"
        ]
        told = b"".join(path.read_bytes() for path in others) + repr(server.events).encode()
        assert keys
        assert not [key for key in keys if key in told]
        assert re.search(rb"mwj_\w+\.", told) is None
