"""Keeps what is known of one resource the same as what the API server has. `kube.following` decides; here it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Generic, TypeVar

from kube.answers import Asked
from kube.client import EVERYTHING, Cluster, Selector
from kube.errors import ApiError
from kube.following import Event, Following, ListPage, Pause, WatchFrom, keep_all
from kube.resource import Object, ObjectName, Resource

T = TypeVar("T")


class Reflector(Generic[T]):
    """Lists and watches `resource`, those of its objects that `selector` takes.

    `keep` gives what is needed of an object, a value that is compared by ==, or None to leave it out. It must not raise, and is called in
    a thread for lists. What changes elsewhere in an object is never told. `clock` gives seconds and never goes back, `random` floats in
    [0, 1).
    """

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        keep: Callable[[Object], T | None],
        *,
        selector: Selector = EVERYTHING,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._resource = resource
        self._selector = selector
        self._keep = keep
        self._clock = clock
        asked = Asked(cluster.name, "watch", resource, selector.namespace)
        self._following: Following[T] = Following(asked, keep, random)

    @property
    def values(self) -> Mapping[ObjectName, T]:
        """What is known now: a view, which changes. It stays after a failure."""
        return self._following.values

    @property
    def synced(self) -> bool:
        """Whether a whole list was read since this was made."""
        return self._following.synced

    async def run(self, tell: Callable[[Sequence[Event[T]]], None]) -> None:
        """Until cancelled. `tell` is called with what came together, in order: at first a `Replaced`, or a `Failed` before it; what
        it raises ends this, and so does what `keep` raises. Errors of the API server are told and tried again for ever.

        Run again, it goes on from where it was.
        """
        while True:
            match self._following.next():
                case Pause(seconds=seconds):
                    await asyncio.sleep(seconds)
                case ListPage() as page:
                    told = await self._list(page)
                    if told:
                        tell(told)
                case WatchFrom() as watch:
                    await self._watch(watch, tell)

    async def _list(self, step: ListPage) -> Sequence[Event[T]]:
        try:
            page = await self._cluster.page(self._resource, self._selector, more=step.more, limit=step.limit)
        except ApiError as error:
            return self._following.failed(error)
        before = self._following.values
        kept = await asyncio.to_thread(lambda: keep_all(self._keep, page.items, before))
        return self._following.page(kept, page.version, page.more)

    async def _watch(self, step: WatchFrom, tell: Callable[[Sequence[Event[T]]], None]) -> None:
        def told(events: Sequence[Event[T]]) -> None:
            if events:
                tell(events)

        began = self._clock()
        try:
            watch = self._cluster.watch(
                self._resource,
                step.version,
                self._selector,
                seconds=step.seconds,
                opened=lambda: told(self._following.opened()),
            )
            async with aclosing(watch) as batches:  # type: ignore[type-var]
                async for batch in batches:
                    told(self._following.batch(batch))
                    if not self._following.watching:
                        return
        except ApiError as error:
            told(self._following.failed(error))
        else:
            self._following.ended(self._clock() - began)
