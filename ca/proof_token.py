"""A join token as a proof: see `ca.tokens`."""

from __future__ import annotations

import asyncio

from ca.proof import Claim
from ca.times import Clock
from ca.tokens import TokenClaims, TokenStore
from mesh.names import Key


class TokenProof:
    def __init__(self, tokens: TokenStore, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock

    async def verify(self, shown: str, workload: Key, key_id: str) -> Claim:
        return _claim(
            await asyncio.to_thread(
                self._tokens.verify, shown, workload.namespace, workload.name, self._clock(), key_id
            )
        )

    async def redeem(self, shown: str, workload: Key, key_id: str) -> Claim:
        return _claim(
            await asyncio.to_thread(
                self._tokens.redeem, shown, workload.namespace, workload.name, self._clock(), key_id
            )
        )


def _claim(claims: TokenClaims) -> Claim:
    return Claim(claims.workload, claims.service_account, f"join token {claims.token_id}")
