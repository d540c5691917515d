"""Documents and their revisions, over any backend.

A revision is a blob that names its parent and the root of a manifest; the manifest is a tree of blobs that leads to one blob
for each document (`store.manifest`). What is equal is stored once, whatever revisions share it.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from mesh.names import Key
from store import manifest
from store.backend import NOTHING, Backend, Head
from store.blobs import Blobs
from store.codec import canonical, digest, encode_revision
from store.errors import NoSuchRevision, StoreReplaced, StoreUnavailable
from store.followed import Followed, Seen
from store.preparing import Prepared, checked, prepared
from store.revision import EMPTY, Change, Difference, Revision
from store.stored import Name, Stored
from store.writes import Write

ATTEMPTS = 64
"""How often a commit is tried again because somebody else's came first."""
PAGE = 128
"""Revisions that are read at once."""


_Step = Callable[[Revision, datetime], Awaitable[tuple[Prepared, str, Mapping[str, bytes]]]]
"""From the revision to write on top of, and the time: the changes, the root of the manifest and its new nodes."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All documents of one revision."""

    revision: Revision
    documents: Mapping[Name, Stored]


class Repository:
    """Everything raises StoreError; `at` is the number of a revision, None the head.

    `clock` gives the time of revisions, `uid` what a new document is called for ever. One task at a time writes, others
    wait: it is other replicas alone that a commit can meet.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        uid: Callable[[], str] = lambda: str(uuid.uuid4()),
        chance: Callable[[], float] = random.random,
        followed: Followed | None = None,
    ) -> None:
        """`followed`: the head that is known; nothing is written to a store that has not grown from it."""
        self.backend = backend
        self.followed = followed or Followed()
        self.blobs = Blobs(backend)
        self._clock = clock
        self._uid = uid
        self._chance = chance
        self._writing = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._latest = Snapshot(EMPTY, {})

    @property
    def where(self) -> str:
        """For people: what the store is, without secrets."""
        return self.backend.where

    # Reading

    async def head(self) -> Revision:
        """The newest revision; `store.revision.EMPTY` (number 0) for a store that was never written to."""
        return await self._at_head(await self.backend.head())

    async def revision(self, number: int) -> Revision:
        """Raises NoSuchRevision."""
        head = await self.backend.head()
        return await self._at_head(head) if number == head.number else await self._numbered(number, head)

    async def get(self, kind: str, key: Key, at: int | None = None) -> Stored | None:
        revision = await self._revision(at)
        name = kind, key
        if revision.root == self._latest.revision.root:
            return self._latest.documents.get(name)
        return (await self._some(revision.root, (name,))).get(name)

    async def list(
        self, kind: str | None = None, namespace: str | None = None, at: int | None = None
    ) -> tuple[Stored, ...]:
        """In the order of kind, namespace and name."""
        found = (await self.documents(at)).documents
        return tuple(
            stored
            for name, stored in found.items()
            if kind in {None, name[0]} and namespace in {None, name[1].namespace}
        )

    async def documents(self, at: int | None = None) -> Snapshot:
        """All documents, in that order, together with the revision that they are of: for whoever pages or goes on with `watch`."""
        revision = await self._revision(at)
        if at is not None:
            return await self._snapshot(revision, self._latest)
        async with self._reading:  # Two that read a large store at once would read it twice.
            self._latest = latest = await self._snapshot(revision, self._latest)
        return latest

    async def history(
        self, kind: str | None = None, key: Key | None = None, *, limit: int = 100, before: int | None = None
    ) -> tuple[Revision, ...]:
        """Revisions that changed such documents, the newest first, with numbers smaller than `before`."""
        head = await self.backend.head()
        found: list[Revision] = []
        upper = head.number + 1 if before is None else min(before, head.number + 1)
        while upper > max(head.oldest, 1) and len(found) < limit:
            lower = max(head.oldest, 1, upper - PAGE)
            for revision in reversed(await self._range(lower, upper, head)):
                wanted = (kind is None and key is None) or any(
                    kind in {None, each.kind} and key in {None, each.key} for each in revision.changes
                )
                if wanted:
                    found.append(revision)
            upper = lower
        return tuple(found[:limit])

    async def diff(self, a: int, b: int) -> tuple[Difference, ...]:
        """How documents differ between two revisions (0: none at all), in the order of kind, namespace and name."""
        old, new = await self._revision(a), await self._revision(b)
        different = await self.blobs.resolve(lambda nodes: manifest.differences(nodes, old.root, new.root))
        wanted = {blob for pair in different.values() for blob in pair if blob is not None}
        read = await self.blobs.stored(wanted)
        return tuple(
            Difference(
                *name,
                read[before] if before is not None else None,
                read[after] if after is not None else None,
            )
            for name, (before, after) in sorted(different.items())
        )

    async def watch(self, after: int) -> AsyncGenerator[Revision, None]:
        """Each revision with a number greater than `after`, in order, none skipped or repeated, and then as they come.

        Raises NoSuchRevision if revisions after `after` are not kept any more (or it is greater than the head), and
        StoreReplaced if the store's history becomes another one.
        """
        head = await self.backend.head()
        if after > head.number:
            raise NoSuchRevision(after, head.oldest, head.number)
        told = (await self._revision(after)).id if after and after >= head.oldest else None
        heads = self.backend.heads(head)
        try:
            while True:
                while after < head.number:
                    if after + 1 < head.oldest:
                        raise NoSuchRevision(after + 1, head.oldest, head.number)
                    upper = min(head.number + 1, after + 1 + PAGE)
                    for revision in await self._range(after + 1, upper, head):
                        if told is not None and revision.parent != told:
                            raise _replaced(self.where)
                        after, told = revision.number, revision.id
                        yield revision
                head = await anext(heads)
                if head.number < after or (head.number == after and told not in {None, head.id}):
                    raise _replaced(self.where)
        finally:
            await heads.aclose()

    async def grown(self, head: Revision) -> None:
        """Raises StoreReplaced if `head`, read just now, did not grow from the head that was followed last."""
        seen = self.followed.seen
        if seen is None:
            return
        if not seen.may_become(head):
            # Somebody may have written since `head` was read, but not made the head a lower one.
            head = await self.head()
        if seen.may_become(head) and await self._leads(seen, head):
            return
        if not self.followed.adopted():
            raise self.followed.lost(head.number, self.where)
        await self.grown(head)

    async def _leads(self, seen: Seen, head: Revision) -> bool:
        """Whether `seen` is in the history of `head`, as far as that is kept."""
        if not 0 < seen.number < head.number:
            return True
        try:
            return (await self.revision(seen.number)).id == seen.id
        except NoSuchRevision:
            return True

    # Writing

    async def commit(
        self,
        writes: Iterable[Write],
        *,
        author: str,
        reason: str = "",
        expect: int | None = None,
        dry_run: bool = False,
    ) -> Revision:
        """Do all of `writes`, or nothing, as one revision.

        `expect`: none of the documents written may have been changed after that revision. Writers of other documents do no
        harm: then it is tried again on top of theirs. With nothing to change it is the current revision, told with no
        `changes`. A dry run tells what the revision would be, with its number, and writes nothing. Raises Conflict,
        InvalidWrite, StoreTooLarge, OutcomeUnknown, and what a backend raises.
        """
        given = tuple(writes)
        asked = await asyncio.to_thread(checked, given)  # One document may have 1 MiB.
        names = tuple(each.name for each in asked)

        async def step(parent: Revision, at: datetime) -> tuple[Prepared, str, Mapping[str, bytes]]:
            current = await self._some(parent.root, names)
            based = (
                await self._some((await self._revision(expect)).root, names) if expect is not None else None
            )

            def work() -> Prepared:
                return prepared(asked, current, based, number=parent.number + 1, at=at, uid=self._uid)

            made = await asyncio.to_thread(work)
            changed = {each.name: each.blob for each in made.changes}
            root, new = await self.blobs.resolve(
                lambda nodes: manifest.update(nodes, parent.root, changed), len(changed)
            )
            return made, root, new

        return await self._write(step, author, reason, dry_run=dry_run)

    async def rollback(self, to: int, *, author: str, reason: str = "") -> Revision:
        """A new revision with the documents of revision `to`, byte for byte. With nothing to change, as `commit`."""

        async def step(parent: Revision, _: datetime) -> tuple[Prepared, str, Mapping[str, bytes]]:
            target = await self._revision(to)
            different = await self.blobs.resolve(
                lambda nodes: manifest.differences(nodes, parent.root, target.root)
            )
            changes = tuple(
                Change(*name, "delete" if blob is None else "put", blob)
                for name, (_, blob) in sorted(different.items())
            )
            return Prepared(changes, {}), target.root, {}

        return await self._write(step, author, reason or f"rollback to revision {to}", dry_run=False)

    async def _write(self, step: _Step, author: str, reason: str, *, dry_run: bool) -> Revision:
        # What a log or a terminal shows of it must be text.
        canonical([author, reason])
        async with self._writing:
            for attempt in range(ATTEMPTS):
                head = await self.backend.head()
                parent = await self._at_head(head)
                await self.grown(parent)
                at = max(self._clock().astimezone(UTC), parent.at)
                made, root, nodes = await step(parent, at)
                if not made.changes:
                    return replace(parent, changes=())
                revision = Revision(parent.number + 1, "", parent.id, at, author, reason, made.changes, root)
                blob = encode_revision(revision)
                revision = replace(revision, id=digest(blob))
                if dry_run:
                    return revision
                await self.backend.put({**made.blobs, **nodes, revision.id: blob})
                new = Head(revision.number, revision.id, head.oldest or 1)
                if await self.backend.compare_and_set_head(head, new, {revision.number: revision.id}):
                    self.blobs.remember(revision)
                    self.followed.follow(revision)
                    return revision
                # Somebody else was first; wait a little, so that several do not keep each other from it.
                await asyncio.sleep(self._chance() * 0.002 * min(attempt + 1, 16))
        raise StoreUnavailable(
            f"{self.where}: others wrote each time before us, {ATTEMPTS} times; nothing was written. Try again"
        )

    # Inside

    async def _at_head(self, head: Head) -> Revision:
        return EMPTY if head == NOTHING else (await self.blobs.revisions((head.id,)))[0]

    async def _revision(self, number: int | None) -> Revision:
        if number == 0:
            return EMPTY
        return await self.head() if number is None else await self.revision(number)

    async def _numbered(self, number: int, head: Head) -> Revision:
        if not head.oldest <= number <= head.number or number < 1:
            raise NoSuchRevision(number, head.oldest, head.number)
        return (await self._range(number, number + 1, head))[0]

    async def _range(self, lower: int, upper: int, head: Head) -> tuple[Revision, ...]:
        """The revisions from `lower` on, below `upper`: all of them."""
        ids = await self.backend.ids(range(lower, upper))
        if lacking := next((number for number in range(lower, upper) if number not in ids), None):
            # Dropped since the head was read.
            raise NoSuchRevision(lacking, max(head.oldest, lacking + 1), head.number)
        return await self.blobs.revisions([ids[number] for number in range(lower, upper)])

    async def _some(self, root: str, names: Iterable[Name]) -> dict[Name, Stored]:
        wanted = tuple(names)
        found = await self.blobs.resolve(lambda nodes: manifest.lookup(nodes, root, wanted), len(wanted))
        read = await self.blobs.stored(found.values())
        return {name: read[blob] for name, blob in found.items()}

    async def _snapshot(self, revision: Revision, base: Snapshot) -> Snapshot:
        """The documents of `revision`, reading those alone that differ from `base`."""
        if revision.root == base.revision.root:
            return Snapshot(revision, base.documents)
        different = await self.blobs.resolve(
            lambda nodes: manifest.differences(nodes, base.revision.root, revision.root)
        )
        read = await self.blobs.stored(after for _, after in different.values() if after is not None)

        def laid_over() -> dict[Name, Stored]:
            documents = dict(base.documents)
            for name, (_, after) in different.items():
                documents.pop(name, None)
                if after is not None:
                    documents[name] = read[after]
            return dict(sorted(documents.items()))

        return Snapshot(revision, await asyncio.to_thread(laid_over))


def _replaced(where: str) -> StoreReplaced:
    return StoreReplaced(
        f"{where} has another history than before: it was restored or replaced. Read it anew from its head"
    )
