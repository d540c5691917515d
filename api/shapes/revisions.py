"""Revisions of the store."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from api.shapes.documents import Document, Kind, Label, Reason, Revision
from api.shapes.shape import Query, Shape, YesNo


class RevisionChange(Shape):
    op: Literal["put", "delete"]
    kind: str
    namespace: str
    name: str


class RevisionShown(Shape):
    """A revision: who wrote what, when and why. `id` is the hash of it and of all before it."""

    number: int
    id: str
    parent: str
    at: datetime
    author: str
    reason: str
    changes: tuple[RevisionChange, ...]


class RevisionsQuery(Query):
    kind: Kind | None = Field(default=None, description="Only those that changed a document of this kind.")
    namespace: Label | None = Field(
        default=None, description="With `name`: only those that changed this document."
    )
    name: Label | None = Field(
        default=None, description="With `kind`: only those that changed this document."
    )
    limit: int = Field(default=100, ge=1, le=1000)
    before: Revision | None = Field(
        default=None, description="Only older ones than this number: for the next page."
    )


class RevisionPage(Shape):
    """The newest first. `before`: for the next page; None: there are no more."""

    items: tuple[RevisionShown, ...]
    before: int | None


class DiffQuery(Query):
    to: Revision | None = Field(default=None, description="The newest revision if left out.")


class DocumentDifference(Shape):
    """How a document differs. None where it is not there."""

    kind: str
    namespace: str
    name: str
    before: Document | None
    after: Document | None


class RevisionDiff(Shape):
    from_: int = Field(alias="from")
    to: int
    items: tuple[DocumentDifference, ...]


class Rollback(Shape):
    """A new revision with all documents as they were at revision `to`."""

    to: Revision
    reason: Reason = ""
    dry_run: bool = False


class WatchQuery(Query):
    after: Revision | None = Field(
        default=None, description="Revisions newer than this one; from now on if left out."
    )
    kind: Kind | None = None
    namespace: Label | None = None
    documents: YesNo = Field(default=False, description="Tell the documents too, not their names alone.")


class WatchedChange(RevisionChange):
    document: Document | None = None


class WatchLine(Shape):
    """One line. A heartbeat comes when nothing has happened for a while; `revision` is where to go on from, for both."""

    type: Literal["revision", "heartbeat"]
    revision: int
    at: datetime | None = None
    author: str = ""
    reason: str = ""
    changes: tuple[WatchedChange, ...] = ()
