"""A Kubernetes cluster as a source: Services, EndpointSlices, Pods, Nodes and Namespaces, each followed by a reflector.

The first answer is there when all was listed, or may not be: Nodes and Namespaces belong to the whole cluster, so who may read single
namespaces only may not read these. Then localities, and labels of namespaces, are missing, with a warning. A failure that passes is
waited for: an answer without what is there would take away what the mesh has by it.

Events of a watch tell each removal by itself, and are believed. A list, after history was lost, tells what is missing all at once:
that is for the guard to judge, as the answers of other registries are.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from discovery.backoff import Backoff
from discovery.kubernetes_catalog import Catalog
from discovery.kubernetes_model import (
    keep_namespace,
    keep_node,
    keep_pod,
    keep_service,
    keep_slice,
)
from discovery.source import SourceEvent, SourceFailed, SourceRecovered, SourceReport
from kube.client import EVERYTHING, Cluster, Selector
from kube.errors import BadCluster
from kube.following import Changed, Event, Failed, Gone, Recovered, Replaced
from kube.reflector import Reflector
from kube.resource import (
    ENDPOINT_SLICES,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    Object,
    ObjectName,
    Resource,
)

T = TypeVar("T")

Open = Callable[[], AbstractAsyncContextManager[Cluster]]
"""How the cluster is opened, each time that the source begins. One that is open already: `lambda: contextlib.nullcontext(cluster)`."""

OFF_LOOP: Final = 100
"""Objects from which they are put together, and what they mean is reckoned, in a thread."""
_SLICES_OF_SERVICES: Final = "kubernetes.io/service-name"
_NOT_ENDED: Final = "status.phase!=Succeeded,status.phase!=Failed"


@dataclass(frozen=True, slots=True)
class _Kind:
    """`needed`: without it nothing is told at all. `selector` is what is asked of the server besides the namespace."""

    resource: Resource
    keep: Callable[[Object], Any]
    put: Callable[[Catalog, ObjectName, Any], None]
    needed: bool = True
    selector: Selector = EVERYTHING


_KINDS: Final = (
    _Kind(SERVICES, keep_service, Catalog.put_service),
    _Kind(ENDPOINT_SLICES, keep_slice, Catalog.put_slice, selector=Selector(labels=_SLICES_OF_SERVICES)),
    _Kind(PODS, keep_pod, Catalog.put_pod, selector=Selector(fields=_NOT_ENDED)),
    _Kind(NODES, keep_node, Catalog.put_node, needed=False),
    _Kind(NAMESPACES, keep_namespace, Catalog.put_namespace, needed=False),
)


@dataclass(frozen=True, slots=True)
class _Told:
    """What the reflector of one kind, in one namespace or all, has told."""

    kind: _Kind
    namespace: str
    events: Sequence[Event[Any]]


@dataclass(slots=True)
class _Standing:
    """How the reflectors fare, by resource and namespace. `waiting`: those that have not listed yet, and are not told that they may not."""

    waiting: set[tuple[str, str]] = field(default_factory=set)
    needed: set[tuple[str, str]] = field(default_factory=set)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def hear(self, told: _Told) -> None:
        who = (str(told.kind.resource), told.namespace)
        for event in told.events:
            match event:
                case Failed(reason=reason):
                    self.failures[who] = reason
                    if event.lasting and not told.kind.needed:
                        self.waiting.discard(who)
                case Recovered():
                    self.failures.pop(who, None)
                case Replaced():
                    self.waiting.discard(who)
                case _:
                    pass

    @property
    def broken(self) -> str | None:
        """Why something that is needed cannot be read, if that is so."""
        return next((self.failures[who] for who in sorted(self.failures) if who in self.needed), None)

    @property
    def missing(self) -> tuple[str, ...]:
        """A line for each thing that cannot be read and is not needed."""
        lacks = {str(NODES): "localities", str(NAMESPACES): "labels of namespaces"}
        return tuple(
            f"{self.failures[who]}: {lacks.get(who[0], who[0])} are missing until then"
            for who in sorted(self.failures)
            if who not in self.needed
        )


class KubernetesSource:
    """A `discovery.source.Source`. `namespaces`: those whose objects are read; none means all of them. `clock` gives seconds and never
    goes back, `random` floats in [0, 1).
    """

    guarded = True

    def __init__(
        self,
        name: str,
        opened: Open,
        *,
        namespaces: Sequence[str] = (),
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.name = name
        self._open = opened
        self._namespaces = tuple(namespaces) or ("",)
        self._clock = clock
        self._random = random

    async def events(self) -> AsyncIterator[SourceEvent]:
        queue: asyncio.Queue[_Told | SourceEvent | None] = asyncio.Queue()
        # A task of its own: a generator is suspended in the middle of its reader, and must hold no task group.
        pump = asyncio.create_task(self._follow(queue.put_nowait), name=f"source {self.name}")
        pump.add_done_callback(lambda _: queue.put_nowait(None))
        reader = _Reader(self.name, self._standing())
        try:
            while (told := await queue.get()) is not None:
                if isinstance(told, _Told):
                    for event in await reader.take(told):
                        yield event
                else:
                    yield told
            pump.result()
        finally:
            pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pump

    def _standing(self) -> _Standing:
        everyone = {
            (str(kind.resource), namespace): kind
            for kind in _KINDS
            for namespace in self._namespaces_of(kind)
        }
        needed = {who for who, kind in everyone.items() if kind.needed}
        return _Standing(waiting=set(everyone), needed=needed)

    def _namespaces_of(self, kind: _Kind) -> tuple[str, ...]:
        return self._namespaces if kind.resource.namespaced else ("",)

    async def _follow(self, emit: Callable[[_Told | SourceEvent], None]) -> None:
        """For ever. A configuration of no use is told, and read again: a kubeconfig may come later."""
        backoff = Backoff(self._random)
        failed = False
        while True:
            try:
                async with self._open() as cluster, asyncio.TaskGroup() as group:
                    if failed:
                        emit(SourceRecovered(self.name))
                    for kind in _KINDS:
                        for namespace in self._namespaces_of(kind):
                            group.create_task(
                                self._reflect(cluster, kind, namespace, emit),
                                name=f"{self.name} {kind.resource} {namespace}",
                            )
            except BadCluster as error:
                failed = True
                emit(SourceFailed(self.name, str(error)))
            await asyncio.sleep(backoff.next())

    async def _reflect(
        self, cluster: Cluster, kind: _Kind, namespace: str, emit: Callable[[_Told], None]
    ) -> None:
        reflector = Reflector[Any](
            cluster,
            kind.resource,
            kind.keep,
            selector=Selector(namespace, kind.selector.labels, kind.selector.fields),
            clock=self._clock,
            random=self._random,
        )
        await reflector.run(lambda events: emit(_Told(kind, namespace, events)))


class _Reader:
    """What the reflectors tell, as what the source says. One at a time."""

    def __init__(self, name: str, standing: _Standing) -> None:
        self._name = name
        self._catalog = Catalog(name)
        self._standing = standing
        self._started = False
        self._broken: str | None = None
        self._report = SourceReport(name)

    async def take(self, told: _Told) -> list[SourceEvent]:
        """What to say now."""
        said: list[SourceEvent] = []
        self._standing.hear(told)
        broken = self._standing.broken
        if broken != self._broken:
            self._broken = broken
            said.append(SourceFailed(self._name, broken) if broken else SourceRecovered(self._name))
        certain = await _work(_size(told.events), lambda: self._put_all(told))
        if self._started or not self._standing.waiting:
            said += await self._settled(certain)
        report = SourceReport(self._name, warnings=(*self._standing.missing, *self._catalog.warnings()))
        if report != self._report:
            self._report = report
            said.append(report)
        return said

    async def _settled(self, certain: bool) -> list[SourceEvent]:
        def settle() -> SourceEvent | None:
            update = self._catalog.settle(certain=certain)
            return update if self._started else self._catalog.snapshot()

        event = await _work(self._catalog.dirty, settle)
        self._started = True
        return [event] if event is not None else []

    def _put_all(self, told: _Told) -> bool:
        """Whether what they take away is certain to be gone."""
        certain = True
        for event in told.events:
            certain = self._put(told.kind, event) and certain
        return certain

    def _put(self, kind: _Kind, event: Event[Any]) -> bool:
        """Whether what it takes away is certain to be gone."""
        match event:
            case Replaced(values=values, changed=changed, gone=gone):
                for name in gone:
                    kind.put(self._catalog, name, None)
                for name in changed:
                    kind.put(self._catalog, name, values[name])
                return False
            case Changed(name=name, value=value):
                kind.put(self._catalog, name, value)
            case Gone(name=name):
                kind.put(self._catalog, name, None)
            case _:
                pass
        return True


def _size(events: Sequence[Event[Any]]) -> int:
    """How many objects they are about."""
    return sum(len(each.changed) + len(each.gone) if isinstance(each, Replaced) else 1 for each in events)


async def _work(objects: int, work: Callable[[], T]) -> T:
    """What `work` gives, which is about so many objects: of many it is done in a thread."""
    return await asyncio.to_thread(work) if objects >= OFF_LOOP else work()
