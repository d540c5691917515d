"""Revisions: what one write changed, by whom, when and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from mesh.names import Key
from store.stored import Name, Stored

Op = Literal["put", "delete"]


@dataclass(frozen=True, slots=True)
class Change:
    """What a revision did to one document. `blob` is the hash of what it put; None for a deletion."""

    kind: str
    key: Key
    op: Op
    blob: str | None

    @property
    def name(self) -> Name:
        return self.kind, self.key


@dataclass(frozen=True, slots=True)
class Revision:
    """All documents at one moment, and how they came to be.

    `number` grows by one from 1; `id` is the hash of all else, `parent` that of the revision before ("" for the first), so
    that equal ids mean equal histories. `at` is UTC. `root` is the hash of the manifest: equal roots mean equal documents.
    """

    number: int
    id: str
    parent: str
    at: datetime
    author: str
    reason: str
    changes: tuple[Change, ...]
    root: str


EMPTY = Revision(0, "", "", datetime.fromtimestamp(0, UTC), "", "", (), "")
"""What a store is at before its first revision."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How one document differs between two revisions; None where it is not there."""

    kind: str
    key: Key
    before: Stored | None
    after: Stored | None
