"""What a commit would make of the documents that are there: pure, so that it can be tried again on top of another revision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from documents.reading import MAX_DOCUMENT, Tree
from store.codec import canonical, digest, encode_stored
from store.errors import Clash, Conflict, InvalidWrite, StoreTooLarge
from store.revision import Change
from store.stored import Body, Name, Stored
from store.writes import ABSENT, Put, Write

OURS = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")
"""Fields of `metadata` that are the store's to say (or the Kubernetes API server's)."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """`blobs` are those of the documents in `changes`, by name."""

    changes: tuple[Change, ...]
    blobs: Mapping[str, bytes]


def checked(writes: Iterable[Write]) -> tuple[Write, ...]:
    """`writes` with their bodies as they will be kept. Raises InvalidWrite, StoreTooLarge."""
    seen: set[Name] = set()
    result: list[Write] = []
    for each in writes:
        if each.name in seen:
            raise InvalidWrite(
                f"{each.kind} {each.key} is written twice in one commit: leave one of the two out"
            )
        seen.add(each.name)
        if isinstance(each, Put):
            body = cleaned(each)
            size = len(canonical(body))
            if size > MAX_DOCUMENT:
                raise StoreTooLarge(
                    f"{each.kind} {each.key} has {size:,} bytes as JSON; the store takes 1 MiB of one document: split it"
                )
            each = Put(each.kind, each.key, body, each.resource_version, each.managed)  # noqa: PLW2901
        result.append(each)
    return tuple(result)


def cleaned(put: Put) -> Body:
    """The body without what is not the user's to say, and with its namespace. Raises InvalidWrite."""
    said = put.body.get("metadata")
    if not isinstance(said, dict) or put.body.get("kind") != put.kind:
        raise InvalidWrite(f"the body of {put.kind} {put.key} has another kind, or no metadata")
    if said.get("name") != put.key.name or said.get("namespace", put.key.namespace) != put.key.namespace:
        raise InvalidWrite(f"the body of {put.kind} {put.key} has another name or namespace in its metadata")
    metadata: dict[str, Tree] = {name: value for name, value in said.items() if name not in OURS}
    metadata["namespace"] = put.key.namespace
    body: dict[str, Tree] = {name: value for name, value in put.body.items() if name != "status"}
    body["metadata"] = metadata
    return body


def prepared(
    writes: Iterable[Write],
    current: Mapping[Name, Stored],
    expected: Mapping[Name, Stored] | None,
    *,
    number: int,
    at: datetime,
    uid: Callable[[], str],
) -> Prepared:
    """What revision `number` changes by `writes`. Raises Conflict.

    `current` holds those of the written documents that are there; `expected` what they were at the revision that nobody may have
    changed them after, if there is such a demand.
    """
    writes = tuple(writes)
    clashes = tuple(clash for each in writes if (clash := _clash(each, current, expected)) is not None)
    if clashes:
        raise Conflict(clashes)
    changes: list[Change] = []
    blobs: dict[str, bytes] = {}
    for each in writes:
        before = current.get(each.name)
        if isinstance(each, Put):
            after = _put(each, before, number, at, uid)
            if after is not None:
                blob = encode_stored(after)
                name = digest(blob)
                blobs[name] = blob
                changes.append(Change(each.kind, each.key, "put", name))
        elif before is not None:
            changes.append(Change(each.kind, each.key, "delete", None))
    return Prepared(tuple(sorted(changes, key=lambda change: change.name)), blobs)


def _clash(
    write: Write, current: Mapping[Name, Stored], expected: Mapping[Name, Stored] | None
) -> Clash | None:
    stored = current.get(write.name)
    found = stored.resource_version if stored is not None else None
    wanted = write.resource_version
    if wanted is ABSENT:
        if found is not None:
            return Clash(write.kind, write.key, None, found)
    elif wanted is not None and wanted != found:
        return Clash(write.kind, write.key, wanted, found)
    if expected is not None and (was := expected.get(write.name)) != stored:
        return Clash(write.kind, write.key, was.resource_version if was is not None else None, found)
    return None


def _put(put: Put, before: Stored | None, number: int, at: datetime, uid: Callable[[], str]) -> Stored | None:
    """The document as `put` makes it; None if that changes nothing."""
    version = str(number)
    if before is None:
        return Stored(put.kind, put.key, put.body, at, uid(), 1, version, put.managed or {})
    managed = before.managed if put.managed is None else put.managed
    # Compared as JSON: to Python, True is 1 and 1 is 1.0.
    if canonical([put.body, managed]) == canonical([before.body, before.managed]):
        return None
    meant = canonical(_meant(put.body)) != canonical(_meant(before.body))
    generation = before.generation + (1 if meant else 0)
    return Stored(put.kind, put.key, put.body, before.created_at, before.uid, generation, version, managed)


def _meant(body: Body) -> dict[str, Tree]:
    return {name: value for name, value in body.items() if name != "metadata"}
