"""The keeper of secrets: keys and certificates of the workloads whose proxies are connected, renewed in time.

A workload's secrets are published in a scope of its own, which only streams that have proved to be that workload
are given. New certificates replace old ones in place: Envoy takes them for new connections and drops none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from ca.errors import CaError
from ca.issuer import RenewalSchedule, SecretIssuer, WorkloadSecret
from ca.secrets import IDENTITY, ROOTS
from mesh.identity import Identity
from mesh.names import Key
from meshwright.metrics import Metrics
from meshwright.scopes import Secrets
from xds.cache import ResourceCache, ScopeChange
from xds.resource import Resource, encode
from xds.types import SECRET

RETRY = timedelta(seconds=10)
"""After an authority could not issue: the certificate in use has half its life left when this first happens."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a workload is given now. `version` is that of the SDS resource `identity`."""

    identity: Identity
    not_after: datetime
    serial: int
    generation: int
    version: str


class SecretKeeper:
    def __init__(self, issuer: SecretIssuer, cache: ResourceCache, metrics: Metrics) -> None:
        self._issuer = issuer
        self._cache = cache
        self._metrics = metrics
        self._kept: dict[Key, Kept] = {}
        self._issuing: dict[Key, asyncio.Lock] = {}
        self._schedule: RenewalSchedule[Key] = RenewalSchedule()
        self._changed = asyncio.Event()

    async def give(self, identity: Identity, workload: Key) -> None:
        """See to it that the secrets of `workload` are published. CaError if none can be issued."""
        async with self._issuing.setdefault(workload, asyncio.Lock()):
            kept = self._kept.get(workload)
            if kept is None or kept.identity != identity or kept.not_after <= self._issuer.now():
                self._keep(identity, workload, await self._issuer.issue(identity, workload))

    def issue_none(self, workload: Key) -> None:
        """The agent of `workload` makes its key itself: what a stream of it asks for in `Secrets` is not there."""
        if workload not in self._kept:
            self._cache.publish([ScopeChange(Secrets(workload))])

    def forget(self, workload: Key) -> None:
        """No stream of `workload` has been here for a while: its next one gets a new key."""
        self._kept.pop(workload, None)
        self._schedule.remove(workload)
        self._issuing.pop(workload, None)

    def kept(self, workload: Key) -> Kept | None:
        return self._kept.get(workload)

    def publish_roots(self) -> str:
        """Give the present trust bundle to everybody; the version of the SDS resource `roots` that is it."""
        roots = self._roots()
        self._cache.publish([ScopeChange(Secrets(workload), put=(roots,)) for workload in self._kept])
        return roots.version

    def hasten(self, generation: int, after: Callable[[], timedelta]) -> None:
        """Renew what is of another than `generation`, each `after` a time of its own, unless it is due before."""
        now = self._issuer.now()
        for workload, kept in self._kept.items():
            if kept.generation != generation:
                self._schedule.hasten(workload, now + after())
        self._changed.set()

    def first_expiry(self) -> datetime | None:
        return min((kept.not_after for kept in self._kept.values()), default=None)

    async def run(self) -> None:
        """Renew what is due, until cancelled."""
        while True:
            upcoming = self._schedule.next()
            wait = None if upcoming is None else max(0.0, (upcoming - self._issuer.now()).total_seconds())
            try:
                # An hour at most: the machine's clock may be set meanwhile.
                await asyncio.wait_for(self._changed.wait(), min(wait, 3600.0) if wait is not None else None)
                self._changed.clear()
            except TimeoutError:
                pass
            for workload in self._schedule.due(self._issuer.now()):
                kept = self._kept.get(workload)
                if kept is None:
                    continue
                try:
                    secret = await self._issuer.issue(kept.identity, workload)
                except CaError as error:
                    if self._kept.get(workload) is not kept:
                        continue
                    log.warning(
                        "certificate not renewed",
                        workload=str(workload),
                        expires=str(kept.not_after),
                        reason=str(error),
                    )
                    self._schedule.put(workload, self._issuer.now() + RETRY)
                else:
                    # It may have been forgotten, or become another identity, while the authority (over the network, say) signed.
                    if self._kept.get(workload) is kept:
                        self._keep(kept.identity, workload, secret)

    def _keep(self, identity: Identity, workload: Key, secret: WorkloadSecret) -> None:
        origin = (f"certificate of {workload}, {identity}",)
        resource = encode(SECRET, IDENTITY, secret.resource, origin)
        self._kept[workload] = Kept(
            identity, secret.not_after, secret.serial, secret.generation, resource.version
        )
        self._cache.publish([ScopeChange(Secrets(workload), put=(resource, self._roots()))])
        self._schedule.put(workload, secret.renew_at)
        self._changed.set()
        self._metrics.certificates.labels("workload").inc()

    def _roots(self) -> Resource:
        return encode(SECRET, ROOTS, self._issuer.roots(), ("trust bundle",))
