"""Documents and revisions as bytes, and back. Blobs are canonical JSON, named by their BLAKE2b-256: equal values, equal names.

Canonical: UTF-8, keys in order, no spaces, no NaN; numbers as Python writes them, which reads them back exactly. Each blob
begins with its format, so that a later version can tell what it reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from mesh.names import Key
from store.errors import InvalidWrite, StoreCorrupt
from store.revision import Change, Op, Revision
from store.stored import Stored

FORMAT = 1
T = TypeVar("T")


def canonical(value: object) -> bytes:
    """Raises InvalidWrite if `value` is not JSON."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        # UnicodeEncodeError, for half of a surrogate pair, is a ValueError.
        raise InvalidWrite(
            f"a document is not JSON: {error}. Use text, numbers, lists and mappings"
        ) from error


def digest(blob: bytes) -> str:
    """The name of a blob: 64 hexadecimal digits."""
    return hashlib.blake2b(blob, digest_size=32).hexdigest()


def encode_stored(stored: Stored) -> bytes:
    return canonical({
        "format": FORMAT,
        "kind": stored.kind,
        "namespace": stored.key.namespace,
        "name": stored.key.name,
        "body": stored.body,
        "createdAt": stored.created_at.isoformat(),
        "uid": stored.uid,
        "generation": stored.generation,
        "resourceVersion": stored.resource_version,
        "managed": stored.managed,
    })  # fmt: skip


def decode_stored(name: str, blob: bytes) -> Stored:
    """Raises StoreCorrupt, as all `decode_` functions."""

    def read(said: dict[str, Any]) -> Stored:
        return Stored(
            said["kind"],
            Key(said["namespace"], said["name"]),
            said["body"],
            _time(said["createdAt"]),
            said["uid"],
            said["generation"],
            said["resourceVersion"],
            said["managed"],
        )

    return _decoded("document", name, blob, read)


def encode_revision(revision: Revision) -> bytes:
    """Of everything but the id, which is the digest of this."""
    return canonical({
        "format": FORMAT,
        "number": revision.number,
        "parent": revision.parent,
        "at": revision.at.isoformat(),
        "author": revision.author,
        "reason": revision.reason,
        "changes": [
            [each.op, each.kind, each.key.namespace, each.key.name, each.blob] for each in revision.changes
        ],
        "root": revision.root,
    })  # fmt: skip


def decode_revision(name: str, blob: bytes) -> Revision:
    def change(op: Op, kind: str, namespace: str, own: str, to: str | None) -> Change:
        return Change(kind, Key(namespace, own), op, to)

    def read(said: dict[str, Any]) -> Revision:
        return Revision(
            said["number"],
            name,
            said["parent"],
            _time(said["at"]),
            said["author"],
            said["reason"],
            tuple(change(*each) for each in said["changes"]),
            said["root"],
        )

    return _decoded("revision", name, blob, read)


def verify(name: str, blob: bytes) -> None:
    """Raises StoreCorrupt if `blob` is not what its name says."""
    if digest(blob) != name:
        raise StoreCorrupt(
            f"blob {name} of the store is damaged: its content has another hash. Restore the store from a backup"
        )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _decoded(what: str, name: str, blob: bytes, read: Callable[[dict[str, Any]], T]) -> T:
    try:
        said = json.loads(blob)
        if said["format"] != FORMAT:
            raise StoreCorrupt(
                f"{what} {name} of the store has format {said['format']}, this program reads {FORMAT}: "
                "it was written by a newer Meshwright, so run that"
            )
        return read(said)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreCorrupt(
            f"blob {name} of the store is no {what} ({error!r}). Restore the store from a backup"
        ) from error
