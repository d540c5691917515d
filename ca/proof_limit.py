"""How often, and for how many workloads, one proof is good: a proof that holds may be shown again, and each time a certificate is made."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from ca.authority import LEAF_LIFETIME
from ca.proof import Claim
from ca.rate_limit import AttemptLimit, Monotonic, Rate
from ca.recent import Recent
from mesh.names import Key

MOST_NAMES: Final = 256
"""Workloads that no source declares, for which one proof that names none is good within a certificate's life."""
PER_WORKLOAD: Final = Rate(burst=20, per_second=1)
PER_PROOF: Final = Rate(burst=200, per_second=50)
MOST_PROOFS: Final = 4096
"""Proofs that are remembered."""


class ProofLimit:
    """Use it from one thread. What proved the callers of two workloads is limited apart for each, and together."""

    def __init__(
        self,
        monotonic: Monotonic,
        *,
        declared: Callable[[Key], bool],
        per_workload: Rate = PER_WORKLOAD,
        per_proof: Rate = PER_PROOF,
        life: timedelta = LEAF_LIFETIME,
    ) -> None:
        """`declared`: whether a source has the workload; `life`: of the certificates."""
        self._monotonic = monotonic
        self._declared = declared
        self._workloads = AttemptLimit(monotonic, per_peer=per_workload)
        self._proofs = AttemptLimit(monotonic, per_peer=per_proof)
        self._life = life.total_seconds()
        self._names: Recent[str, dict[Key, float]] = Recent(MOST_PROOFS)

    def refusal(self, claim: Claim) -> str | None:
        """Why no certificate is made by `claim` now; None if one may be, and then it is counted."""
        if not self._workloads.attempt(f"{claim.by} {claim.workload}", in_all=False):
            return f"too many certificates of {claim.workload} by the {claim.by}: renew the one you have, or try again later"
        if not self._proofs.attempt(claim.by, in_all=False):
            return f"too many certificates by the {claim.by}: try again later"
        if claim.names_workload or self._declared(claim.workload):
            return None
        return self._named(claim)

    def _named(self, claim: Claim) -> str | None:
        now = self._monotonic()
        names: dict[Key, float] = self._names.use(claim.by, dict)
        if claim.workload not in names and len(names) >= MOST_NAMES:
            for name, until in tuple(names.items()):
                if until <= now or self._declared(name):
                    del names[name]
            if len(names) >= MOST_NAMES:
                return (
                    f"{MOST_NAMES} workloads that no source declares have joined by the {claim.by}: declare them, "
                    "or have the proof name its workload (join_issuers, workload_claim)"
                )
        names[claim.workload] = now + self._life
        return None
