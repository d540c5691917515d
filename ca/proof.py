"""What proves to the control plane which workload a caller is, before it has a certificate.

One module a kind (`proof_token`, `proof_jwt`, `proof_consul`); the join service knows this interface alone. Who has a certificate of
the mesh already shows nothing else: it renews.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mesh.names import Key

MAXIMUM_SHOWN = 16 * 1024
"""Bytes of what is shown. A Kubernetes token has about 1 KiB."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What was proved: the bearer may be `workload`, with the service account `service_account` of its namespace.

    `by` says what proved it, for the audit log: never the secret itself.
    """

    workload: Key
    service_account: str
    by: str
    names_workload: bool = True
    """Whether the proof itself bounds which or how many workloads it is for. If not, `ca.proof_limit` does."""


class Proof(Protocol):
    """One kind of proof.

    Both methods tell what `shown` proves for `workload`. Errors: NotProved (nothing is proved), ProvedAnother (something is, but
    not this workload), ProofUnavailable (it can't be told now: the caller may come again); OSError and other CaErrors are the
    server's own trouble.
    """

    async def verify(self, shown: str, workload: Key, key_id: str) -> Claim:
        """Without a use: whatever else can refuse the caller is asked after this."""
        ...

    async def redeem(self, shown: str, workload: Key, key_id: str) -> Claim:
        """As `verify`, and count a use, of a proof that has a number of them. `key_id` names the caller's public key."""
        ...
