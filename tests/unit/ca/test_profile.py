from __future__ import annotations

import contextlib
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca import control_plane
from ca.authority import LeafRequest
from tests.support.ca_builders import (
    TRUST_DOMAIN,
    Credentials,
    a_csr,
    a_leaf_request,
    an_authority,
    certificates,
)


async def test_a_workload_leaf_is_a_spiffe_svid(tmp_path: Path) -> None:
    leaf = certificates((await an_authority(tmp_path).issue(a_leaf_request())).chain_pem)[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("spiffe://example.org/ns/default/sa/api")]
    assert [(each.oid, each.value) for each in leaf.subject] == [(NameOID.USER_ID, "default/api-1")]
    basic = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert not basic.value.ca
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert not usage.value.crl_sign
    extended = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(extended) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


async def test_signers_name_the_trust_domain_without_a_path(tmp_path: Path) -> None:
    authority = an_authority(tmp_path)
    (root,) = certificates(authority.roots().pem)
    intermediate = certificates((await authority.issue(a_leaf_request())).chain_pem)[1]
    for certificate, length in ((root, 1), (intermediate, 0)):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert list(names) == [x509.UniformResourceIdentifier("spiffe://example.org")]
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        assert (basic.ca, basic.path_length) == (True, length)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        assert usage.key_cert_sign
        assert not usage.digital_signature


async def test_the_control_plane_has_dns_names_and_no_uid(tmp_path: Path) -> None:
    request = LeafRequest(
        control_plane.identity(TRUST_DOMAIN),
        a_csr(),
        dns_names=(control_plane.server_name(TRUST_DOMAIN), "localhost"),
        addresses=(ipaddress.IPv4Address("127.0.0.1"),),
    )
    leaf = certificates((await an_authority(tmp_path).issue(request)).chain_pem)[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical  # for there is no subject
    assert names.value.get_values_for_type(x509.DNSName) == [
        "control-plane.meshwright.example.org",
        "localhost",
    ]
    assert names.value.get_values_for_type(x509.IPAddress) == [ipaddress.IPv4Address("127.0.0.1")]
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [
        "spiffe://example.org/ns/meshwright/sa/control-plane"
    ]
    assert not list(leaf.subject)


async def test_openssl_verifies_both_sides_strictly(tmp_path: Path) -> None:
    authority = an_authority(tmp_path)
    held = await Credentials.issue(authority)
    pair = tmp_path / "pair.pem"
    pair.write_bytes(held.key + held.chain)
    contexts = {False: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), True: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}
    for context in contexts.values():
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_verify_locations(authority.bundle_path)
        context.load_cert_chain(pair)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = contexts[False].wrap_bio(to_client, to_server)
    server = contexts[True].wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    for side in (client, server):
        peer = side.getpeercert()
        assert peer is not None
        assert peer["subjectAltName"] == (("URI", "spiffe://example.org/ns/default/sa/api"),)
