"""Vault's PKI engine as the authority: the real server in `make heavy`, a stand-in of its HTTP API in every run."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ca.authority import LeafRequest
from ca.csr import make_csr
from ca.errors import AuthorityError, WrongTrustDomain
from ca.keys import KeyType, new_key
from ca.peer import proved
from ca.times import system_clock
from ca.vault import VaultAuthority, VaultOptions
from mesh.identity import Identity
from tests.support.ca_builders import API, API_1, TRUST_DOMAIN, a_leaf_request
from tests.support.vaults import ROLE, Vault, real_vault, stand_in

SERVERS = [
    pytest.param(stand_in, id="STAND-IN"),
    pytest.param(real_vault, id="vault", marks=[pytest.mark.heavy, pytest.mark.timeout(1800)]),
]


@dataclass
class Here:
    vault: Vault
    options: VaultOptions

    def authority(self, **changed: Any) -> VaultAuthority:
        return VaultAuthority(replace(self.options, **changed), TRUST_DOMAIN, system_clock)


@pytest.fixture(params=SERVERS)
async def here(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Here]:
    async with request.param(tmp_path) as vault:
        await vault.set_up(TRUST_DOMAIN)
        token = tmp_path / "token"
        token.touch(0o600)
        token.write_text(vault.token)
        yield Here(vault, VaultOptions(vault.url, "pki", ROLE, token))


async def test_a_leaf_has_the_names_of_its_workload_and_holds_before_the_bundle(here: Here) -> None:
    authority = here.authority()
    await authority.open()
    for kind in (KeyType.ECDSA_P256, KeyType.ECDSA_P384, KeyType.RSA_2048):
        key = new_key(kind)
        issued = await authority.issue(LeafRequest(API, make_csr(key), API_1, timedelta(hours=1)))
        leaf = x509.load_pem_x509_certificate(issued.chain_pem)
        found = proved(issued.chain_pem)
        assert (found.identity, found.workload) == (API, API_1)
        assert leaf.public_key() == key.public_key()
        assert issued.serial == leaf.serial_number
        assert timedelta(minutes=59) < issued.not_after - system_clock() <= timedelta(hours=1)
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.roots().pem))


async def test_the_control_planes_own_certificate_has_its_dns_names(here: Here) -> None:
    authority = here.authority()
    await authority.open()
    address = ipaddress.IPv4Address("127.0.0.1")
    csr = make_csr(new_key())
    issued = await authority.issue(
        LeafRequest(API, csr, None, timedelta(hours=1), ("meshwright.example.org",), (address,))
    )
    names = x509.load_pem_x509_certificate(issued.chain_pem).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["meshwright.example.org"]


async def test_a_role_that_refuses_is_told_in_vaults_words(here: Here) -> None:
    await here.vault.set_up(TRUST_DOMAIN, allowed_uri_sans="spiffe://other.org/*")
    authority = here.authority()
    await authority.open()
    with pytest.raises(AuthorityError, match=r"Vault answered 400 to sign/mesh: .*URI"):
        await authority.issue(a_leaf_request())
    await here.vault.set_up(TRUST_DOMAIN, allowed_user_ids="somebody")
    with pytest.raises(AuthorityError, match=r"Vault answered 400 to sign/mesh: .*user_id"):
        await authority.issue(a_leaf_request())


async def test_what_is_wrong_with_the_way_to_vault_is_told_without_its_token(
    here: Here, tmp_path: Path
) -> None:
    good = here.options.token_file.read_text()
    closed = here.authority(address="http://127.0.0.1:9")
    with pytest.raises(AuthorityError, match="does not answer"):
        await closed.open()
    nowhere = here.authority(role="nobody")
    await nowhere.open()
    with pytest.raises(AuthorityError, match=r"Vault answered 40[04] to sign/nobody"):
        await nowhere.issue(a_leaf_request())
    here.options.token_file.write_text("hvs.stolen-and-revoked")
    thief = here.authority()
    await thief.open()  # the chain is public
    with pytest.raises(
        AuthorityError, match=r"Vault answered 403 .*(permission denied|invalid token)"
    ) as caught:
        await thief.issue(a_leaf_request())
    assert "stolen" not in str(caught.value)
    here.options.token_file.chmod(0o644)
    with pytest.raises(AuthorityError, match=r"Vault's token cannot be read: .* mode 0644"):
        await here.authority().open()
    here.options.token_file.chmod(0o600)
    here.options.token_file.write_text(good)
    await here.authority().open()
    other = Identity("other.org", "default", "api")
    with pytest.raises(WrongTrustDomain):
        await here.authority().issue(a_leaf_request(other))


async def test_the_bundle_may_be_a_file_that_changes(here: Here, tmp_path: Path) -> None:
    first = here.authority()
    await first.open()
    roots = tmp_path / "roots.pem"
    roots.write_bytes(first.roots().pem)
    authority = here.authority(roots_file=roots)
    await authority.open()
    assert not await authority.look()
    roots.write_bytes(first.roots().pem * 2)
    assert await authority.look()
    roots.write_text("nothing")
    assert not await authority.look()
    assert "does not hold the trust bundle" in authority.problem
    assert len(authority.roots().roots) == 2
