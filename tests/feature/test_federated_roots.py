"""Envoy's SPIFFE validator, as the secret `roots` holds it: each root vouches for its own trust domain and no other."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from ca.authority import TrustBundle
from ca.secrets import identity_secret, roots_secret
from mesh.identity import Identity
from tests.support.binaries import OLDEST
from tests.support.ca_builders import API_1, Credentials, an_authority
from tests.support.ca_envoy import TlsEnvoy, a_tls_envoy, sds_file, until

OURS, THEIRS, NAMED = "a.example", "b.example", "c.example"


def who(trust_domain: str) -> Identity:
    return Identity(trust_domain, "default", "web")


async def let_in(envoy: TlsEnvoy, roots: Path, client: Credentials | None) -> bool:
    try:
        await envoy.served(roots, client)
    except (OSError, ssl.SSLError):
        return False
    return True


@pytest.mark.parametrize("version", [OLDEST, None], ids=["oldest", "newest"])
async def test_a_foreign_root_vouches_for_its_own_trust_domain_alone(
    tmp_path: Path, version: str | None
) -> None:
    ours = an_authority(tmp_path / "ours", trust_domain=OURS)
    theirs = an_authority(tmp_path / "theirs", trust_domain=THEIRS)
    pretender = an_authority(tmp_path / "pretender", trust_domain=OURS)
    stranger = an_authority(tmp_path / "stranger", trust_domain=NAMED)
    server = await Credentials.issue(ours, Identity(OURS, "default", "api"))
    mine = await Credentials.issue(ours, who(OURS), API_1)
    foreign = await Credentials.issue(theirs, who(THEIRS), API_1)
    # Of the federated authority, in our name: the key of `pretender` is the one that their bundle names.
    claimed = await Credentials.issue(pretender, who(OURS), API_1)
    other = await Credentials.issue(stranger, who(NAMED), API_1)

    own = ours.roots()
    bundle = TrustBundle(THEIRS, (*theirs.roots().roots, *pretender.roots().roots))
    roots = sds_file(tmp_path / "roots.json", roots_secret(own))
    identity = sds_file(tmp_path / "identity.json", identity_secret(server.chain, server.key))
    trusted = tmp_path / "ours" / "roots.pem"
    async with a_tls_envoy(tmp_path, OURS, identity, roots, federated=[THEIRS], version=version) as envoy:
        assert await let_in(envoy, trusted, mine)
        assert not await let_in(envoy, trusted, foreign)

        async def foreign_let_in() -> bool:
            return await let_in(envoy, trusted, foreign)

        async def foreign_refused() -> bool:
            return not await let_in(envoy, trusted, foreign)

        sds_file(tmp_path / "roots.json", roots_secret(own, (bundle,)))
        await until(foreign_let_in, "who is federated is let in")
        assert await let_in(envoy, trusted, mine)
        assert not await let_in(envoy, trusted, claimed), "a foreign root vouched for our trust domain"
        assert not await let_in(envoy, trusted, other), "a root of nobody"
        assert not await let_in(envoy, trusted, None), "no certificate"

        # The bundle may name a trust domain that the listener does not: what it asks for counts as well.
        third = TrustBundle(NAMED, stranger.roots().roots)
        sds_file(tmp_path / "roots.json", roots_secret(own, (third,)))
        await until(foreign_refused, "who is no longer federated is refused")
        assert await let_in(envoy, trusted, mine)
        assert not await let_in(envoy, trusted, other), "a trust domain that the listener does not take"

        sds_file(tmp_path / "roots.json", roots_secret(own))
        assert not await let_in(envoy, trusted, foreign)
        assert await let_in(envoy, trusted, mine)
