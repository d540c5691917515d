"""The certificates of workloads that come over SDS: made here, key included, and renewed in time.

With the agent's own SDS socket (a later variant) the key would be made beside the workload instead.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from ca.authority import LEAF_LIFETIME, Authority, LeafRequest
from ca.csr import make_csr
from ca.federation import Federated
from ca.keys import KeyType, key_pem, new_key
from ca.secrets import identity_secret, roots_secret
from ca.times import Chance, Clock, renewal_time
from mesh.identity import Identity
from mesh.names import Key

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class WorkloadSecret:
    """The SDS secret `identity` of one workload. `resource` is the serialised Secret with the key: shown by no repr."""

    identity: Identity
    workload: Key
    serial: int
    generation: int
    not_after: datetime
    renew_at: datetime
    resource: bytes = field(repr=False)


class SecretIssuer:
    """Issues the SDS secrets of workloads from `authority`."""

    def __init__(
        self,
        authority: Authority,
        clock: Clock,
        chance: Chance,
        lifetime: timedelta = LEAF_LIFETIME,
        key_type: KeyType = KeyType.ECDSA_P256,
        federated: Callable[[], Federated] = tuple,
        aliases: tuple[str, ...] = (),
    ) -> None:
        """`federated`: the bundles of other trust domains, as they are now. `aliases`: see `roots_secret`."""
        self._aliases = aliases
        self._authority = authority
        self._federated = federated
        self._clock = clock
        self._chance = chance
        self._lifetime = lifetime
        self._key_type = key_type

    async def issue(self, identity: Identity, workload: Key) -> WorkloadSecret:
        """A new key and certificate for `workload`. AuthorityError if none can be issued now: keep the old one and retry."""
        kind = self._key_type
        key = await asyncio.to_thread(new_key, kind) if kind.slow else new_key(kind)
        request = LeafRequest(identity, make_csr(key), workload, self._lifetime, delivered=True)
        issued = await self._authority.issue(request)
        return WorkloadSecret(
            identity=identity,
            workload=workload,
            serial=issued.serial,
            generation=issued.generation,
            not_after=issued.not_after,
            renew_at=renewal_time(issued.issued, issued.not_after, self._chance()),
            resource=identity_secret(issued.chain_pem, key_pem(key)),
        )

    def roots(self) -> bytes:
        """The serialised SDS secret `roots`, the same for every proxy."""
        return roots_secret(self._authority.roots(), self._federated(), self._aliases)

    def now(self) -> datetime:
        """By the clock that `renew_at` and `not_after` are told by."""
        return self._clock()


class RenewalSchedule(Generic[K]):
    """Which of many things is due for renewal, and when the next one is. Each operation is O(log n)."""

    def __init__(self) -> None:
        self._times: dict[K, datetime] = {}
        # Entries that `_times` no longer agrees with are stale and skipped. The number breaks ties, so that keys need no order.
        self._heap: list[tuple[datetime, int, K]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._times)

    def put(self, key: K, renew_at: datetime) -> None:
        """Schedule `key`, in place of its time before."""
        self._times[key] = renew_at
        self._number += 1
        heapq.heappush(self._heap, (renew_at, self._number, key))
        if len(self._heap) > 2 * len(self._times) + 64:
            self._rebuild()

    def hasten(self, key: K, renew_at: datetime) -> None:
        """Schedule `key` for `renew_at`, unless it is due before."""
        due = self._times.get(key)
        if due is None or renew_at < due:
            self.put(key, renew_at)

    def remove(self, key: K) -> None:
        """Forget `key`; nothing if it is not there."""
        self._times.pop(key, None)

    def due(self, now: datetime) -> tuple[K, ...]:
        """The keys whose time has come, earliest first. They leave the schedule: put them back when renewed, or to retry."""
        found: list[K] = []
        while (first := self.next()) is not None and first <= now:
            _, _, key = heapq.heappop(self._heap)
            del self._times[key]
            found.append(key)
        return tuple(found)

    def next(self) -> datetime | None:
        """The earliest time, or None if nothing is scheduled."""
        while self._heap and self._times.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _rebuild(self) -> None:
        self._heap = [(at, number, key) for number, (key, at) in enumerate(self._times.items())]
        self._number = len(self._heap)
        heapq.heapify(self._heap)
