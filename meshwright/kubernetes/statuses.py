"""Writes statuses into objects of a cluster: what differs, and nothing else, so that what is settled costs no write.

Sources say what the whole status of an object is to be. They are asked when what they go by of the mesh, the objects or something of their own
has changed, at most once in `PACE`, and work it out in a thread; what a source leaves out stays as it is. Only the fields that a source names are compared and written (a merge
patch of the `status` subresource, on the version of the object that was looked at), so that the fields of others stay theirs. One replica
writes: run it while the lease is held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter

from kube.client import Cluster
from kube.errors import ApiError, Conflict, NotFound
from kube.resource import Resource
from mesh.state import MeshState
from store.kubernetes_held import Held
from store.kubernetes_objects import ClusterObject

PACE: Final = 0.5
"""Seconds between two times that sources are asked, at least."""
LOOK: Final = 0.1
"""Seconds between two looks at whether anything has changed: a look compares a few references."""
SHARE: Final = 10
"""Sources are asked again after this many times as long as the answer took: at most a tenth of a core goes to it."""
REST: Final = 5.0
"""Seconds after which a source is asked again when something has changed of the mesh that it does not go by, such as endpoints: of these a
status says little, and they change all the time.
"""
AT_ONCE: Final = 8
PER_SECOND: Final = 50.0
BURST: Final = 200
"""Writes that may be on their way together, and how many there may be in a second, in the long run and at once."""
SEEN_WITHIN: Final = 10.0
"""Seconds in which a write of ours must be seen in the watch; then the object is looked at again as it is known."""
AGAIN: Final = 5.0
"""Seconds after which what failed is tried again."""

Status = dict[str, Any]
log = structlog.get_logger(__name__)


class StatusSource(Protocol):
    """`goes_by`: the parts of a state by which it says what it says, but for what may wait for `REST`; compared by identity. `moves` is another
    value when it may say something else although neither these nor the objects are others; `waiting`: it wants to be asked again soon in
    any case. Called on the loop, it takes from there what it needs at once; what it returns is gone through in a thread.
    """

    def goes_by(self, state: MeshState) -> tuple[object, ...]: ...
    def moves(self) -> object: ...
    @property
    def waiting(self) -> bool: ...
    def __call__(self, state: MeshState, held: Held) -> Iterable[tuple[ClusterObject, Status]]: ...


@dataclass(frozen=True, slots=True)
class _Written:
    """Our last write of an object: the patch, the version that it gave, and until when that is waited for."""

    patch: Status
    before: str
    version: str
    until: float


@dataclass(frozen=True, slots=True)
class _Asked:
    """What there was at `at`, when a source was asked."""

    at: float
    state: MeshState
    held: Held
    parts: tuple[object, ...]
    moves: object

    def is_old(self, now: _Asked) -> bool:
        """Whether the source is to be asked again. What is large is compared by identity."""
        return (
            self.held is not now.held
            or any(before is not part for before, part in zip(self.parts, now.parts, strict=True))
            or self.moves != now.moves
            or (self.state is not now.state and now.at - self.at >= REST)
        )


def difference(wished: Status, current: object) -> Status:
    """The fields of `wished` that `current` has otherwise; a None takes one away."""
    here = current if isinstance(current, dict) else {}
    return {name: value for name, value in wished.items() if here.get(name) != value}


class StatusWriter:
    """`state` is what the mesh is now, `held` the objects that it was made of, `resource` a kind as the server has it. `clock` gives seconds
    and never goes back.
    """

    def __init__(
        self,
        cluster: Cluster,
        sources: tuple[StatusSource, ...],
        *,
        state: Callable[[], MeshState],
        held: Callable[[], Held],
        resource: Callable[[str], Resource | None],
        clock: Callable[[], float],
        registry: CollectorRegistry,
    ) -> None:
        self._cluster = cluster
        self._sources = sources
        self._state = state
        self._held = held
        self._resource = resource
        self._clock = clock
        self._written: dict[str, _Written] = {}
        self._budget = _Budget(clock)
        self._writes = Counter(
            "meshwright_kubernetes_status_writes_total",
            "Statuses that were written into objects of the cluster.",
            ["kind"],
            registry=registry,
        )
        self._failures = Counter(
            "meshwright_kubernetes_status_failures_total",
            "Statuses that could not be written, and are tried again.",
            ["kind"],
            registry=registry,
        )
        self._told = ""

    async def run(self) -> None:
        """Until cancelled."""
        asked: dict[StatusSource, _Asked] = {}
        retry: float | None = None
        while True:
            began = self._clock()
            held, state = self._held(), self._state()
            due = retry is not None and began >= retry
            now = {
                each: _Asked(began, state, held, each.goes_by(state), each.moves()) for each in self._sources
            }
            turn = [
                each
                for each in self._sources
                if due or each.waiting or each not in asked or asked[each].is_old(now[each])
            ]
            if not turn:
                await asyncio.sleep(LOOK)
                continue
            asked |= {each: now[each] for each in turn}
            failed = await self._all(turn, state, held)
            ended = self._clock()
            if failed:
                retry = ended + AGAIN
            elif due:
                retry = None
            await asyncio.sleep(min(max(PACE, SHARE * (ended - began)), AGAIN))

    async def _all(self, sources: Iterable[StatusSource], state: MeshState, held: Held) -> bool:
        """Write what differs; whether something failed."""
        wanted = []
        for source in sources:
            differing = await asyncio.to_thread(_differing, source(state, held))
            wanted += [(found, patch) for found, wished in differing if (patch := self._due(found, wished))]
        self._forget(held)
        if not wanted:
            return False
        limit = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._write(limit, found, patch)) for found, patch in wanted]
        return not all(task.result() for task in tasks)

    def _due(self, found: ClusterObject, patch: Status) -> Status:
        """`patch`, or nothing if it is on its way, or if the server answered the same patch with what still differs."""
        last = self._written.get(found.uid)
        if not patch or last is None:
            return patch
        if found.resource_version == last.version:
            if patch == last.patch:
                # The schema of the server's version has not all of our fields, or fills in others: writing it again would never end.
                self._tell(
                    f"{found.kind} {found.key}: the server does not keep {', '.join(patch)} of its status as written"
                )
                return {}
            return patch
        unseen = found.resource_version == last.before and self._clock() < last.until
        return {} if unseen else patch

    async def _write(self, limit: asyncio.Semaphore, found: ClusterObject, patch: Status) -> bool:
        resource = self._resource(found.kind)
        if resource is None:
            return False
        async with limit:
            await self._budget.take()
            try:
                written = await self._cluster.patch_status(
                    resource, found.key.name, patch, found.key.namespace, version=found.resource_version
                )
            except (NotFound, Conflict):
                return (
                    True  # It is gone, or another one: the watch brings it, and then it is looked at again.
                )
            except ApiError as error:
                self._failures.labels(found.kind).inc()
                self._tell(str(error))
                return False
        self._writes.labels(found.kind).inc()
        version = str(written["metadata"]["resourceVersion"])
        self._written[found.uid] = _Written(
            patch, found.resource_version, version, self._clock() + SEEN_WITHIN
        )
        return True

    def _forget(self, held: Held) -> None:
        """What we know of objects that are gone."""
        if len(self._written) > 2 * len(held.objects) + 100:
            there = {each.uid for each in held.objects.values()}
            self._written = {uid: each for uid, each in self._written.items() if uid in there}

    def _tell(self, reason: str) -> None:
        if reason != self._told:
            self._told = reason
            log.warning("a status was not written", reason=reason)


def _differing(wished: Iterable[tuple[ClusterObject, Status]]) -> list[tuple[ClusterObject, Status]]:
    """The objects whose status is to be another, with the fields that are."""
    return [(found, patch) for found, status in wished if (patch := difference(status, found.status))]


class _Budget:
    """At most BURST at once and PER_SECOND in the long run."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left = float(BURST)
        self._at = clock()

    async def take(self) -> None:
        """Return when one more is allowed."""
        now = self._clock()
        self._left = min(float(BURST), self._left + (now - self._at) * PER_SECOND)
        self._at = now
        self._left -= 1
        if self._left < 0:
            await asyncio.sleep(-self._left / PER_SECOND)
