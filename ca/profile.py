"""The certificate profile: what stands in a root, an intermediate and a leaf.

Rules from X509-SVID (https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md) and RFC 5280: a leaf has exactly
one URI SAN, its SPIFFE id; a signing certificate has its trust domain's, without a path. Name constraints are
left out: SPIFFE only allows them, and verifiers differ on URI constraints.

The workload that a leaf was issued to stands in its subject as UID (RFC 4519, OID 0.9.2342.19200300.100.1.1), because
SPIFFE allows no second URI and ADS has to know it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca.authority import LeafRequest
from ca.keys import PublicKey

ROOT_LIFETIME = timedelta(days=3650)
INTERMEDIATE_LIFETIME = timedelta(days=365)
CLOCK_SKEW = timedelta(minutes=5)
"""How far the clock of a peer may be behind ours."""


@dataclass(frozen=True, slots=True)
class Validity:
    not_before: datetime
    not_after: datetime


def validity(now: datetime, lifetime: timedelta, issuer: x509.Certificate | None) -> Validity:
    """From the skew before `now` to `lifetime` after it, never outside the issuer's. Whole seconds, as in a certificate."""
    now = now.replace(microsecond=0)
    begin, end = now - CLOCK_SKEW, now + lifetime
    if issuer is not None:
        begin, end = max(begin, issuer.not_valid_before_utc), min(end, issuer.not_valid_after_utc)
    return Validity(begin, end)


def root(trust_domain: str, public_key: PublicKey, times: Validity, serial: int) -> x509.CertificateBuilder:
    name = _signer_name("root", serial)
    builder = _base(public_key, name, name, times, serial)
    return _signer(builder, trust_domain, path_length=1).add_extension(
        x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False
    )


def intermediate(
    trust_domain: str,
    public_key: PublicKey,
    issuer: x509.Certificate,
    times: Validity,
    serial: int,
) -> x509.CertificateBuilder:
    name = _signer_name("intermediate", serial)
    builder = _base(public_key, name, issuer.subject, times, serial)
    builder = _signer(builder, trust_domain, path_length=0)
    return _key_identifiers(builder, public_key, issuer)


def leaf(
    request: LeafRequest, issuer: x509.Certificate, times: Validity, serial: int
) -> x509.CertificateBuilder:
    """The unsigned leaf for `request`. `serial` is random, positive and has at most 159 bits (RFC 5280, 4.1.2.2)."""
    subject = [] if request.workload is None else [x509.NameAttribute(NameOID.USER_ID, str(request.workload))]
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(request.identity.uri)]
    names += [x509.DNSName(name) for name in request.dns_names]
    names += [x509.IPAddress(address) for address in request.addresses]
    builder = (
        _base(request.csr.public_key, x509.Name(subject), issuer.subject, times, serial)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        # Critical where there is no subject (RFC 5280, 4.2.1.6).
        .add_extension(x509.SubjectAlternativeName(names), critical=not subject)
    )
    return _key_identifiers(builder, request.csr.public_key, issuer)


def _signer_name(what: str, serial: int) -> x509.Name:
    """Distinct for each certificate, so that two roots in one bundle are told apart by name too."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"Meshwright {what} CA"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, f"{serial:040x}"[:16]),
        ]
    )


def _base(
    public_key: PublicKey,
    subject: x509.Name,
    issuer: x509.Name,
    times: Validity,
    serial: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(times.not_before)
        .not_valid_after(times.not_after)
    )


def _signer(builder: x509.CertificateBuilder, trust_domain: str, path_length: int) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]),
            critical=False,
        )
    )


def _key_identifiers(
    builder: x509.CertificateBuilder, public_key: PublicKey, issuer: x509.Certificate
) -> x509.CertificateBuilder:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False
    ).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
