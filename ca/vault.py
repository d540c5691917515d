"""HashiCorp Vault's PKI secrets engine as the authority, by its HTTP API (https://developer.hashicorp.com/vault/api-docs/secret/pki).

Vault signs (`sign/<role>`) with the names that we ask for, as its role allows; what comes back is checked, because a role that is set up
wrongly signs something else without a word. The subject's user id, which says whose proxy it is, needs Vault 1.14.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from ca import files
from ca.authority import IssuedCertificate, LeafRequest, TrustBundle
from ca.certificate import extension, pem, uris
from ca.certify import check_trust_domain
from ca.errors import AuthorityError, InsecureFile
from ca.times import Clock
from ca.web import Answer, NoAnswer, ask

_ROLE: Final = "see docs/security.md for the role that is needed"


@dataclass(frozen=True, slots=True)
class VaultOptions:
    """`address` is Vault's URL; `mount` and `role` those of its PKI engine; `token_file` holds a Vault token, and is read for each
    request, so that whatever renews it (Vault Agent) may replace it. `roots_file`: the trust bundle, where Vault's issuer is not signed
    by a root that Vault knows.
    """

    address: str
    mount: str
    role: str
    token_file: Path
    namespace: str = ""
    ca_file: Path | None = None
    roots_file: Path | None = None


class VaultAuthority:
    """An `Authority`. `open` before use: `roots` are those of then, until `look` finds others."""

    def __init__(self, options: VaultOptions, trust_domain: str, clock: Clock) -> None:
        self._options = options
        self._trust_domain = trust_domain
        self._clock = clock
        self._roots: tuple[bytes, ...] = ()
        self.problem = ""
        """Why the trust bundle could not be read when it was looked for last."""

    async def open(self) -> None:
        """Errors: AuthorityError."""
        self._roots = await self._load_roots()

    @property
    def not_after(self) -> None:
        """Vault says no word of it."""
        return

    def roots(self) -> TrustBundle:
        return TrustBundle(self._trust_domain, self._roots)

    async def look(self) -> bool:
        """Whether the trust bundle is another now. What cannot be read leaves in force what was there."""
        try:
            roots = await self._load_roots()
        except AuthorityError as error:
            self.problem = str(error)
            return False
        before, self._roots, self.problem = self._roots, roots, ""
        return before != roots

    async def issue(self, request: LeafRequest) -> IssuedCertificate:
        check_trust_domain(request, self._trust_domain)
        now = self._clock()
        csr = x509.load_der_x509_csr(request.csr.der).public_bytes(serialization.Encoding.PEM).decode()
        body: dict[str, Any] = {
            "csr": csr,
            "uri_sans": request.identity.uri,
            "ttl": f"{int(request.lifetime.total_seconds())}s",
            "exclude_cn_from_sans": True,
            "format": "pem",
        }
        if request.workload is not None:
            body["user_ids"] = str(request.workload)
        if request.dns_names:
            body["alt_names"] = ",".join(request.dns_names)
        if request.addresses:
            body["ip_sans"] = ",".join(map(str, request.addresses))
        data = await self._call("POST", f"sign/{self._options.role}", body)
        leaf, between = _signed(data)
        _check(leaf, request)
        return IssuedCertificate(
            identity=request.identity,
            workload=request.workload,
            chain_pem=b"".join(map(pem, (leaf, *between))),
            serial=leaf.serial_number,
            issued=now,
            not_before=leaf.not_valid_before_utc,
            not_after=leaf.not_valid_after_utc,
        )

    async def _load_roots(self) -> tuple[bytes, ...]:
        file = self._options.roots_file
        if file is not None:
            try:
                found = x509.load_pem_x509_certificates(await asyncio.to_thread(file.read_bytes))
            except (OSError, ValueError, x509.InvalidVersion):
                raise AuthorityError(f"{file} does not hold the trust bundle: certificates in PEM") from None
            return tuple(map(pem, found))
        answer = await self._ask("GET", "cert/ca_chain", None)
        try:
            chain = str((answer.document().get("data") or {}).get("certificate", "")).encode()
            found = [each for each in x509.load_pem_x509_certificates(chain) if each.issuer == each.subject]
        except (NoAnswer, ValueError, AttributeError, x509.InvalidVersion):
            found = []
        if not found:
            raise AuthorityError(
                f"Vault's {self._options.mount} knows no root of its own: import the chain of its issuer, or give the trust bundle "
                "as a file (setting vault.roots_file)"
            )
        return tuple(map(pem, found))

    async def _call(self, method: str, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = await self._ask(method, path, body)
        try:
            data = answer.document().get("data")
        except NoAnswer as error:
            raise AuthorityError(f"Vault: {path}: {error}") from None
        if not isinstance(data, dict):
            raise AuthorityError(
                f"Vault: {path}: the answer has no data: is {self._options.mount} a PKI engine?"
            )
        return data

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        options = self._options
        try:
            token = (await asyncio.to_thread(files.read_private, options.token_file)).decode().strip()
        except (OSError, InsecureFile, UnicodeDecodeError) as error:
            raise AuthorityError(f"Vault's token cannot be read: {error}") from None
        headers = {"x-vault-token": token, "x-vault-request": "true"}
        if options.namespace:
            headers["x-vault-namespace"] = options.namespace
        url = f"{options.address.rstrip('/')}/v1/{options.mount.strip('/')}/{path}"
        try:
            answer = await ask(url, headers=headers, ca_file=options.ca_file, method=method, body=body)
        except NoAnswer as error:
            raise AuthorityError(f"Vault: {error}") from None
        if answer.status not in {200, 204}:
            raise AuthorityError(f"Vault answered {answer.status} to {path}: {_reason(answer)}")
        return answer


def _reason(answer: Answer) -> str:
    """Vault's own words: https://developer.hashicorp.com/vault/api-docs#error-response. It quotes no token."""
    try:
        errors = answer.document().get("errors")
    except NoAnswer:
        errors = None
    told = "; ".join(str(each).strip()[:300] for each in errors[:3]) if isinstance(errors, list) else ""
    hints = {
        403: "is the token still good, and does its policy allow this path?",
        404: "is there such a mount and role?",
        503: "is Vault sealed?",
    }
    return told or hints.get(answer.status, "see Vault's log")


