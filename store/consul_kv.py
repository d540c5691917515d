"""The store for several replicas: Consul's KV store.

Keys, below a prefix: `head`; `revisions/<number>` → id; `blobs/<name>/<parts>/<part>`, since a value has at most 512 KB, with the
time of its last write as its flags; `locks/<name>`; `published/<key>`.

The head is set by one transaction that expects the index at which it was read. When nobody answers, it is asked again for
`patience` seconds, which a change of leaders does not take; a transaction that was sent without an answer cannot land twice, and
whether it has landed at all is found out by reading.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Self, TypeVar

from discovery.consul_options import ConsulOptions
from store.backend import NOTHING, Backend, Head, Lock
from store.consul_http import Away, ConsulHttp, Operation, Pair
from store.consul_sessions import Published, held
from store.consul_watch import HeadWatch
from store.errors import OutcomeUnknown, StoreCorrupt, StoreUnavailable

T = TypeVar("T")
OPERATIONS = 64
"""That many at most are one transaction (https://developer.hashicorp.com/consul/api-docs/txn)."""
BYTES = 300 * 1024
"""Of values in one transaction: in base64, with what is around them, below the 512 KB of `limits.txn_max_req_len`."""
PART = 256 * 1024
AT_ONCE = 8
"""Transactions under way at a time."""
PAUSE = 0.2
"""Seconds between attempts."""
WAIT = 60.0
"""Seconds of a long poll."""


class ConsulBackend:
    """See `store.backend.Backend`. `patience`: seconds for which Consul may give no answer before that is an error."""

    def __init__(
        self,
        http: ConsulHttp,
        prefix: str,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        patience: float = 30.0,
    ) -> None:
        self._http = http
        self._prefix = prefix
        self._clock = clock
        self._monotonic = monotonic
        self._patience = patience
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._watch = HeadWatch(self._moved, self.head)
        self._published = Published(http, f"{prefix}/published/", monotonic)

    @classmethod
    async def open(cls, options: ConsulOptions, prefix: str, *, patience: float = 30.0) -> Self:
        """Raises StoreUnavailable, at once if Consul refuses and after `patience` seconds if it does not answer."""
        backend = cls(ConsulHttp(options), prefix, patience=patience)
        try:
            await backend.head()
        except BaseException:
            await backend.close()
            raise
        return backend

    @property
    def where(self) -> str:
        return f"consul:{self._http.address}/{self._prefix}"

    async def put(self, blobs: Mapping[str, bytes]) -> None:
        now = int(self._clock())
        await self._all([partial(self._set, group) for group in _groups(self._parts(blobs), now)])

    async def _set(self, group: Sequence[Operation]) -> None:
        if await self._http.transaction(group) is None:
            raise StoreUnavailable(f"{self.where} refused to write blobs. Look at Consul's log")

    def _parts(self, blobs: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        for name, data in blobs.items():
            parts = [data[start : start + PART] for start in range(0, len(data), PART)] or [b""]
            for number, part in enumerate(parts):
                yield f"{self._prefix}/blobs/{name}/{len(parts)}/{number:06}", part

    async def get(self, names: Iterable[str]) -> dict[str, bytes]:
        base = f"{self._prefix}/blobs/"
        pairs = await self._trees([f"{base}{name}/" for name in dict.fromkeys(names)])
        parts: dict[str, dict[str, bytes]] = {}
        whole: dict[str, int] = {}
        for pair in pairs:
            name, count, number = pair.Key.removeprefix(base).split("/")
            parts.setdefault(name, {})[number] = pair.value
            whole[name] = int(count)
        return {
            name: b"".join(part for _, part in sorted(each.items()))
            for name, each in parts.items()
            if len(each) == whole[name]
        }

    async def head(self) -> Head:
        return (await self._patiently(self._head))[0]

    async def _head(self) -> tuple[Head, int]:
        """The head, and the index to expect of it."""
        pair = await self._http.read(f"{self._prefix}/head")
        return (NOTHING, 0) if pair is None else (self._as_head(pair), pair.ModifyIndex)

    def _as_head(self, pair: Pair) -> Head:
        try:
            return Head(**json.loads(pair.value))
        except (ValueError, TypeError) as error:
            raise StoreCorrupt(
                f"{pair.Key} at {self._http.address} is no head of a store ({error}): name another prefix"
            ) from error

    async def compare_and_set_head(self, expected: Head, new: Head, ids: Mapping[int, str]) -> bool:
        doubt = False
        deadline = self._monotonic() + self._patience
        while True:
            try:
                head, index = await self._head()
                if head != expected:
                    return doubt and await self._landed(head, new)
                if await self._set_head(index, new, ids):
                    return True
            except Away as error:
                doubt = doubt or error.sent
                if self._monotonic() < deadline:
                    await asyncio.sleep(PAUSE)
                    continue
                if not doubt:
                    raise self._silent(error) from error
                raise OutcomeUnknown(
                    f"{self.where} gave no answer for {self._patience:g} s ({error}); revision {new.number} may be there or not: "
                    "see to Consul, then look at the history",
                    new.number,
                    new.id,
                ) from error

    async def _set_head(self, index: int, new: Head, ids: Mapping[int, str]) -> bool:
        """Ids that are many are written before, each time only if the head is still the one that was read."""
        key = f"{self._prefix}/head"
        unmoved: Operation = (
            {"Verb": "check-index", "Key": key, "Index": index}
            if index
            else {"Verb": "check-not-exists", "Key": key}
        )
        entries = [_set(self._revision(number), ident.encode()) for number, ident in sorted(ids.items())]
        while len(entries) >= OPERATIONS:
            some, entries = entries[: OPERATIONS - 1], entries[OPERATIONS - 1 :]
            if await self._http.transaction([unmoved, *some]) is None:
                return False
        value = json.dumps({"number": new.number, "id": new.id, "oldest": new.oldest}).encode()
        moved = {**_set(key, value), "Verb": "cas", "Index": index}
        return await self._http.transaction([moved, *entries]) is not None

    async def _landed(self, head: Head, new: Head) -> bool:
        """Whether `new` was the head although another one is now, or is it.

        The oldest that is kept only ever rises: a head with an older one was not written on top of `new`.
        """
        if head == new:
            return True
        pair = await self._http.read(self._revision(new.number))
        later = head.number > new.number and head.oldest >= new.oldest
        return later and pair is not None and pair.value == new.id.encode()

    async def ids(self, numbers: Iterable[int]) -> dict[int, str]:
        pairs = await self._trees([self._revision(number) for number in numbers])
        return {int(pair.Key.rpartition("/")[2]): pair.value.decode() for pair in pairs}

    def heads(self, after: Head) -> AsyncGenerator[Head, None]:
        return self._watch.heads(after)

    async def _moved(self, index: int) -> int:
        poll = partial(self._http.poll, f"{self._prefix}/head", index, WAIT)
        return (await self._patiently(poll))[1]

    @contextlib.asynccontextmanager
    async def lock(self, name: str) -> AsyncIterator[Lock]:
        key = f"{self._prefix}/locks/{name}"
        async with held(self._http, key, self._patiently, self._monotonic) as lock:
            yield lock

    async def publish(self, key: str, value: bytes, ttl: float | None = None) -> None:
        await self._patiently(lambda: self._published.publish(key, value, ttl))

    async def published(self, prefix: str) -> dict[str, bytes]:
        return await self._patiently(lambda: self._published.read(prefix))

    async def withdraw(self, key: str) -> None:
        await self._patiently(lambda: self._published.withdraw(key))

    async def sweep(self, keep: AbstractSet[str], older: float) -> int:
        before = self._clock() - older
        base, swept = f"{self._prefix}/blobs/", 0
        for first in range(256):
            gone: dict[str, list[Operation]] = {}
            for pair in await self._patiently(partial(self._http.tree, f"{base}{first:02x}")):
                name = pair.Key.removeprefix(base).partition("/")[0]
                if name not in keep and pair.Flags <= before:
                    operation = {"Verb": "delete-cas", "Key": pair.Key, "Index": pair.ModifyIndex}
                    gone.setdefault(name, []).append(operation)
            for operations in gone.values():
                # None: somebody has put it again meanwhile. A blob has at most a few parts.
                if await self._patiently(partial(self._http.transaction, operations)) is not None:
                    swept += 1
        return swept

    async def forget(self, below: int) -> None:
        base = f"{self._prefix}/revisions/"
        keys = await self._patiently(lambda: self._http.keys(base))
        old = [key for key in keys if int(key.removeprefix(base)) < below]
        for start in range(0, len(old), OPERATIONS):
            some: list[Operation] = [
                {"Verb": "delete", "Key": key} for key in old[start : start + OPERATIONS]
            ]
            await self._patiently(partial(self._http.transaction, some))

    async def close(self) -> None:
        await self._watch.close()
        await self._published.close()
        await self._http.close()

    def _revision(self, number: int) -> str:
        return f"{self._prefix}/revisions/{number:012}"

    async def _trees(self, prefixes: Sequence[str]) -> list[Pair]:
        """All pairs below each of `prefixes`."""
        operations: list[Operation] = [{"Verb": "get-tree", "Key": each} for each in prefixes]
        groups = [operations[start : start + OPERATIONS] for start in range(0, len(operations), OPERATIONS)]
        answers = await self._all([partial(self._http.transaction, group) for group in groups])
        return [pair for answer in answers for pair in answer or ()]

    async def _all(self, calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
        """What the calls give, some at a time; the first error ends all."""

        async def one(call: Callable[[], Awaitable[T]]) -> T:
            async with self._limit:
                return await self._patiently(call)

        if len(calls) == 1:
            return [await one(calls[0])]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(call)) for call in calls]
        except* (StoreUnavailable, StoreCorrupt) as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """What may be done twice without harm, asked again while there is no answer."""
        deadline = self._monotonic() + self._patience
        while True:
            try:
                return await call()
            except Away as error:
                if self._monotonic() >= deadline:
                    raise self._silent(error) from error
                await asyncio.sleep(PAUSE)

    def _silent(self, error: Away) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self.where}: {error}, for {self._patience:g} s; nothing was written. See to it that Consul runs, has a leader and "
            "can be reached from here"
        )


def _implements(backend: ConsulBackend) -> Backend:
    return backend


def _set(key: str, value: bytes, flags: int = 0) -> dict[str, object]:
    return {"Verb": "set", "Key": key, "Value": base64.b64encode(value).decode(), "Flags": flags}


def _groups(parts: Iterable[tuple[str, bytes]], flags: int) -> Iterator[list[Operation]]:
    """Operations that are one transaction each."""
    group: list[Operation] = []
    size = 0
    for key, value in parts:
        if group and (len(group) == OPERATIONS or size + len(value) > BYTES):
            yield group
            group, size = [], 0
        group.append(_set(key, value, flags))
        size += len(value)
    if group:
        yield group
