"""Certificates that a mesh should refuse, and good ones to compare them with."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca import profile
from ca.authority import Authority, LeafRequest
from ca.csr import make_csr
from ca.keys import PrivateKey, key_pem, new_key
from ca.signer import Signers
from mesh.identity import Identity
from mesh.names import Key


@dataclass(frozen=True, slots=True)
class Foreign:
    certificate: Path
    key: Path


def foreign_ca(folder: Path, name: str) -> Callable[[str], Foreign]:
    """A CA of its own, not ours, that signs whatever SPIFFE id it is asked to."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
    now = dt.datetime.now(dt.UTC)

    def sign(uri: str) -> Foreign:
        key = ec.generate_private_key(ec.SECP256R1())
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                critical=False,
            )
            .sign(ca_key, hashes.SHA256())
        )
        return _files(folder, f"foreign-{name}", made.public_bytes(serialization.Encoding.PEM), key)

    return sign


async def workload_files(folder: Path, authority: Authority, uri: str) -> Foreign:
    """A certificate of our own authority for `uri`."""
    key = new_key()
    issued = await authority.issue(LeafRequest(Identity.parse(uri), make_csr(key)))
    return _files(folder, "ours", issued.chain_pem, key)


def _files(folder: Path, name: str, chain: bytes, key: PrivateKey) -> Foreign:
    certificate, private = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(chain)
    private.touch(mode=0o600)
    private.write_bytes(key_pem(key))
    return Foreign(certificate, private)


def signed_by(
    folder: Path, data: Path, uri: str, *, name: str = "stolen", workload: Key | None = None
) -> Foreign:
    """A certificate for `uri`, signed with the intermediate of the authority in `data`, whatever that authority would have said."""
    signer = Signers().read(data / "ca" / "intermediate.pem")
    key = new_key()
    request = LeafRequest(Identity.parse(uri), make_csr(key), workload)
    times = profile.validity(dt.datetime.now(dt.UTC), dt.timedelta(hours=1), signer.certificate)
    made = profile.leaf(request, signer.certificate, times, x509.random_serial_number())
    certificate = signer.sign(made)
    pems = [each.public_bytes(serialization.Encoding.PEM) for each in (certificate, signer.certificate)]
    return _files(folder, name, b"".join(pems), key)
