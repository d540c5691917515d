"""A leaf signed by a key that this process holds: what the built-in authority and an intermediate from files have in common."""

from __future__ import annotations

from datetime import datetime

from ca import profile
from ca.authority import IssuedCertificate, LeafRequest
from ca.certificate import pem
from ca.errors import AuthorityError, AuthorityExpired, WrongTrustDomain
from ca.signer import Signer


def certify(
    request: LeafRequest,
    signer: Signer,
    *,
    trust_domain: str,
    now: datetime,
    serial: int,
    where: str,
    remedy: str,
    chain_pem: bytes = b"",
    generation: int = 1,
) -> IssuedCertificate:
    """`chain_pem`: what stands between `signer` and its root. `where` the authority is kept, and `remedy` once it has ended, are told.

    Takes about 0.3 ms of CPU with an ECDSA key. Errors: WrongTrustDomain, AuthorityExpired, AuthorityError.
    """
    check_trust_domain(request, trust_domain)
    times = profile.validity(now, request.lifetime, signer.certificate)
    if times.not_after <= now:
        raise AuthorityExpired(f"the authority in {where} ended at {times.not_after}: {remedy}")
    try:
        certificate = signer.sign(profile.leaf(request, signer.certificate, times, serial))
    except ValueError as error:
        raise AuthorityError(
            f"the authority in {where} cannot certify {request.identity} from {times.not_before} "
            f"to {times.not_after}: {error}: is the clock of this host right?"
        ) from error
    return IssuedCertificate(
        identity=request.identity,
        workload=request.workload,
        chain_pem=pem(certificate) + signer.certificate_pem + chain_pem,
        serial=serial,
        issued=now,
        not_before=times.not_before,
        not_after=times.not_after,
        generation=generation,
    )


def check_trust_domain(request: LeafRequest, trust_domain: str) -> None:
    if request.identity.trust_domain != trust_domain:
        raise WrongTrustDomain(
            f"{request.identity} is not in the trust domain {trust_domain!r} of this authority"
        )
