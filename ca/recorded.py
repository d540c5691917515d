"""An authority whose leaves stand in the ledger before anybody is given them."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization

from ca.authority import IssuedCertificate, LeafRequest, TrustBundle
from ca.errors import AuthorityError
from ca.ledger import Ledger
from ca.rotation import Holder, Leaf, RotatingAuthority
from ca.tokens import key_id_of


class RecordedAuthority:
    """An `Authority`: it issues by `authority` and enters what it issued in `ledger`."""

    def __init__(self, authority: RotatingAuthority, ledger: Ledger) -> None:
        self._authority = authority
        self._ledger = ledger

    def roots(self) -> TrustBundle:
        return self._authority.roots()

    async def issue(self, request: LeafRequest) -> IssuedCertificate:
        """As the authority's; AuthorityError also if the ledger cannot be written.

        The control plane's own certificates are no leaves that anybody is waited for.
        """
        issued = await self._authority.issue(request)
        if issued.workload is None:
            return issued
        bundle = self._authority.rotation.bundle
        leaf = Leaf(
            serial=issued.serial,
            holder=Holder.ENVOY if request.delivered else Holder.AGENT,
            workload=str(issued.workload),
            family=self._family(request),
            generation=issued.generation,
            not_after=issued.not_after,
            # An agent takes the bundle of the answer together with the leaf, or neither. To an Envoy they come one by one.
            held=frozenset() if request.delivered else frozenset(bundle),
            settled=not request.delivered,
            trust_domain=issued.identity.trust_domain,
        )
        try:
            self._ledger.issued(leaf)
        except OSError as error:
            raise AuthorityError(
                f"a certificate for {issued.workload} cannot be recorded, and so is not given: {error.strerror}: make room"
            ) from error
        return issued

    def _family(self, request: LeafRequest) -> str:
        """By whom it is held: the holder of the leaf that it renews, the key that is joined with, or the workload's Envoy."""
        if request.delivered:
            return f"envoy/{request.workload}"
        if request.renews is not None:
            renewed = self._ledger.find(request.renews)
            return f"leaf/{request.renews:x}" if renewed is None else renewed.family
        der = request.csr.public_key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return f"key/{key_id_of(der)}"
