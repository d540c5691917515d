"""Consul as a source.

One strategy for one service and for thousands. Three long polls say that something has changed: `catalog/services`
(any instance came, went or was changed), `catalog/nodes` (any node did) and `health/state/any` less what is passing
(any check did). What the services are is read from `health/service/<name>` alone, which gives instances and checks
of one moment together, so that an instance is never seen without its checks.

Which services to read follows from the poll's answer where it says so: a name or its tags, a check's service, the
services on a changed node. Since an answer may hide a second change behind the one it shows (a port, meta, or an
instance without checks), each move of the services' index is also followed by a sweep, which compares the registered
instances' ModifyIndex: one read for each node or for each service, whichever are fewer. Where that is many, one read of
all checks before it finds the instances with checks that came or went, which are nearly all.

Reads of single services would tell a great loss bit by bit, and each bit would be believed. So where one answer touches half
of the services, the session ends and the next one reads everything as one answer, which the guard then judges as a whole;
and where half of the names are gone from `catalog/services` (as they are for a token that may read less than it did), it
is told besides that they are not to be believed to be gone. A service whose instances are all gone while `catalog/services`
has its name is either the first sign of its end, which that poll confirms at once, or of rights that are lost: a long poll
goes on with those that it began with. So it stays for a moment, and where many of them are not confirmed, all is read anew.

So the number of connections is fixed and small, a critical check costs one read, and the long polls' number does not
grow with the services (a poll for each would pass Consul's limit of 200 connections for one client).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from discovery.backoff import Backoff
from discovery.consul_catalog import OWN_SERVICE, Catalog, changed_nodes
from discovery.consul_client import Answer, ConsulClient
from discovery.consul_model import Check, Node
from discovery.consul_options import ConsulOptions
from discovery.errors import ConsulIndexReset, ConsulManyLost, ConsulNonsense, DiscoveryError
from discovery.source import SourceEvent, SourceFailed, SourceRecovered, SourceReport, SourceReset

T = TypeVar("T")

READS_AT_ONCE = 32
SWEEPS_AT_ONCE = 16
LONG_SWEEPS_AT_ONCE = 4
LONG_SWEEP = 16
"""Reads of a sweep above which it is worth a look at all checks first."""
MANY = 5
"""Services of one answer that are many, if they are half of all; or all of them, if there are two or more."""
DOUBT = 1.0
"""Seconds that a service without instances may stay because `catalog/services` has its name."""


@dataclass(slots=True)
class _Seen:
    """What is kept over sessions: the highest index of each long poll, to notice a Consul that lost its history; the names of
    the last `catalog/services`, to notice when many are gone; and the warnings that were reported last, to take them back.
    """

    services: int = 0
    nodes: int = 0
    checks: int = 0
    names: frozenset[str] = frozenset()
    reported: tuple[str, ...] = ()


class ConsulSource:
    """A `discovery.source.Source`. `random` yields floats in [0, 1) for the back-off."""

    guarded = True

    def __init__(self, options: ConsulOptions, *, name: str = "consul", random: Callable[[], float]) -> None:
        self.name = name
        self._options = options
        self._random = random
        self._seen = _Seen()

    async def events(self) -> AsyncIterator[SourceEvent]:
        queue: asyncio.Queue[SourceEvent | None] = asyncio.Queue()
        # A task of its own: a generator is suspended in the middle of its reader, and must hold no task group.
        pump = asyncio.create_task(self._sessions(queue.put_nowait), name=f"source {self.name}")
        pump.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (event := await queue.get()) is not None:
                yield event
            pump.result()
        finally:
            pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pump

    async def _sessions(self, emit: Callable[[SourceEvent], None]) -> None:
        """Sessions one after the other, for ever. A session ends with the first thing that goes wrong."""
        backoff = Backoff(self._random)
        failed = False
        while True:
            started = False

            def opened() -> None:
                nonlocal failed, started
                started = True
                if failed:
                    emit(SourceRecovered(self.name))
                failed = False
                backoff.reset()

            try:
                async with ConsulClient(self._options) as client:
                    await _Session(self.name, client, self._options, self._seen, emit).run(opened)
            except* (ConsulIndexReset, ConsulManyLost):
                pass  # the next session sees it too, and says so before its snapshot
            except* DiscoveryError as group:
                failed = True
                emit(SourceFailed(self.name, _first(group)))
            await asyncio.sleep(backoff.next())


def _first(group: BaseExceptionGroup[BaseException]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


class _Session:
    """From a first whole answer to the first error."""

    def __init__(
        self,
        name: str,
        client: ConsulClient,
        options: ConsulOptions,
        seen: _Seen,
        emit: Callable[[SourceEvent], None],
    ) -> None:
        self._name = name
        self._client = client
        self._seen = seen
        self._emit = emit
        self._catalog = Catalog(name, options)
        self._services: dict[str, list[str]] = {}
        self._nodes: list[Node] = []
        self._troubled: list[Check] = []
        self._reading: dict[str, bool] = {}  # service → whether it must be read once more after this
        self._reads = asyncio.Semaphore(READS_AT_ONCE)
        self._sweep = asyncio.Event()
        self._look = asyncio.Event()
        self._doubtful: set[str] = set()  # the services without instances that `catalog/services` has
        self._doubt = asyncio.Event()
        self._group = asyncio.TaskGroup()

    async def run(self, opened: Callable[[], None]) -> None:
        """Until something goes wrong, which is raised. `opened` is called when the first whole answer is there."""
        async with asyncio.TaskGroup() as group:
            all_services = group.create_task(self._client.services())
            all_nodes = group.create_task(self._client.nodes())
            all_troubled = group.create_task(self._client.troubled())
        services, nodes, troubled = all_services.result(), all_nodes.result(), all_troubled.result()
        self._services, self._nodes, self._troubled = services.value, nodes.value, troubled.value
        _check_whole(services.value)
        suspect = self._went_back(services.index, nodes.index, troubled.index) or self._names_gone(
            services.value
        )
        # What changes during these reads moves an index that was taken before them, so it is not missed.
        names = _names(services.value)
        answers = await _gather(self._client.instances, names, READS_AT_ONCE)
        for service, entries in zip(names, answers, strict=True):
            self._catalog.put(service, entries)
        opened()
        if suspect:
            self._emit(SourceReset(self._name, suspect))
        self._emit(self._catalog.snapshot())
        # Only now: a session that ends before has told nobody that they are gone.
        self._seen.names = frozenset(names)
        self._report(first=True)
        async with self._group as group:
            group.create_task(self._watch(self._client.services, services, self._on_services))
            group.create_task(self._watch(self._client.nodes, nodes, self._on_nodes))
            group.create_task(self._watch(self._client.troubled, troubled, self._on_troubled))
            group.create_task(self._looks())
            group.create_task(self._sweeps())
            group.create_task(self._doubts())

    def _went_back(self, services: int, nodes: int, checks: int) -> str | None:
        """Why the history of Consul is another one than before, if it is; remembers the indexes."""
        seen = self._seen
        old = (seen.services, seen.nodes, seen.checks)
        new = (services, nodes, checks)
        seen.services, seen.nodes, seen.checks = new
        if all(now >= before for before, now in zip(old, new, strict=True)):
            return None
        return f"Consul's indexes went back from {old} to {new} (services, nodes, checks): was it restored or emptied?"

    def _names_gone(self, services: dict[str, list[str]]) -> str | None:
        """Why it is not to be believed that so many services are gone since the last answer, if they are."""
        gone, before = len(self._seen.names - services.keys()), len(self._seen.names)
        if not _many(gone, before):
            return None
        return (
            f"one answer of Consul lacks {gone} of {before} services: were they all deregistered, or may the token read "
            "less than before?"
        )

    async def _watch(
        self,
        poll: Callable[[int | None], Awaitable[Answer[T]]],
        last: Answer[T],
        handle: Callable[[Answer[T]], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            asked = loop.time()
            answer = await poll(last.index)
            answered = loop.time()
            if answer.index < last.index:
                raise ConsulIndexReset(
                    f"an index of Consul went back from {last.index} to {answer.index}: was it restored or emptied?"
                )
            # A token whose rights change sees something else, and no index moves for that.
            moved = answer.index != last.index
            news = moved or answer.value != last.value
            last = answer
            if news:
                handle(answer)
            if not moved and answered - asked < 1:
                # No long poll ends this soon without news: something between us and Consul ignores `index`.
                await asyncio.sleep(1)
            # Under a storm of changes, leave the loop at least as much time as the answers take.
            await asyncio.sleep(loop.time() - answered if moved else 0)

    def _on_services(self, answer: Answer[dict[str, list[str]]]) -> None:
        self._seen.services = answer.index
        _check_whole(answer.value)
        if gone := self._names_gone(answer.value):
            raise ConsulManyLost(gone)
        old, self._services = self._services, answer.value
        self._seen.names = frozenset(_names(answer.value))
        names = old.keys() | answer.value.keys()
        self._read_all(name for name in names if old.get(name) != answer.value.get(name))
        self._look.set()
        self._sweep.set()

    def _on_nodes(self, answer: Answer[list[Node]]) -> None:
        self._seen.nodes = answer.index
        old, self._nodes = self._nodes, answer.value
        changed = changed_nodes(old, answer.value)
        self._read_affected(self._catalog.on_nodes(changed))
        if changed:
            self._sweep.set()

    def _on_troubled(self, answer: Answer[list[Check]]) -> None:
        self._seen.checks = answer.index
        old, self._troubled = self._troubled, answer.value
        self._read_affected(self._catalog.affected(old, answer.value))

    def _read_affected(self, names: set[str]) -> None:
        """Read what one answer affects; ConsulManyLost if that may be half of everything, which is one answer then."""
        affected, of = len(names & self._catalog.names), len(self._catalog.names)
        if affected >= MANY and _many(affected, of):
            raise ConsulManyLost(f"one answer of Consul affects {affected} of {of} services")
        self._read_all(names)

    def _read_all(self, names: Iterable[str]) -> None:
        for name in names:
            if name != OWN_SERVICE:
                self._read(name)

    def _read(self, name: str) -> None:
        """Ask for `name` now, or once more if it is being asked for: that answer may be older than the change."""
        if name in self._reading:
            self._reading[name] = True
            return
        self._reading[name] = False
        self._group.create_task(self._read_now(name), name=f"read {name}")

    async def _read_now(self, name: str) -> None:
        while True:
            self._reading[name] = False
            async with self._reads:
                entries = await self._client.instances(name)
            if not entries and name in self._services and name in self._catalog.names:
                self._doubtful.add(name)
                self._doubt.set()
            else:
                self._put(name, entries)
            if not self._reading[name]:
                break
        del self._reading[name]

    def _put(self, name: str, entries: Iterable[object]) -> None:
        self._doubtful.discard(name)
        update = self._catalog.put(name, entries)
        if update is not None:
            self._emit(update)
        self._report()

    async def _doubts(self) -> None:
        """Believe at last what nothing confirmed; ConsulManyLost if it is many services."""
        while True:
            await self._doubt.wait()
            await asyncio.sleep(DOUBT)
            self._doubt.clear()
            gone, of = len(self._doubtful), len(self._catalog.names)
            if _many(gone, of):
                raise ConsulManyLost(
                    f"{gone} of {of} services have no instances, though Consul has their names"
                )
            for name in sorted(self._doubtful):
                self._put(name, ())

    async def _looks(self) -> None:
        """A look at all checks for each move of the services' index, where a sweep takes long."""
        while True:
            await self._look.wait()
            self._look.clear()
            if self._sweep_reads() > LONG_SWEEP:
                async with _half_the_time():
                    self._read_all(self._catalog.differing_checks(await self._client.checks()))

    async def _sweeps(self) -> None:
        while True:
            await self._sweep.wait()
            self._sweep.clear()
            async with _half_the_time():
                self._read_all(await self._swept())

    def _sweep_reads(self) -> int:
        return min(len(self._nodes), len(self._services))

    async def _swept(self) -> set[str]:
        """The services that a sweep finds changed, or all of them where asking for each is no more work."""
        names = _names(self._services)
        nodes = [node.name for node in self._nodes]
        if len(nodes) >= len(names):
            return {*names, *self._catalog.names}
        # A long sweep stands back behind the reads that something is known to need.
        at_once = LONG_SWEEPS_AT_ONCE if len(nodes) > LONG_SWEEP else SWEEPS_AT_ONCE
        swept = await _gather(self._client.node_services, nodes, at_once)
        return self._catalog.differing(
            (node, each) for node, all_of in zip(nodes, swept, strict=True) for each in all_of
        )

    def _report(self, *, first: bool = False) -> None:
        """What an earlier session reported may stand yet: the `first` of a session replaces it."""
        warnings = self._catalog.warnings()
        if warnings != self._seen.reported or (first and warnings):
            self._seen.reported = warnings
            self._emit(SourceReport(self._name, warnings=warnings))


def _many(some: int, of: int) -> bool:
    return 2 * some >= of and (some >= MANY or some == of > 1)


def _names(services: Iterable[str]) -> list[str]:
    return sorted(name for name in services if name != OWN_SERVICE)


def _check_whole(services: dict[str, list[str]]) -> None:
    """ConsulNonsense for an answer without any service: Consul's servers always register `consul` itself."""
    if not services:
        raise ConsulNonsense(
            "Consul answers that it has no service at all, not even its own 'consul': either its servers have only just "
            "started, or the token may read nothing. Give the source a token that grants node:read and service:read"
        )


@contextlib.asynccontextmanager
async def _half_the_time() -> AsyncIterator[None]:
    """Afterwards, a pause as long as the body took: however often it is wanted, half of the time is free of it."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    yield
    await asyncio.sleep(loop.time() - started)


async def _gather(call: Callable[[str], Awaitable[T]], names: list[str], at_once: int) -> list[T]:
    """`call` of each name, in their order, at most `at_once` at a time; the first error cancels the others."""
    limit = asyncio.Semaphore(at_once)

    async def one(name: str) -> T:
        async with limit:
            return await call(name)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(name)) for name in names]
    return [task.result() for task in tasks]
