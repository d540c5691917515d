"""The documents of a Kubernetes cluster as they come into force: custom resources of ours and of the Gateway API, followed by reflectors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Final

import structlog

from documents.envelope import Kind
from documents.sets import DocumentSet
from kube.client import Cluster
from kube.errors import ApiError, NotFound
from kube.following import Cause, Changed, Event, Failed, Gone, Recovered, Replaced
from kube.reflector import Reflector
from kube.resource import Object, ObjectName, Resource
from mesh.names import SYSTEM_NAMESPACE, Key
from policies.registry import KINDS
from store.kubernetes_failures import Failures
from store.kubernetes_held import Held
from store.kubernetes_kinds import Watched, watched
from store.kubernetes_objects import ClusterObject, kept
from store.stored import Name

log = structlog.get_logger(__name__)

LOOK: Final = 3.0
"""Seconds after which the server is asked again whether it has a kind by now, or an answer at all."""
SOURCE: Final = "cluster"


class ClusterDocuments:
    """The documents of `cluster`, all namespaces. The first set has those of every kind that the server has; a kind that it has not is told in
    the log, and waited for. While one kind cannot be read, the others are followed all the same.

    Those that reach beyond their namespace are in force in `root_namespace` alone.

    `held` is what was handed over and taken; `on_applied` is called after each change of it, those of mere statuses included, with the names
    concerned.
    """

    def __init__(
        self,
        cluster: Cluster,
        kinds: tuple[Kind, ...] = KINDS,
        *,
        source: str = SOURCE,
        root_namespace: str = SYSTEM_NAMESPACE,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.held = Held(root_namespace=root_namespace)
        self.on_applied: Callable[[frozenset[Name]], None] = lambda _: None
        self._cluster = cluster
        self._kinds = kinds
        self._watched = watched(kinds)
        self._source = source
        self._clock = clock
        self._random = random
        self._served = _Served(cluster, clock)
        self._wake = asyncio.Event()
        self._pending: dict[Name, ClusterObject | None] = {}
        self._unread: set[str] = set()
        self._known: dict[str, set[ObjectName]] = {}
        self._failures = Failures(clock)
        self._absent: set[str] = set()
        self._resources: dict[str, Resource] = {}

    @property
    def absent(self) -> tuple[str, ...]:
        """Kinds that the server does not have: their custom resource definitions are not installed."""
        return tuple(sorted(self._absent))

    def resource(self, kind: str) -> Resource | None:
        """As the server has `kind`; None while that is not known."""
        return self._resources.get(kind)

    def __aiter__(self) -> AsyncIterator[DocumentSet]:
        return self.watch()

    async def watch(self) -> AsyncGenerator[DocumentSet, None]:
        """At first all documents, then after each change; for one reader at a time. A set with a `failure` is right but for what fails."""
        self._unread = {each.kind for each in self._watched}
        self._failures.clear()
        self._wake.clear()
        tasks = [
            asyncio.create_task(self._follow(each), name=f"documents: {each.kind}") for each in self._watched
        ]
        for task in tasks:
            task.add_done_callback(lambda _: self._wake.set())
        latest, told = self.held, (False, "")
        try:
            while True:
                with contextlib.suppress(TimeoutError):  # it is time to tell what else fails
                    async with asyncio.timeout(self._failures.pause):
                        await self._wake.wait()
                self._wake.clear()
                for task in tasks:
                    if task.done():
                        task.result()  # None of them ends by itself: a mistake of ours, which the supervisor tells.
                failure = self._failures.tell()
                if self._unread:
                    if failure and told[1] != failure:
                        told = (False, failure)
                        yield latest.documents.failed(failure)
                    continue
                if self._absent and not told[0]:
                    log.warning("kinds are not installed in the cluster, and waited for", kinds=self.absent)
                changes, self._pending = self._pending, {}
                before = latest.documents
                if changes:
                    latest = await asyncio.to_thread(latest.with_changes, changes, self._source, self._kinds)
                if latest.documents is not before or told != (True, failure):
                    told = (True, failure)
                    yield latest.documents.failed(failure) if failure else latest.documents
                # The next set is asked for when all events of this one were taken.
                self._tell_ignored(latest)
                self.held = latest
                if changes:
                    self.on_applied(frozenset(changes))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _tell_ignored(self, latest: Held) -> None:
        """Once for each object and its fields: they are of a version that is newer than we are."""
        if latest.ignored is self.held.ignored:
            return
        for (kind, key), fields in latest.ignored.items():
            if self.held.ignored.get((kind, key)) != fields:
                log.warning(
                    "fields that are not known here have no effect", object=f"{kind} {key}", fields=fields
                )

    async def _follow(self, each: Watched) -> None:
        while True:
            resource = await self._found(each)
            self._resources[each.kind] = resource
            with contextlib.suppress(_NotServed):
                await self._read(each, resource)
            # An upgrade of its definition, for the most part: let it be whole before the server is asked what it has now.
            await self._look()

    async def _read(self, each: Watched, resource: Resource) -> None:
        """Until cancelled; _NotServed when the server does not have `resource` any more."""

        def keep(found: Object) -> ClusterObject:
            return kept({**found, "apiVersion": resource.api_version, "kind": each.kind})

        def tell(events: Sequence[Event[ClusterObject]]) -> None:
            for event in events:
                self._tell(each.kind, event)
            self._wake.set()
            if any(isinstance(event, Failed) and event.cause is Cause.NOT_SERVED for event in events):
                raise _NotServed

        await Reflector(self._cluster, resource, keep, clock=self._clock, random=self._random).run(tell)

    async def _found(self, each: Watched) -> Resource:
        """`each` as the server has it, once it has it."""
        while True:
            try:
                resource = await self._served.best(each)
            except ApiError as error:
                self._failed(each.kind, str(error))
            else:
                if resource is not None:
                    if each.kind in self._absent:
                        self._absent.discard(each.kind)
                        log.info("a kind is installed in the cluster by now", kind=each.kind)
                    return resource
                self._missing(each)
            await self._look()

    def _missing(self, each: Watched) -> None:
        """The server does not have it. What was read of it and never told to be gone stays in force: a server that is restored may say so, too."""
        known_before = each.kind not in self._absent and each.kind not in self._unread
        self._unread.discard(each.kind)
        left = len(self._known.get(each.kind, ()))
        if left:
            self._failed(
                each.kind,
                f"cluster {self._cluster.name}: the server has no {each.plural}.{each.group} any more, and has not told that "
                f"{left} of them were deleted: they stay in force: install the CustomResourceDefinition again, or restart to forget them",
            )
            return
        if known_before:
            log.warning("a kind is not installed in the cluster any more, and waited for", kind=each.kind)
        self._absent.add(each.kind)
        self._failures.drop(each.kind)
        self._wake.set()

    async def _look(self) -> None:
        await asyncio.sleep(LOOK * (0.8 + 0.4 * self._random()))

    def _failed(self, kind: str, reason: str) -> None:
        self._failures.put(kind, reason)
        self._wake.set()

    def _tell(self, kind: str, event: Event[ClusterObject]) -> None:
        known = self._known.setdefault(kind, set())
        match event:
            case Replaced(values=values):
                # What an earlier reading knew and this one does not is gone, too.
                for name in known - values.keys():
                    self._pending[_name(kind, name)] = None
                self._pending.update({_name(kind, name): value for name, value in values.items()})
                self._known[kind] = set(values)
                self._unread.discard(kind)
                self._failures.drop(kind)
            case Changed(name=name, value=value):
                known.add(name)
                self._pending[_name(kind, name)] = value
            case Gone(name=name):
                known.discard(name)
                self._pending[_name(kind, name)] = None
            case Failed(reason=reason):
                self._failures.put(kind, reason)
            case Recovered():
                self._failures.drop(kind)


class _NotServed(Exception):
    """The server does not have the kind in that version any more."""


class _Served:
    """What the server has, by group and version, as it was said not long ago: many kinds ask at once, and a group that is not installed is
    asked for by itself alone, once for all of its kinds and versions.
    """

    def __init__(self, cluster: Cluster, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._lock = asyncio.Lock()
        self._read: dict[str, tuple[float, frozenset[str]]] = {}

    async def best(self, each: Watched) -> Resource | None:
        """In the best version that the server has; None if it has none. ApiError."""
        served = await self._names(f"/apis/{each.group}", "versions", "version")
        for version in each.versions:
            if version in served and each.plural in await self._names(
                f"/apis/{each.group}/{version}", "resources", "name"
            ):
                return each.at(version)
        return None

    async def _names(self, path: str, among: str, name: str) -> frozenset[str]:
        """The `name` of each entry of the list `among` that the server has at `path`; nothing if it has no such path."""
        async with self._lock:
            when, found = self._read.get(path, (-LOOK, frozenset[str]()))
            if self._clock() - when < LOOK * 0.75:
                return found
            try:
                answer = await self._cluster.read_path(path)
            except NotFound:
                answer = {}
            found = frozenset(str(each.get(name)) for each in answer.get(among) or ())
            self._read[path] = (self._clock(), found)
            return found


def _name(kind: str, name: ObjectName) -> Name:
    return kind, Key(name.namespace, name.name)
