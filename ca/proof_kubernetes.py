"""A projected service account token of a pod as a proof: which pod it is, and by which service account it runs.

The cluster's own API server is asked (TokenReview): it knows whether the pod is still there, which no signature tells.
https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/ Where it is not to be asked, `proof_jwt`
checks the same token by the cluster's keys. The workload is `<namespace>/<pod>`, the identity that of the service account.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, TypeAlias

import jwt

from ca.errors import NotProved, ProvedAnother
from ca.proof import MAXIMUM_SHOWN, Claim, Proof
from ca.recent import Recent
from ca.times import Clock
from mesh.names import Key

POD_NAME: Final = "authentication.kubernetes.io/pod-name"
"""What the API server says of a token that is bound to a pod."""
REMEMBERED: Final = timedelta(seconds=30)
"""For how long an answer is good: a join asks twice, and one that is repeated asks again. Never longer than the token."""
MOST: Final = 4096
"""Answers that are remembered."""
AT_ONCE: Final = 16
"""Questions that are open at one API server."""

_USER = re.compile(r"system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9.-]{1,253})")
_TOKEN = re.compile(r"[A-Za-z0-9_.-]+")
_SHOWN = re.compile(r"(?:([a-z0-9][a-z0-9.-]{0,62}):)?([^:]+)")


class Reviewed(Protocol):
    """What an API server says of a token: `kube.client.TokenReview`."""

    @property
    def authenticated(self) -> bool: ...
    @property
    def username(self) -> str: ...
    @property
    def extra(self) -> Mapping[str, tuple[str, ...]] | None: ...
    @property
    def audiences(self) -> tuple[str, ...]: ...
    @property
    def problem(self) -> str: ...


Review: TypeAlias = Callable[[str, tuple[str, ...]], Awaitable[Reviewed]]
"""Ask the API server about a token that is meant for one of these audiences. ProofUnavailable if it does not answer."""


class KubernetesProof:
    """What is shown is `<cluster>:<token>`, or a token alone, which is of the cluster `default`. Each cluster judges its own alone: else one
    could make pods of another.
    """

    def __init__(self, clusters: Mapping[str, Proof], default: str) -> None:
        self._clusters = clusters
        self._default = default

    async def verify(self, shown: str, workload: Key, key_id: str) -> Claim:
        judge, token = self._judge(shown)
        return await judge.verify(token, workload, key_id)

    async def redeem(self, shown: str, workload: Key, key_id: str) -> Claim:
        judge, token = self._judge(shown)
        return await judge.redeem(token, workload, key_id)

    def _judge(self, shown: str) -> tuple[Proof, str]:
        found = _SHOWN.fullmatch(shown) if len(shown) <= MAXIMUM_SHOWN else None
        if found is None or not _TOKEN.fullmatch(found[2]):
            raise NotProved("what was shown is not a service account token")
        name = found[1] or self._default
        judge = self._clusters.get(name)
        if judge is None:
            raise NotProved(
                f"this mesh knows no cluster {name!r}: its clusters are {', '.join(self._clusters)} (settings kubernetes.name, "
                "kubernetes.others; --cluster of the proxy)"
            )
        return judge, found[2]


@dataclass(frozen=True, slots=True)
class _Pod:
    namespace: str
    name: str
    service_account: str


class ReviewProof:
    """By the API server of `cluster`. Use it from one event loop."""

    def __init__(self, cluster: str, audience: str, review: Review, clock: Clock) -> None:
        self._cluster = cluster
        self._audience = audience
        self._review = review
        self._clock = clock
        self._known: Recent[bytes, tuple[_Pod, datetime]] = Recent(MOST)
        self._asking = asyncio.Semaphore(AT_ONCE)

    async def redeem(self, shown: str, workload: Key, key_id: str) -> Claim:
        return await self.verify(shown, workload, key_id)

    async def verify(self, shown: str, workload: Key, key_id: str) -> Claim:
        del key_id
        pod = await self._pod(shown)
        by = f"token of service account {pod.namespace}/{pod.service_account}, pod {pod.name} of cluster {self._cluster}"
        if (pod.namespace, pod.name) != (workload.namespace, workload.name):
            raise ProvedAnother(
                f"the {by} is not for {workload}: in a cluster a workload is called <namespace>/<pod>"
            )
        return Claim(workload, pod.service_account, by)

    async def _pod(self, token: str) -> _Pod:
        digest = hashlib.sha256(token.encode()).digest()  # the token itself is not kept
        known = self._known.get(digest)
        if known is not None and self._clock() < known[1]:
            return known[0]
        async with self._asking:
            answer = await self._review(token, (self._audience,))
        pod = _pod(answer, self._audience)
        self._known.put(digest, (pod, min(self._clock() + REMEMBERED, _end(token))))
        return pod


def _pod(answer: Reviewed, audience: str) -> _Pod:
    if not answer.authenticated:
        raise NotProved(
            f"the API server does not take the service account token: {answer.problem[:300]}: is it a projected one, "
            f"for the audience {audience!r}, of a pod that is still there?"
        )
    # A server that knows no audiences says nothing of them: then nobody has said whom the token is for.
    if audience not in answer.audiences:
        raise NotProved(
            f"the service account token is not for the audience {audience!r}: project one that is"
        )
    user = _USER.fullmatch(answer.username)
    if user is None:
        raise NotProved("the token is not one of a service account")
    names = (answer.extra or {}).get(POD_NAME, ())
    if len(names) != 1:
        raise NotProved(
            "the service account token is bound to no pod: project it into the pod (a serviceAccountToken volume), or join by another "
            "proof"
        )
    return _Pod(user[1], names[0], user[2])


def _end(token: str) -> datetime:
    """When a token that the API server has vouched for ends; at once if that cannot be read."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError):
        return datetime.min.replace(tzinfo=UTC)
