"""Service account tokens of the clusters' pods, checked as the settings say: by asking the cluster's API server, or by its keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from ca.errors import ProofUnavailable
from ca.jwks import KeySet
from ca.proof import Claim, Proof
from ca.proof_jwt import Issuer, JwtProof, Subjects
from ca.proof_kubernetes import KubernetesProof, Review, Reviewed, ReviewProof
from ca.rate_limit import Monotonic
from ca.times import Clock
from ca.web import NoAnswer
from kube.client import Cluster
from kube.errors import ApiError
from mesh.names import Key
from meshwright.settings_kubernetes import KubernetesSettings

SUBJECTS: Final = Subjects(
    "system:serviceaccount:{namespace}:{serviceAccount}", workload=("kubernetes.io", "pod", "name")
)
"""https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#serviceaccount-token-claims"""


def token_proof(
    clusters: Mapping[str, Cluster], settings: KubernetesSettings, clock: Clock, monotonic: Monotonic
) -> KubernetesProof:
    """`clusters`: those of the settings, by name."""
    judges: dict[str, Proof] = {}
    for each in (settings, *settings.others):
        cluster = clusters[each.name]
        judges[each.name] = (
            KeysProof(cluster, settings.audience, clock, monotonic)
            if each.tokens == "keys"
            else ReviewProof(each.name, settings.audience, _review(cluster), clock)
        )
    return KubernetesProof(judges, settings.name)


def _review(cluster: Cluster) -> Review:
    async def review(token: str, audiences: tuple[str, ...]) -> Reviewed:
        try:
            return await cluster.review_token(token, audiences)
        except ApiError as error:
            raise ProofUnavailable(str(error)) from None

    return review


class KeysProof:
    """By the keys that the API server publishes, without asking it about each token: a pod that is gone is believed until its token ends."""

    def __init__(self, cluster: Cluster, audience: str, clock: Clock, monotonic: Monotonic) -> None:
        self._cluster = cluster
        self._audience = audience
        self._clock = clock
        self._monotonic = monotonic
        self._made: JwtProof | None = None

    async def verify(self, shown: str, workload: Key, key_id: str) -> Claim:
        return await (await self._judge()).verify(shown, workload, key_id)

    async def redeem(self, shown: str, workload: Key, key_id: str) -> Claim:
        return await (await self._judge()).redeem(shown, workload, key_id)

    async def load(self) -> bytes:
        """A `ca.jwks.Source`."""
        try:
            return json.dumps(await self._cluster.read_path("/openid/v1/jwks")).encode()
        except ApiError as error:
            raise NoAnswer(str(error)) from None

    async def _judge(self) -> JwtProof:
        if self._made is None:
            try:
                said = await self._cluster.read_path("/.well-known/openid-configuration")
            except ApiError as error:
                raise ProofUnavailable(str(error)) from None
            name = str(said.get("issuer", ""))
            keys = KeySet(name, self, self._monotonic)
            self._made = JwtProof([Issuer(name, (self._audience,), (SUBJECTS,), keys)], self._clock)
        return self._made
