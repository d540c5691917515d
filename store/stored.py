"""A document as the store keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from documents.reading import Tree
from mesh.names import Key

Body = Mapping[str, Tree]
"""What a user wrote: `apiVersion`, `kind`, `metadata`, `spec`. Values of JSON. Never changed once it is in a `Stored`."""
Managed = Mapping[str, Tree]
"""Who manages which fields: field manager → whatever server-side apply keeps of it. The store does not look into it."""
Name = tuple[str, Key]
"""The kind and key of a document: what no two documents of a store share."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One document of one revision.

    `body` holds no `status`, and of `metadata` only what users say: `created_at`, `uid`, `generation` and
    `resource_version` are the store's. `created_at` is UTC; who deletes and creates again gets a new one and a new `uid`.
    `generation` grows by one when something else than `metadata` changes. `resource_version` is the number of the revision
    that gave the document this content, as text: a rollback brings it back together with the content, so that it always
    names one content.
    """

    kind: str
    key: Key
    body: Body = field(hash=False)
    created_at: datetime
    uid: str
    generation: int
    resource_version: str
    managed: Managed = field(default_factory=dict, hash=False)

    @property
    def name(self) -> Name:
        return self.kind, self.key

    def document(self) -> dict[str, Tree]:
        """The body with what the store knows in `metadata`, as the API serves it and as it is parsed: a copy."""
        said = self.body.get("metadata")
        metadata: dict[str, Tree] = dict(said) if isinstance(said, dict) else {}
        metadata["namespace"] = self.key.namespace
        metadata["creationTimestamp"] = self.created_at.isoformat().replace("+00:00", "Z")
        metadata["uid"] = self.uid
        metadata["generation"] = self.generation
        metadata["resourceVersion"] = self.resource_version
        return {**self.body, "metadata": metadata}
