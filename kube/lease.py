"""Leader election: what one replica must do alone is done by whoever holds a Lease. `kube.election` decides; here it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import structlog

from kube.client import Cluster
from kube.election import EVERY, RENEW_WITHIN, Election
from kube.errors import ApiError, Conflict, NotFound
from kube.resource import LEASES, Object

STOPPING = 3.0
"""Seconds that work may take to end before the lease is given away all the same."""


class Lease:
    """One candidate for the Lease `namespace`/`name`. `me` is unique among the replicas: the pod's name and a random part.

    `run` competes for it; `alone` runs what only the holder may do. `clock` gives seconds and never goes back, `wall` the time of day,
    `random` floats in [0, 1).
    """

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        namespace: str,
        me: str,
        *,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        random: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._name = name
        self._namespace = namespace
        self._me = me
        self._election = Election(namespace, name, me)
        self._clock = clock
        self._wall = wall
        self._random = random
        self._leads = asyncio.Event()
        self._lost = asyncio.Event()
        self._working = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._log: Any = structlog.get_logger("lease")
        self.problem = ""
        """Why the lease could not be read or written when it was last tried; "" if it could."""

    @property
    def leading(self) -> bool:
        return self._leads.is_set()

    @property
    def holder(self) -> str:
        """Who holds it as far as is known, which may be us; "" if nobody does."""
        return self._me if self.leading else self._election.holder

    async def run(self) -> None:
        """Compete until cancelled; then give the lease away, after the work has ended. Errors of the API server are told in
        `problem` and the log, and tried again.
        """
        renewed = 0.0
        try:
            while True:
                asked = self._clock()
                if self.leading and asked >= renewed + RENEW_WITHIN:
                    self._end()  # this process was held up for longer than it may lead unheard
                # A request that hangs must not outlast the lease.
                left = renewed + RENEW_WITHIN - asked if self.leading else RENEW_WITHIN
                if await self._try(max(left, 0.1)):
                    renewed = asked  # what another sees begins no sooner
                    self._begin()
                elif self.leading and (self.problem == "" or self._clock() >= renewed + RENEW_WITHIN):
                    self._end()
                await asyncio.sleep(EVERY * (0.8 + 0.4 * self._random()))
        finally:
            if self.leading:
                self._stop()
                await self._release()

    async def alone(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` whenever we lead, from its beginning; it is cancelled when the lease is lost. Ends when `work` ends by itself,
        and raises what it raises. Any number of works may share one lease.
        """
        while True:
            await self._leads.wait()
            self._working += 1
            self._idle.clear()
            try:
                if await self._until_lost(work):
                    return
            finally:
                self._working -= 1
                if not self._working:
                    self._idle.set()

    async def _until_lost(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Whether `work` has ended by itself."""
        lost = asyncio.ensure_future(self._lost.wait())
        working = asyncio.ensure_future(work())
        try:
            await asyncio.wait({lost, working}, return_when=asyncio.FIRST_COMPLETED)
            ended = working.done()
        finally:
            for task in (lost, working):
                task.cancel()
            # Not awaited by itself: a cancel of ours that comes meanwhile could not be told from that of the work.
            await asyncio.gather(lost, working, return_exceptions=True)
            if not working.cancelled():
                working.result()
        return ended

    async def _try(self, seconds: float) -> bool:
        """Whether the lease is ours, by what the server has just said."""
        try:
            async with asyncio.timeout(seconds):
                mine = await self._write()
        except Conflict:
            mine = False  # another one was quicker; the next try sees whom
            if self.leading:
                self.problem = "the lease was changed meanwhile"
                return False
        except (ApiError, TimeoutError) as error:
            problem = str(error) or "the API server did not answer in time"
            if problem != self.problem:
                self._log.warning("lease_unreachable", lease=self._name, reason=problem)
            self.problem = problem
            return False
        self.problem = ""
        return mine

    async def _write(self) -> bool:
        try:
            lease = await self._cluster.get(LEASES, self._name, self._namespace)
        except NotFound:
            await self._cluster.create(LEASES, self._election.first(self._wall()), self._namespace)
            return True
        wanted = self._election.look(lease, self._clock(), self._wall())
        if wanted is None:
            return False
        await self._cluster.replace(LEASES, wanted)
        return True

    def _begin(self) -> None:
        if not self.leading:
            self._log.info("lease_acquired", lease=self._name, holder=self._me)
            self._lost.clear()
            self._leads.set()

    def _end(self) -> None:
        if self.leading:
            self._log.warning(
                "lease_lost", lease=self._name, holder=self._me, reason=self.problem or self._election.holder
            )
            self._stop()

    def _stop(self) -> None:
        self._leads.clear()
        self._lost.set()

    async def _release(self) -> None:
        """After the work has ended, so that no other begins before; a lease that cannot be given away runs out by itself."""
        try:
            async with asyncio.timeout(STOPPING):
                await self._idle.wait()
                lease: Object = await self._cluster.get(LEASES, self._name, self._namespace)
                released = self._election.release(lease, self._wall())
                if released is not None:
                    await self._cluster.replace(LEASES, released)
        except (ApiError, TimeoutError) as error:
            self._log.warning("lease_not_released", lease=self._name, reason=str(error) or "it took too long")
