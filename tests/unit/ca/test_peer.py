from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from ca import control_plane
from ca.errors import UnusablePeer
from ca.keys import new_key
from ca.peer import parse_node_id, proved
from mesh.errors import InvalidName
from mesh.names import Key
from tests.support.ca_builders import API, API_1, START, TRUST_DOMAIN, HandClock, a_leaf_request, an_authority

API_URI = x509.UniformResourceIdentifier(API.uri)


def a_certificate(uids: list[str], names: list[x509.GeneralName] | None) -> bytes:
    key = new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.USER_ID, uid) for uid in uids])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(START)
        .not_valid_after(START + timedelta(days=1))
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


async def test_a_leaf_proves_identity_and_workload(tmp_path: Path) -> None:
    issued = await an_authority(tmp_path, HandClock()).issue(a_leaf_request())
    found = proved(issued.chain_pem)
    assert (found.identity, found.workload, found.node_id) == (API, API_1, "default/api-1")
    assert found.not_after == START + timedelta(hours=24)


async def test_the_control_planes_certificate_is_no_workloads(tmp_path: Path) -> None:
    issued = await an_authority(tmp_path).issue(a_leaf_request(control_plane.identity(TRUST_DOMAIN), None))
    with pytest.raises(UnusablePeer, match="0 UIDs"):
        proved(issued.chain_pem)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"junk",
        a_certificate(["default/api-1"], None),
        a_certificate(["default/api-1"], [x509.DNSName("api")]),
        a_certificate(["default/api-1"], [API_URI, API_URI]),
        a_certificate(["default/api-1"], [x509.UniformResourceIdentifier("spiffe://example.org/api")]),
        a_certificate(["default/api-1"], [x509.UniformResourceIdentifier("https://example.org/ns/a/sa/b")]),
        a_certificate([], [API_URI]),
        a_certificate(["default/api-1", "default/store-1"], [API_URI]),
        a_certificate(["api-1"], [API_URI]),
        a_certificate(["default/api/1"], [API_URI]),
    ],
)
def test_anything_else_proves_nothing(pem: bytes) -> None:
    with pytest.raises(UnusablePeer):
        proved(pem)


@pytest.mark.parametrize("name", ["api-1", "web_1", "api-7c9f.x", "web:8080", "A" * 253])
def test_node_ids(name: str) -> None:
    assert parse_node_id(f"default/{name}") == Key("default", name)


@pytest.mark.parametrize(
    "text", ["", "api", "/api", "default/", "De/api", "mesh/api", "default/-a", f"default/{'a' * 254}"]
)
def test_what_is_no_node_id(text: str) -> None:
    with pytest.raises(InvalidName):
        parse_node_id(text)
