"""Removes old revisions, and blobs that no revision leads to, while others write.

It is safe beside writers for three reasons. The oldest revision that is kept is part of the head, so raising it is a
compare-and-set: who rolls back to a revision that is just being dropped loses that race, and looks again. What a commit puts is
new by the clock until long after it has set the head, and `sweep` takes nothing new. What a commit builds on and does not
put again is in the manifest of the head that it expects.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from store.repository import Repository

GRACE = 3600.0
"""Seconds for which a blob without a revision is kept: many times what a commit can take."""
LOCK = "housekeeping"


@dataclass(frozen=True, slots=True)
class Removed:
    revisions: int
    blobs: int


async def collect(repository: Repository, keep: int | None = None, *, grace: float = GRACE) -> Removed:
    """Drop all but the newest `keep` revisions (None: keep all), then sweep. Raises StoreError.

    Documents of the revisions that are kept stay, whichever revision put them.
    """
    backend = repository.backend
    async with backend.lock(LOCK):
        head, dropped = await backend.head(), 0
        while keep is not None and (oldest := head.number - max(keep, 1) + 1) > head.oldest:
            raised = replace(head, oldest=oldest)
            if await backend.compare_and_set_head(head, raised, {}):
                dropped, head = oldest - head.oldest, raised
                await backend.forget(oldest)
            else:
                head = await backend.head()
        if not head.number:
            return Removed(0, await backend.sweep(frozenset(), grace))
        return Removed(dropped, await backend.sweep(await reachable(repository), grace))


async def reachable(repository: Repository) -> frozenset[str]:
    """The names of all blobs that the revisions which are kept lead to."""
    found: set[str] = set()
    before: int | None = None
    while revisions := await repository.history(limit=256, before=before):
        before = revisions[-1].number
        for revision in revisions:
            found.add(revision.id)
            for name, node in await repository.blobs.beyond(revision.root, found):
                found.add(name)
                found.update(node.entries.values())
    return frozenset(found)
