"""Certificates for gateways, from PEM files that their owners keep: checked here, because a proxy that refuses one says little.

No error and no log carries anything of a key.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from ca.certificate import pem
from ca.errors import CaError
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

MAX_BYTES = 1024 * 1024
SHARED = 0o027
"""What the mode of a key must not have: its group may read it, as that of a web server does, and nobody else may do anything."""
CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
"""Those that Envoy takes (https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/security/ssl)."""


class UnusableFile(CaError):
    """A file that does not hold what it should, or that others may read."""


@dataclass(frozen=True, slots=True)
class EdgeSecret:
    """`resource` is a serialised Secret; one with a key is secret. `not_after`: when the first of its certificates ends."""

    resource: bytes
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Pem:
    """What a file holds, or what else there is under a name; `where` is what errors call it. Of a key it is secret."""

    where: str
    content: bytes = field(repr=False)


def certificate(name: str, chain: Path, key: Path) -> EdgeSecret:
    """The certificate of `chain` with its `key`, as the SDS secret `name`. UnusableFile, with the way out, if they are not right."""
    return certificate_of(name, Pem(str(chain), _read(chain)), Pem(str(key), _read(key, private=True)))


def certificate_of(name: str, chain: Pem, key: Pem) -> EdgeSecret:
    """As `certificate`, of what was read already."""
    certificates = _certificates(chain)
    private = _key(key)
    if _public_of(certificates[0], chain.where) != _public(private.public_key()):
        raise UnusableFile(
            f"the key of {key.where} is not that of the first certificate of {chain.where}: while both are being replaced this "
            "passes by itself; else put the leaf first, or name the right ones"
        )
    secret = Secret(name=name)
    secret.tls_certificate.certificate_chain.inline_bytes = _pem(certificates)
    secret.tls_certificate.private_key.inline_bytes = private.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    return EdgeSecret(
        secret.SerializeToString(deterministic=True), min(each.not_valid_after_utc for each in certificates)
    )


def authorities(name: str, path: Path) -> EdgeSecret:
    """The certificates of `path`, as the SDS secret `name` by which those of clients are verified. UnusableFile as above."""
    return authorities_of(name, Pem(str(path), _read(path)))


def authorities_of(name: str, known: Pem) -> EdgeSecret:
    """As `authorities`, of what was read already."""
    certificates = _certificates(known)
    secret = Secret(name=name)
    secret.validation_context.trusted_ca.inline_bytes = _pem(certificates)
    return EdgeSecret(
        secret.SerializeToString(deterministic=True), max(each.not_valid_after_utc for each in certificates)
    )


def together(name: str, bundles: Iterable[EdgeSecret]) -> EdgeSecret | None:
    """The authorities of all of `bundles` as one SDS secret `name`; None of none."""
    known = tuple(bundles)
    if not known:
        return None
    secret = Secret(name=name)
    secret.validation_context.trusted_ca.inline_bytes = b"".join(
        Secret.FromString(each.resource).validation_context.trusted_ca.inline_bytes for each in known
    )
    return EdgeSecret(secret.SerializeToString(deterministic=True), max(each.not_after for each in known))


def _certificates(found: Pem) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(found.content)
    except x509.InvalidVersion:  # is no ValueError
        raise UnusableFile(
            f"{found.where} holds a certificate of a version that X.509 does not have: replace it"
        ) from None
    except ValueError as error:
        raise UnusableFile(f"{found.where} holds no certificates in PEM: replace it") from error


def _key(found: Pem) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    try:
        key: PrivateKeyTypes = load_pem_private_key(found.content, password=None)
    except TypeError:
        raise UnusableFile(f"the key of {found.where} has a passphrase: write it without one") from None
    except (ValueError, UnsupportedAlgorithm):
        # The cause is not chained: what it says is not ours to vouch for.
        raise UnusableFile(f"{found.where} holds no private key in PEM: replace it") from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, CURVES):
        return key
    raise UnusableFile(
        f"the key of {found.where} is of a kind that Envoy does not take: use RSA of 2048 bits or more, or ECDSA with P-256, P-384 or P-521"
    )


def _read(path: Path, *, private: bool = False) -> bytes:
    """What is asked of the file is asked of what has been opened: its path may name another one by now."""
    try:
        with open(path, "rb", opener=_at_once) as file:
            found = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(found):
                raise UnusableFile(f"{path} is no regular file: name one")
            mode = stat.S_IMODE(found)
            if private and mode & SHARED:
                raise UnusableFile(
                    f"{path} may be read or written by others (mode {mode:04o}): chmod 600 {path}, or 640 for its group"
                )
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnusableFile(
            f"{path} cannot be read ({error.strerror}): check the path, its owner and its mode"
        ) from error
    if len(content) > MAX_BYTES:
        raise UnusableFile(f"{path} has more than {MAX_BYTES} bytes: name the right file")
    return content


def _at_once(path: str, flags: int) -> int:
    """Opens without waiting: a FIFO would wait for whoever writes to it, and neither its thread nor the process could end."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def _public_of(leaf: x509.Certificate, chain: str) -> bytes:
    """The public key of `leaf`, which is read only now: a certificate loads whatever its key is."""
    try:
        return _public(leaf.public_key())
    except (UnsupportedAlgorithm, ValueError):
        raise UnusableFile(
            f"the first certificate of {chain} has a key of a kind or curve that Envoy does not take: use RSA of 2048 bits or "
            "more, or ECDSA with P-256, P-384 or P-521"
        ) from None


def _public(key: object) -> bytes:
    """The same bytes for the same key. A certificate may have a key of a kind that no server has: that is never the same."""
    if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b""


def _pem(certificates: list[x509.Certificate]) -> bytes:
    return b"".join(map(pem, certificates))