def _signed(data: Mapping[str, Any]) -> tuple[x509.Certificate, list[x509.Certificate]]:
    """The leaf and what stands between it and its root."""
    chain = data.get("ca_chain") or [data.get("issuing_ca")]
    try:
        leaf = x509.load_pem_x509_certificate(str(data["certificate"]).encode())
        above = [x509.load_pem_x509_certificate(str(each).encode()) for each in chain]
    except (KeyError, TypeError, ValueError, x509.InvalidVersion):
        raise AuthorityError("Vault's answer holds no certificate with its chain") from None
    return leaf, [each for each in above if each.issuer != each.subject]


def _check(leaf: x509.Certificate, request: LeafRequest) -> None:
    """Everything that decides who its holder is. AuthorityError, with what to change in the role."""
    try:
        names = extension(leaf, x509.SubjectAlternativeName) or x509.SubjectAlternativeName([])
        constraints = extension(leaf, x509.BasicConstraints)
    except ValueError:
        raise AuthorityError("Vault's certificate cannot be read") from None
    found = uris(leaf)
    users = [str(each.value) for each in leaf.subject.get_attributes_for_oid(NameOID.USER_ID)]
    wrong = None
    if leaf.public_key() != request.csr.public_key:
        wrong = "another key than the one that was sent"
    elif found != [request.identity.uri]:
        wrong = f"the URIs {', '.join(found)[:200] or 'none'} in place of {request.identity.uri}: allowed_uri_sans"
    elif users != ([] if request.workload is None else [str(request.workload)]):
        wrong = f"the user ids {', '.join(users)[:200] or 'none'} in place of {request.workload}: allowed_user_ids"
    elif constraints is not None and constraints.ca:
        wrong = "the right to sign"
    elif set(names.get_values_for_type(x509.DNSName)) != set(request.dns_names):
        wrong = "other DNS names than those that were asked for: allowed_domains, allow_bare_domains"
    if wrong is not None:
        raise AuthorityError(f"Vault signed a certificate with {wrong}: {_ROLE}")
