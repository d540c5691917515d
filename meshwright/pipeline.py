"""The one consumer of events: state, a short quiet time, then publishing.

Invariant 5: a change that takes somebody out of service is published at once; others wait until nothing has come
for `quiet` seconds, `quiet_max` at most. Everything runs on one event loop; what would hold it for long is cut
into pieces.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from mesh.events import Changes, Event
from mesh.names import Key
from mesh.state import MeshState
from mesh.transport import Passage
from meshwright.numbered import Numbered
from meshwright.publisher import Publisher, Update, client_id
from meshwright.scopes import Scope, Seen
from xds.cache import ResourceCache, ScopeChange

PIECE = 10
"""Services that are rendered, or clients that are given scopes, before other work of the loop gets its turn: some 5 ms."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: how long a change waits for further ones, and how long at most."""

    quiet: float
    quiet_max: float


class Pipeline:
    def __init__(
        self,
        state: MeshState,
        publisher: Publisher,
        cache: ResourceCache,
        *,
        pace: Pace,
        clock: Callable[[], float],
    ) -> None:
        """`rescope` has to be set before streams come: it moves a client to other scopes."""
        self.state = state
        self._publisher = publisher
        self._reporting: dict[str, frozenset[Key]] = {}
        self._cache = cache
        self.pace = pace
        self._clock = clock
        self.rescope: Callable[[str, tuple[Seen, ...]], None] = lambda *_: None
        # May have to reckon what belongs to a state before any of it is published.
        self.before_publishing: Callable[[], Awaitable[None]] = _nothing
        self._pending = Changes()
        self._look_again: set[str] = set()
        self._first_at = 0.0
        self._last_at = 0.0
        self._woken = asyncio.Event()
        self._numbers = Numbered()
        # The first number of what is pending, and of what is to be looked at again.
        self._pending_since = math.inf
        self._again_since = math.inf

    def receive(self, event: Event) -> Changes:
        """Take an event of a source, and say what it changes, which is published by `run`."""
        self.state, changes = self.state.apply(event)
        self._take_in(self._publisher.editions.changed(self.state, changes, event))
        return changes

    def passing_through(self, passing: frozenset[Passage]) -> None:
        """Which places are on their way from one mode of TLS to another; published as what `receive` takes."""
        self.state, changes = self.state.passing_through(passing)
        everywhere = self._publisher.editions.all_do(
            self.state, changes, lambda state: state.passing_through(passing)
        )
        self._take_in(everywhere)

    def federated_with(self, trust_domains: tuple[str, ...]) -> None:
        """Of which foreign trust domains callers are let in; published as what `receive` takes."""
        self.state, changes = self.state.federated_with(trust_domains)
        everywhere = self._publisher.editions.all_do(
            self.state, changes, lambda state: state.federated_with(trust_domains)
        )
        self._take_in(everywhere)

    def without(self, leaving: frozenset[Key]) -> None:
        """Which workloads callers are not to use, for their proxies are about to end; published as what `receive` takes."""
        self.state, changes = self.state.without(leaving)
        everywhere = self._publisher.editions.all_do(
            self.state, changes, lambda state: state.without(leaving)
        )
        self._take_in(everywhere)

    def reassign(self, clients: Iterable[str] | None = None) -> None:
        """Who belongs to which edition may have changed, of these clients or, without them, of all: published by `run`, at once."""
        every = (each.client for each in self._publisher.clients())
        if again := frozenset(every if clients is None else clients):
            self._look_again |= again
            self._again_since = min(self._again_since, self._numbers.received())
            self._woken.set()

    def report(self, workloads: frozenset[Key], by: str = "rollouts") -> None:
        """Let the proxies of `workloads`, and those that others than `by` want to hear of, say what they handle, in access logs: published by
        `run`, at once.
        """
        self._reporting[by] = workloads
        self.reassign(self._publisher.report(frozenset().union(*self._reporting.values())))

    def _take_in(self, changes: Changes) -> None:
        if not changes:
            return
        now = self._clock()
        if not self._pending:
            self._first_at = now
        self._last_at = now
        self._pending |= changes
        self._pending_since = min(self._pending_since, self._numbers.received())
        self._woken.set()

    def attach(self, workload: Key, *, proved: bool, proxyless: bool, envoy: str = "") -> tuple[Seen, ...]:
        """The scopes for a new stream of `workload`, published before this returns. `envoy`: what it is, to the minor version."""
        scopes, update = self._publisher.attach(workload, proved=proved, proxyless=proxyless, envoy=envoy)
        self._publish(update, None)
        return scopes

    def prepare(self) -> None:
        """Have at hand, before anybody asks, what one sidecar is given: where all see the same mesh, that is what all are given. It goes as
        what a stream leaves behind, unless one comes for it.
        """
        callers = [
            (not each.meshed, key) for key, each in self.state.workloads.items() if each.gateway is None
        ]
        if callers:
            _, first = min(callers)
            self.attach(first, proved=False, proxyless=False)
            self.detach(client_id(first, proved=False, proxyless=False))

    def renewed(self, secrets: frozenset[Key]) -> None:
        """The files of Secret documents were read: published at once, for no further change is likely to come with it."""
        self._publish(self._publisher.renewed(secrets), self._clock())

    def detach(self, client: str) -> None:
        """A stream of `client` has gone."""
        self._publisher.detach(client, self._clock())

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._pending and not self._pending.urgent and not self._look_again:
                now = self._clock()
                due = min(self._last_at + self.pace.quiet, self._first_at + self.pace.quiet_max)
                if due <= now:
                    break
                try:
                    await asyncio.wait_for(self._woken.wait(), due - now)
                    self._woken.clear()
                except TimeoutError:
                    break
            await self._flush()
            await asyncio.sleep(0)  # others have their turn, also where changes never cease

    async def settled(self) -> None:
        """Return when everything that was received before this call is published, whatever comes meanwhile."""
        await self._numbers.settled()

    async def sweep(self, forget: Callable[[Scope], None], every: float = 30.0) -> None:
        """Drop, from time to time, the scopes that nobody has used for a while; until cancelled."""
        while True:
            await asyncio.sleep(every)
            dropped = self._publisher.sweep(self._clock())
            self._cache.publish([ScopeChange(scope, drop=True) for scope in dropped])
            for scope in dropped:
                forget(scope)

    async def _flush(self) -> None:
        """Publish what is pending, a piece at a time: first services, then clients. A removal that comes meanwhile goes before the rest.

        What is to do has the number of the change that asked first. Where removals keep coming, clients that have waited for longer than
        all that are left have every other turn, and who has waited longest the first: nobody waits for ever.
        """
        await self.before_publishing()
        changes, changed_at, since = self._take()
        todo = dict.fromkeys(sorted(changes.services | changes.endpoints), since)
        moving = await self._leave(changed_at)
        _queue(moving, self._publisher.concerned(changes), since)
        overdue = False
        while True:
            if not moving or (todo and not overdue):  # at least once, for the publisher to know the state
                overdue = True
                piece = frozenset(itertools.islice(todo, PIECE))
                part = Changes(services=changes.services & piece, endpoints=changes.endpoints & piece)
                self._publish(self._publisher.refresh(self.state, part), changed_at)
                todo = {key: number for key, number in todo.items() if key not in piece}
            else:
                overdue = False
                left = self._move(list(moving), changed_at)
                moving = {client: moving[client] for client in left}
            outstanding = itertools.chain(todo.values(), moving.values())
            self._numbers.published(min(self._pending_since, self._again_since, *outstanding))
            if not todo and not moving:
                return
            await asyncio.sleep(0)
            await self.before_publishing()
            if self._look_again:
                for client, number in (await self._leave(changed_at)).items():
                    _queue(moving, (client,), number)
            if self._pending.urgent:
                urgent, _, since = self._take()
                first = dict.fromkeys(sorted(urgent.services | urgent.endpoints), since)
                changes |= urgent
                todo = {key: min(number, todo.get(key, number)) for key, number in first.items()} | {
                    key: number for key, number in todo.items() if key not in first
                }
                _queue(moving, self._publisher.concerned(urgent), since)
            overdue = overdue and min(moving.values(), default=math.inf) < min(
                todo.values(), default=math.inf
            )

    async def _leave(self, changed_at: float) -> dict[str, float]:
        """Move those who are to see something else than the base, before anything that they are not to see is published.

        The clients that were to be looked at again, with their numbers: of others, which the base gets, the services come first.
        """
        looked_at: dict[str, float] = {}
        while self._look_again:
            again, self._look_again = self._look_again, set()
            since, self._again_since = self._again_since, math.inf
            _queue(looked_at, again, since)
            leaving = sorted(self._publisher.leaving(again))
            while leaving:
                leaving = self._move(leaving, changed_at)
                await asyncio.sleep(0)
        return looked_at

    def _move(self, clients: list[str], changed_at: float) -> list[str]:
        """Give a piece of `clients` their scopes; the others are left. Who is the first in a large one takes the place of many."""
        taken = 0
        while clients and taken < PIECE:
            update = self._publisher.rescope(self.state, clients[:1])
            self._publish(update, changed_at)
            clients = clients[1:]
            taken += 1 + sum(len(change.put) for change in update.changes) // PIECE
        return clients

    def _take(self) -> tuple[Changes, float, float]:
        """What is pending, when it began to be, and its first number."""
        changes, self._pending = self._pending, Changes()
        since, self._pending_since = self._pending_since, math.inf
        return changes, self._first_at, since

    def _publish(self, update: Update, changed_at: float | None) -> None:
        if update.changes:
            self._cache.publish(update.changes, changed_at=changed_at)
        for client, scopes in update.rescoped.items():
            self.rescope(client, scopes)


def _queue(queue: dict[str, float], clients: Iterable[str], number: float) -> None:
    """Let `clients` wait for `number`, behind those that wait already; who does keeps its place, and the lower number."""
    for client in sorted(clients):
        queue[client] = min(number, queue.get(client, number))


async def _nothing() -> None:
    pass
